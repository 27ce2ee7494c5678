//! What each path answers.

use std::ffi::OsString;

use crate::request::Request;

/// An answer, and whether the process exits after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) exit: Option<i32>,
}

impl Answer {
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, body: body.into(), exit: None }
    }

    /// As it travels. Each connection serves one request.
    pub(crate) fn bytes(&self, bodyless: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            _ => "Method Not Allowed",
        };
        let (status, length) = (self.status, self.body.len());
        let body = if bodyless { "" } else { &self.body };
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// The answer to a request.
pub(crate) fn to(
    request: &Request,
    hostname: &str,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::text(405, "only GET and HEAD are served\n");
    }
    match request.path.as_str() {
        "/" => Answer::text(200, format!("hello from {hostname}\n")),
        "/healthz" => Answer::text(200, "ok\n"),
        "/env" => {
            let mut lines: Vec<String> = environment
                .map(|(k, v)| format!("{}={}\n", k.to_string_lossy(), v.to_string_lossy()))
                .collect();
            lines.sort();
            Answer::text(200, lines.concat())
        }
        "/exit" => match request.value("code").unwrap_or("0").parse::<u8>() {
            Ok(code) => {
                Answer { exit: Some(code.into()), ..Answer::text(200, format!("exiting with {code}\n")) }
            }
            Err(_) => Answer::text(400, "code must be 0 to 255\n"),
        },
        _ => Answer::text(404, "try /, /healthz, /env or /exit?code=1\n"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn get(target: &str) -> Answer {
        let request = Request::parse(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        to(&request, "raft-1", [("B".into(), "2".into()), ("A".into(), "1".into())].into_iter())
    }

    #[test]
    fn each_path_answers() {
        assert_eq!(get("/"), Answer::text(200, "hello from raft-1\n"));
        assert_eq!(get("/healthz?x"), Answer::text(200, "ok\n"));
        assert_eq!(get("/env"), Answer::text(200, "A=1\nB=2\n"));
        assert_eq!(get("/nowhere").status, 404);
        assert_eq!((get("/exit").exit, get("/exit?code=3").exit), (Some(0), Some(3)));
        for bad in ["/exit?code=256", "/exit?code=-1", "/exit?code="] {
            assert_eq!((get(bad).status, get(bad).exit), (400, None), "{bad}");
        }
    }

    #[test]
    fn nothing_exits_by_another_method() {
        let request = Request::parse(b"POST /exit HTTP/1.1\r\n\r\n").unwrap();
        let answer = to(&request, "raft-1", std::iter::empty());
        assert_eq!((answer.status, answer.exit), (405, None));
    }

    #[test]
    fn a_head_request_gets_the_length_without_the_body() {
        let bytes = String::from_utf8(get("/healthz").bytes(true)).unwrap();
        assert!(bytes.starts_with("HTTP/1.1 200 OK\r\n") && bytes.contains("content-length: 3\r\n"));
        assert!(bytes.ends_with("\r\n\r\n"));
    }
}
