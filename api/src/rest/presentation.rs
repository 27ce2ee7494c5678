//! How an answer is written beyond its form: as protobuf where that was agreed on, indented where people read it, compressed where it is
//! long and the client asked.
//!
//! All of it costs time, so long answers are worked on outside of the threads that serve, a bounded number at once; what finds no place is
//! sent as it is, which is always right; but protobuf waits for its place.

use std::{io::Write, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Uri, header};
use tokio::sync::Semaphore;

use super::reply::{Content, Reply};
use crate::wire::{encoding, protobuf};

/// Shorter answers are not compressed, as in Kubernetes: their bytes cost less than the time.
const LONG: usize = 128 << 10;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presentation {
    pretty: bool,
    gzip: bool,
}

impl Presentation {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Presentation {
        Presentation { pretty: pretty(uri, headers), gzip: gzip_accepted(headers) }
    }

    /// The answer as it was asked for. Streams stay as they are.
    pub(crate) async fn apply(self, workers: &Arc<Semaphore>, mut reply: Reply) -> Reply {
        if reply.protobuf {
            reply = as_protobuf(workers, reply).await;
        }
        if self.pretty || self.gzip {
            reply = reply.whole();
        }
        let Content::Whole(bytes) = &reply.content else { return reply };
        let pretty = self.pretty && reply.content_type.starts_with("application/json");
        if bytes.len() <= LONG {
            if pretty && let Some(indented) = indent(bytes) {
                reply.content = Content::Whole(indented.into());
            }
            return reply;
        }
        if !pretty && !self.gzip {
            return reply;
        }
        let Some((bytes, compressed)) = work(workers, bytes.clone(), pretty, self.gzip).await else {
            return reply;
        };
        reply.content = Content::Whole(bytes);
        if compressed {
            reply = reply.header(header::CONTENT_ENCODING, "gzip").header(header::VARY, "Accept-Encoding");
        }
        reply
    }
}

/// The answer as a message. What has none, against all that was agreed on, stays JSON, and says so.
async fn as_protobuf(workers: &Arc<Semaphore>, mut reply: Reply) -> Reply {
    let Content::Whole(json) = &reply.content else { return reply };
    let encoded = if json.len() <= LONG {
        encoding::encode(json)
    } else {
        let Ok(place) = workers.clone().acquire_owned().await else { return reply };
        let json = json.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            encoding::encode(&json)
        });
        let Ok(encoded) = work.await else { return reply };
        encoded
    };
    match encoded {
        Ok(bytes) => {
            reply.content = Content::Whole(bytes.into());
            // Where more is said of it, that was done when it was agreed on.
            if !reply.content_type.starts_with(protobuf::MEDIA_TYPE) {
                reply.content_type = protobuf::MEDIA_TYPE;
            }
        }
        Err(error) => tracing::warn!(%error, "an answer is sent as JSON instead of protobuf"),
    }
    reply
}

/// Works on a long answer; tells what it became and whether it is compressed.
async fn work(workers: &Arc<Semaphore>, bytes: Bytes, pretty: bool, gzip: bool) -> Option<(Bytes, bool)> {
    let place = workers.clone().try_acquire_owned().ok()?;
    let work = tokio::task::spawn_blocking(move || {
        // The work goes on when its client has gone, and so holds its place itself.
        let _place = place;
        let bytes = pretty.then(|| indent(&bytes)).flatten().map_or(bytes, Bytes::from);
        match gzip.then(|| compress(&bytes)) {
            Some(Ok(compressed)) => (Bytes::from(compressed), true),
            _ => (bytes, false),
        }
    });
    work.await.ok()
}

/// How many answers are worked on at once: half of the machine stays for requests.
pub(crate) fn workers() -> Semaphore {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).max(1))
}

