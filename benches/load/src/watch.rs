//! A watch, event by event.

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Rest;

/// An event is smaller, or something else is watched than what is read here.
const EVENT_MAX: usize = 1 << 20;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// It is there, or has changed.
    Put(T),
    /// It is gone; this is its last state.
    Deleted(T),
    /// Nothing happened up to here.
    Bookmark,
}

/// A watch that is open.
pub struct Watch {
    body: Incoming,
    buffer: BytesMut,
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Watch {
    /// Opens the watch of a collection: a path with its query, without `watch=true`.
    pub async fn open(rest: &Rest, path: &str) -> anyhow::Result<Watch> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}watch=true&timeoutSeconds=3600");
        let body = rest.open(Method::GET, &path, Bytes::new()).await?.into_body();
        Ok(Watch { body, buffer: BytesMut::new() })
    }

    /// The next event. Cut short, it loses nothing. An error if the watch ends or says an error.
    pub async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Event<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return read(&line);
            }
            if self.buffer.len() > EVENT_MAX {
                bail!("an event of over {EVENT_MAX} bytes");
            }
            let frame = self.body.frame().await.context("the watch has ended")??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn read<T: DeserializeOwned>(line: &[u8]) -> anyhow::Result<Event<T>> {
    let line: Line<'_> = serde_json::from_slice(line).context("an event that is no JSON")?;
    let object = || serde_json::from_str(line.object.get()).context("an object that is none");
    match line.kind {
        "ADDED" | "MODIFIED" => Ok(Event::Put(object()?)),
        "DELETED" => Ok(Event::Deleted(object()?)),
        "BOOKMARK" => Ok(Event::Bookmark),
        kind => bail!("the watch says {kind}: {}", line.object.get()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn events_are_read_and_errors_told() {
        let read = |line: &str| super::read::<Value>(line.as_bytes());
        assert_eq!(read(r#"{"type":"ADDED","object":{"a":1}}"#).unwrap(), Event::Put(json!({"a": 1})));
        assert_eq!(read(r#"{"type":"DELETED","object":{}}"#).unwrap(), Event::Deleted(json!({})));
        assert_eq!(read(r#"{"type":"BOOKMARK","object":{}}"#).unwrap(), Event::Bookmark);
        let gone = read(r#"{"type":"ERROR","object":{"code":410}}"#).unwrap_err().to_string();
        assert!(gone.contains("ERROR") && gone.contains("410"), "{gone}");
        assert!(read("").is_err());
    }
}
