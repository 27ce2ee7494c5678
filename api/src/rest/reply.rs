//! An answer before it is HTTP.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;

use super::{
    SHORT,
    negotiate::Media,
    places::{Place, Places},
    presentation,
};
use crate::status::Status;

/// How many characters of warnings one request is told. If there are more, each is cut to this length, and those beyond are left out: as
/// in Kubernetes.
const WARNINGS_LENGTH: usize = 4096;
const CUT_LENGTH: usize = 256;
/// What is longer is not made YAML of: that is done on a thread that serves, and takes many times its memory.
const YAML_LENGTH: usize = 4 << 20;

/// An answer.
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
    pub(crate) warnings: Vec<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the JSON in it is sent as protobuf. It is JSON until then: that is what is audited.
    pub(crate) protobuf: bool,
    /// Held until it is sent.
    pub(crate) place: Option<Place>,
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Bytes),
    /// A long text, piece by piece, each made when the one before is sent.
    Written(Pieces),
    Stream(Body),
    /// The whole answer, by which the protocol changes.
    Switching(Box<Response>),
}

/// A text in pieces.
pub(crate) struct Pieces {
    pub(crate) of: Box<dyn Iterator<Item = Bytes> + Send>,
    /// About how many bytes all of them have.
    pub(crate) about: usize,
}

/// What a request comes to.
pub(crate) type Answered = Result<Reply, Status>;

impl Reply {
    fn with(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
        let content = Content::Whole(bytes.into());
        let (warnings, headers) = (Vec::new(), Vec::new());
        Reply { code, content_type, content, warnings, headers, protobuf: false, place: None }
    }

    /// JSON text as it is.
    pub(crate) fn json_bytes(code: u16, bytes: impl Into<Bytes>) -> Reply {
        Reply::with(code, "application/json", bytes)
    }

    /// A JSON value.
    pub(crate) fn json(code: u16, value: &Value) -> Reply {
        Reply::json_bytes(code, value.to_string())
    }

    /// JSON text in the medium that was agreed on.
    pub(crate) fn in_media(code: u16, media: Media, json: Vec<u8>) -> Answered {
        match media {
            Media::Json => Ok(Reply::json_bytes(code, json)),
            Media::Protobuf => Ok(Reply { protobuf: true, ..Reply::json_bytes(code, json) }),
            // JSON is YAML, too.
            Media::Yaml => Ok(Reply::with(code, "application/yaml", yaml(&json).unwrap_or(json))),
        }
    }

    /// Plain text.
    pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Reply {
        Reply::with(code, "text/plain; charset=utf-8", text)
    }

    /// JSON text that is written while it is sent.
    pub(crate) fn json_pieces(code: u16, pieces: Pieces) -> Reply {
        Reply { content: Content::Written(pieces), ..Reply::json_bytes(code, Bytes::new()) }
    }

    /// For those who need all of it at once.
    pub(crate) fn whole(mut self) -> Reply {
        if let Content::Written(pieces) = self.content {
            let mut text = BytesMut::with_capacity(pieces.about);
            pieces.of.for_each(|piece| text.extend_from_slice(&piece));
            self.content = Content::Whole(text.freeze());
        }
        self
    }

    /// A stream.
    pub(crate) fn stream(content_type: &'static str, body: Body) -> Reply {
        Reply { content: Content::Stream(body), ..Reply::with(200, content_type, Bytes::new()) }
    }

    /// The answer by which the protocol changes.
    pub(crate) fn switching(response: Response) -> Reply {
        let code = response.status().as_u16();
        Reply { content: Content::Switching(Box::new(response)), ..Reply::with(code, "", Bytes::new()) }
    }

    /// The answer with the place that it takes until it is sent or its client is gone.
    pub(crate) fn holding(self, place: Option<Place>) -> Reply {
        Reply { place, ..self }
    }

    /// Takes a place for a user, if this is a long answer that has none.
    pub(crate) fn count(&mut self, among: &Places, user: &str) -> Result<(), Status> {
        if let (Content::Whole(bytes), None) = (&self.content, &self.place)
            && bytes.len() > SHORT
        {
            self.place = Some(among.take(user, bytes.len().div_ceil(1024))?);
        }
        Ok(())
    }

