//! A request's first line. The headers are not looked at.

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Request {
    /// Reads `GET /path?query HTTP/1.1` at the beginning of a request's head.
    pub(crate) fn parse(head: &[u8]) -> Option<Request> {
        let line = std::str::from_utf8(head.split(|b| *b == b'\r').next()?).ok()?;
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else { return None };
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned() })
    }

    /// A value from the query.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_line_is_read() {
        let request = Request::parse(b"GET /exit?a=1&code=3 HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/exit"));
        assert_eq!((request.value("code"), request.value("cod")), (Some("3"), None));
        for bad in
            ["", "GET", "GET /", "GET / HTTP/2\r\n", "GET http://web/ HTTP/1.1\r\n", "\u{16}\u{3}\u{1}"]
        {
            assert_eq!(Request::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
