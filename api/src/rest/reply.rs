//! An answer before it is HTTP.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::negotiate::Media;
use crate::status::Status;

/// How many warnings of one request are told, and how long each may be.
const WARNINGS_LIMIT: usize = 50;
const WARNING_LENGTH: usize = 512;

/// An answer.
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
    pub(crate) warnings: Vec<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Bytes),
    Stream(Body),
}

/// What a request comes to.
pub(crate) type Answered = Result<Reply, Status>;

impl Reply {
    fn with(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
        let content = Content::Whole(bytes.into());
        Reply { code, content_type, content, warnings: Vec::new(), headers: Vec::new() }
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
            Media::Yaml => {
                let value: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
                let text = serde_saphyr::to_string(&value).map_err(Status::internal)?;
                Ok(Reply::with(code, "application/yaml", text))
            }
        }
    }

    /// Plain text.
    pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Reply {
        Reply::with(code, "text/plain; charset=utf-8", text)
    }

    /// A stream.
    pub(crate) fn stream(content_type: &'static str, body: Body) -> Reply {
        Reply { content: Content::Stream(body), ..Reply::with(200, content_type, Bytes::new()) }
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

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(match self.content {
            Content::Whole(bytes) => Body::from(bytes),
            Content::Stream(body) => body,
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
        for warning in self.warnings.iter().take(WARNINGS_LIMIT) {
            // Header values are visible ASCII; what is not is left out, what would end the text is escaped.
            let text: String =
                warning.chars().filter(|c| (' '..='~').contains(c)).take(WARNING_LENGTH).collect();
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
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
