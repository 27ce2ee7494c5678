//! What of a request's headers a pod is told, and what of its answer's the client.
//!
//! Source: Kubernetes' `apimachinery/pkg/util/proxy` and Go's `net/http/httputil`. As Kubernetes' API server does, `X-Forwarded-For` and
//! `X-Forwarded-Uri` are told, and `X-Forwarded-Host` and `-Proto` are left to whoever is before it; the pod is asked by the name that the
//! client asked for.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// Headers of one connection, which are not handed on.
const OF_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a request is told besides its own headers.
pub(super) struct Forwarded<'a> {
    pub(super) host: &'a str,
    pub(super) client: Option<IpAddr>,
    /// The path as the client asked for it.
    pub(super) uri: &'a str,
}

/// The protocol that a connection is to change to, if it is.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut told = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    if !told.any(|value| value.to_ascii_lowercase().contains("upgrade")) {
        return None;
    }
    headers.get(header::UPGRADE).cloned()
}

/// The headers of a request as a pod is told them. A token is none of its business.
pub(super) fn to_pod(headers: &HeaderMap, forwarded: &Forwarded<'_>) -> HeaderMap {
    let mut told = headers.clone();
    strip(&mut told);
    told.remove(header::AUTHORIZATION);
    set(&mut told, header::HOST, forwarded.host);
    set(&mut told, FORWARDED_URI, forwarded.uri);
    if let Some(client) = forwarded.client {
        let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let way: Vec<String> = before.map(str::to_owned).chain([client.to_canonical().to_string()]).collect();
        let way = way.join(", ");
        set(&mut told, FORWARDED_FOR, &way);
    }
    // HTTP/2 may say them one by one, HTTP/1 may not.
    if told.get_all(header::COOKIE).iter().nth(1).is_some() {
        let cookies = told.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.collect::<Vec<_>>().join("; ");
        set(&mut told, header::COOKIE, &cookies);
    }
    // Whoever wants a page gets one whose links can be rewritten.
    let mut accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepts.any(|value| value.contains("text/html")) {
        told.remove(header::ACCEPT_ENCODING);
    }
    told
}

/// Takes out of an answer's headers what is not the client's: who may read it is not for a pod to say, as it says that of the whole API.
pub(super) fn to_client(headers: &mut HeaderMap) {
    strip(headers);
    for name in [
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ] {
        headers.remove(name);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
}

/// Whether an answer is a page whose links can be rewritten.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("text/html") && !headers.contains_key(header::CONTENT_ENCODING)
}

fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // All of them come from what was a header or a path.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn pods_are_told_where_a_request_comes_from_and_no_secrets() {
        let asked = headers(&[
            ("authorization", "Bearer secret"),
            ("proxy-authorization", "secret"),
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("x-theirs", "2"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-forwarded-for", "10.0.0.9"),
            ("accept-encoding", "gzip"),
        ]);
        let client = Some("::ffff:10.0.0.7".parse().unwrap());
        let forwarded = Forwarded { host: "api:6443", client, uri: "/p/proxy/x" };
        let told = to_pod(&asked, &forwarded);
        let expected = headers(&[
            ("host", "api:6443"),
            ("x-theirs", "2"),
            ("cookie", "a=1; b=2"),
            ("x-forwarded-for", "10.0.0.9, 10.0.0.7"),
            ("x-forwarded-uri", "/p/proxy/x"),
            ("accept-encoding", "gzip"),
        ]);
        assert_eq!(told, expected);
        let browser = headers(&[("accept", "text/html,*/*"), ("accept-encoding", "gzip, br")]);
        assert!(!to_pod(&browser, &forwarded).contains_key("accept-encoding"));
    }

    #[test]
    fn pods_do_not_say_who_may_read_the_api() {
        let mut answer = headers(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("connection", "keep-alive"),
            ("keep-alive", "1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        to_client(&mut answer);
        let expected =
            headers(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("cache-control", "no-cache, private")]);
        assert_eq!(answer, expected);
        let mut cached = headers(&[("cache-control", "max-age=60")]);
        to_client(&mut cached);
        assert_eq!(cached, headers(&[("cache-control", "max-age=60")]));
    }

    #[test]
    fn upgrades_and_pages_are_known_by_their_headers() {
        let upgrade = |pairs: &[_]| upgrade(&headers(pairs)).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).unwrap(),
            "websocket"
        );
        assert_eq!(upgrade(&[("connection", "keep-alive"), ("upgrade", "websocket")]), None);
        assert_eq!(upgrade(&[("connection", "upgrade")]), None);
        assert!(is_page(&headers(&[("content-type", "text/HTML; charset=utf-8")])));
        assert!(!is_page(&headers(&[("content-type", "text/html"), ("content-encoding", "gzip")])));
        assert!(!is_page(&headers(&[("content-type", "text/plain")])) && !is_page(&HeaderMap::new()));
    }
}