    pub(crate) fn warned(mut self, warnings: Vec<String>) -> Reply {
        self.warnings.extend(warnings);
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

/// JSON as YAML for people; none when that takes too long or gets too long.
fn yaml(json: &[u8]) -> Option<Vec<u8>> {
    if json.len() > YAML_LENGTH {
        return None;
    }
    let value: Value = serde_json::from_slice(json).ok()?;
    let mut text = Bounded { text: String::new(), most: presentation::most(json) };
    serde_saphyr::to_fmt_writer(&mut text, &value).ok()?;
    Some(text.text.into_bytes())
}

/// A text that does not get longer than it may.
struct Bounded {
    text: String,
    most: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        if self.text.len() + more.len() > self.most {
            return Err(std::fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

/// Bytes that a connection gets at once.
const PIECE: usize = 64 << 10;

/// Bytes with the place that they take: it is theirs until the last part of them is sent or given up, wherever it waits.
struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that is cut into pieces: what a connection copies for itself is no more than one.
struct Cut(Bytes);

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.0.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(match self.content {
            Content::Whole(bytes) => match self.place {
                Some(place) => Body::new(Cut(Bytes::from_owner(Held { bytes, _place: place }))),
                None => Body::from(bytes),
            },
            Content::Written(pieces) => {
                let place = self.place;
                let sent = pieces.of.map(move |piece| {
                    let _held = &place;
                    Ok::<_, Infallible>(piece)
                });
                Body::from_stream(futures_util::stream::iter(sent))
            }
            Content::Stream(body) => body,
            Content::Switching(response) => return *response,
        });
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        for (name, value) in self.headers {
            if name == header::VARY {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
        for text in bounded(self.warnings) {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
}

/// Warnings as headers can tell them: each once, of visible ASCII, and not too much of them.
fn bounded(warnings: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for warning in warnings {
        let visible: String = warning.chars().filter(|c| (' '..='~').contains(c)).collect();
        if !visible.is_empty() && !told.contains(&visible) {
            told.push(visible);
        }
        // Each counts for at least its header.
        if told.len() >= WARNINGS_LENGTH / 16 {
            break;
        }
    }
    if told.iter().map(String::len).sum::<usize>() <= WARNINGS_LENGTH {
        return told;
    }
    let mut left = WARNINGS_LENGTH;
    told.retain_mut(|warning| {
        warning.truncate(CUT_LENGTH);
        let fits = left > 0;
        left = left.saturating_sub(warning.len());
        fits
    });
    told
}

impl From<Status> for Reply {
    fn from(status: Status) -> Reply {
        let reply = Reply::json(status.code, &status.to_value());
        match status.retry_after_s {
            Some(seconds) => reply.header(header::RETRY_AFTER, &seconds.to_string()),
            None => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_too_long_for_yaml_is_json_which_is_yaml_too() {
        let yaml = |json: &str| {
            let reply = Reply::in_media(200, Media::Yaml, json.as_bytes().to_vec()).unwrap();
            assert_eq!(reply.content_type, "application/yaml");
            let Content::Whole(bytes) = reply.content else { panic!("a stream") };
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let short = yaml("{\"a\":[1,2]}");
        assert!(short.starts_with("a:\n") && short.contains("- 2"), "{short}");
        let deep = "[".repeat(60) + "1" + &",1".repeat(10_000) + &"]".repeat(60);
        assert!(yaml(&deep) == deep, "deep: each line would be indented");
        let long = format!("[{:?}]", "x".repeat(YAML_LENGTH));
        assert!(yaml(&long) == long, "long");
    }

    #[test]
    fn warnings_are_told_whole_unless_they_are_too_much() {
        let long = |letter: &str, length: usize| letter.repeat(length);
        let few =
            vec![long("a", 3000), "tell\nit".to_owned(), "tellit".to_owned(), long("b", 1000), String::new()];
        assert_eq!(bounded(few), [long("a", 3000), "tellit".to_owned(), long("b", 1000)]);
        let many: Vec<String> = ('a'..='z').map(|letter| long(&letter.to_string(), 300)).collect();
        let told = bounded(many);
        assert_eq!((told.len(), told[15].as_str()), (16, long("p", 256).as_str()));
        assert!(bounded((0..5000).map(|n| n.to_string()).collect()).len() <= 256);
    }
}