/// Whether somebody wants to read it: says so, or uses a tool that shows what it gets.
fn pretty(uri: &Uri, headers: &HeaderMap) -> bool {
    let query = uri.query().unwrap_or_default();
    if let Some(told) =
        query.split('&').find_map(|pair| pair.strip_prefix("pretty=")).filter(|t| !t.is_empty())
    {
        return matches!(told, "1" | "t" | "T" | "true" | "True" | "TRUE");
    }
    let agent = headers.get(header::USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool.as_bytes()))
}

fn gzip_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|encoding| encoding.trim() == "gzip")
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // Objects repeat themselves: about a tenth is left.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// How long JSON may get where it is written for people: each line begins with as many spaces as it lies deep, so that a small document
/// can be made that fills the memory.
pub(super) fn most(json: &[u8]) -> usize {
    4 * json.len() + LONG
}

/// Indents JSON by its signs alone, so that numbers and texts stay byte for byte. None when that gets too long.
fn indent(json: &[u8]) -> Option<Vec<u8>> {
    let most = most(json);
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    let (mut depth, mut opened, mut in_text, mut escaped) = (0_usize, false, false, false);
    for &byte in json {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        if out.len() > most {
            return None;
        }
        let closes = matches!(byte, b'}' | b']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // What is empty stays on its line.
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(byte, b'{' | b'[');
        out.push(byte);
        match byte {
            b'{' | b'[' => depth += 1,
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => in_text = true,
            _ => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn indented_as_others_do() {
        for value in [
            json!({"a": 1, "b": [1, {"c": "x,y:{\"[\\"}, [], {}], "d": {}, "e": [[]], "f": null}),
            json!([]),
            json!("text"),
            json!([{"a": [{"b": []}]}]),
        ] {
            let expected = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(String::from_utf8(indent(value.to_string().as_bytes()).unwrap()).unwrap(), expected);
            let again: Value = serde_json::from_slice(&indent(expected.as_bytes()).unwrap()).unwrap();
            assert_eq!(again, value);
        }
        assert_eq!(indent(b"[1.50,1e3]").unwrap(), b"[\n  1.50,\n  1e3\n]");
    }

    #[tokio::test]
    async fn what_would_become_many_times_as_long_stays_as_it_is() {
        let asked = Presentation { pretty: true, gzip: false };
        for numbers in [10_000, 100_000] {
            let flat = format!("{}1{}", "[".repeat(60), ",1".repeat(numbers) + &"]".repeat(60));
            let reply = asked.apply(&Arc::new(workers()), Reply::json_bytes(200, flat.clone())).await;
            let Content::Whole(bytes) = reply.content else { panic!("a stream") };
            assert!(bytes == flat, "{} bytes of {}", bytes.len(), flat.len());
        }
    }

    #[test]
    fn what_is_asked_for() {
        let of = |uri: &str, headers: &[(http::HeaderName, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            let asked = Presentation::of(&uri.parse().unwrap(), &headers);
            (asked.pretty, asked.gzip)
        };
        assert_eq!(of("/x", &[]), (false, false));
        assert_eq!(of("/x?a=b&pretty=true", &[]), (true, false));
        assert_eq!(of("/x?pretty=1", &[]), (true, false));
        assert_eq!(of("/x?pretty", &[]), (false, false));
        assert_eq!(of("/x", &[(header::USER_AGENT, "curl/8.5.0")]), (true, false));
        assert_eq!(of("/x?pretty=false", &[(header::USER_AGENT, "curl/8.5.0")]), (false, false));
        assert_eq!(of("/x", &[(header::USER_AGENT, "kubectl/v1.33.0")]), (false, false));
        assert_eq!(of("/x", &[(header::ACCEPT_ENCODING, "gzip")]), (false, true));
        assert_eq!(of("/x", &[(header::ACCEPT_ENCODING, "deflate, gzip")]), (false, true));
        assert_eq!(of("/x", &[(header::ACCEPT_ENCODING, "gzip;q=0")]), (false, false));
    }
}
