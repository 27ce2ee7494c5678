//! Who asks: from a connection's certificate and a request's headers to a user.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use kontiki_pki::Peer;

use super::{Api, account_token, identity::User};
use crate::status::Status;

/// How browsers carry a bearer token when they open a WebSocket, which cannot have headers of its own.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// What a request shows besides a certificate.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Token(String),
    /// Something that nobody here can check.
    Other,
}

/// Who asks.
pub(super) struct Known {
    pub(super) user: User,
    /// That his token should have been replaced before, in words for the audit.
    pub(super) stale: Option<String>,
}

impl From<User> for Known {
    fn from(user: User) -> Known {
        Known { user, stale: None }
    }
}

/// The user that a request comes from. A client certificate decides alone, as in Kubernetes: what else is shown beside it is not
/// looked at. Credentials that prove nothing are 401, not anonymous: whoever shows some wants to be somebody. A token is taken out of
/// the headers, so that nothing else sees it.
pub(super) async fn authenticate(
    api: &Api,
    peer: Option<&Peer>,
    path: &str,
    headers: &mut HeaderMap,
) -> Result<Known, Status> {
    let shown = take(headers);
    match (peer, shown) {
        (Some(peer), _) => Ok(User::of(peer).into()),
        (None, Shown::Nothing) => {
            let authenticators = api.options.authenticators.as_ref();
            if authenticators.is_none_or(|known| known.admits_anonymous(path)) {
                Ok(User::anonymous().into())
            } else {
                Err(Status::unauthorized())
            }
        }
        (None, Shown::Token(token)) => {
            let (user, stale) = account_token::user(api, &token).await?;
            Ok(Known { user, stale })
        }
        (None, Shown::Other) => Err(Status::unauthorized()),
    }
}

/// Takes what is shown out of the headers. The header `Authorization` comes before a token in a WebSocket's list of protocols.
fn take(headers: &mut HeaderMap) -> Shown {
    let by_websocket = take_protocol(headers);
    let Some(value) = headers.remove(header::AUTHORIZATION) else { return by_websocket };
    let value = value.as_bytes().trim_ascii();
    if value.is_empty() {
        return by_websocket;
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Shown::Token(token.trim().to_owned())
        }
        _ => Shown::Other,
    }
}

/// Takes a token out of a WebSocket's list of protocols: the server must not choose it, or the token would stand in the answer.
fn take_protocol(headers: &mut HeaderMap) -> Shown {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let all: Vec<&str> =
        all.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        all.into_iter().map(str::trim).partition(|protocol| protocol.starts_with(WEBSOCKET_BEARER));
    let token = tokens.first().map(|protocol| &protocol[WEBSOCKET_BEARER.len()..]);
    let shown = match (token, tokens.len()) {
        (None, _) => return Shown::Nothing,
        // A client that offers nothing else could not be answered.
        (Some(token), 1) if !others.is_empty() => {
            let token = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            token.map_or(Shown::Other, Shown::Token)
        }
        _ => Shown::Other,
    };
    let others = HeaderValue::from_str(&others.join(", "));
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Some(others) = others.ok().filter(|others| !others.is_empty()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn taken(pairs: &[(&'static str, &str)]) -> (Shown, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        (take(&mut headers), headers)
    }

    #[test]
    fn what_counts_as_credentials() {
        let token = |text: &str| Shown::Token(text.to_owned());
        let (authorization, protocols) = ("authorization", "sec-websocket-protocol");
        for (name, value, shown) in [
            (authorization, "Bearer abc", token("abc")),
            (authorization, "bearer  abc ", token("abc")),
            (authorization, "bearer", Shown::Other),
            (authorization, "Basic YTpi", Shown::Other),
            (authorization, "  ", Shown::Nothing),
            (protocols, "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj", token("abc")),
            (protocols, "base64url.bearer.authorization.k8s.io.YWJj,v4.channel.k8s.io", token("abc")),
            (protocols, "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.!", Shown::Other),
            (protocols, "base64url.bearer.authorization.k8s.io.YWJj", Shown::Other),
            (
                protocols,
                "x, base64url.bearer.authorization.k8s.io.YWJj, base64url.bearer.authorization.k8s.io.YWJk",
                Shown::Other,
            ),
            (protocols, "v4.channel.k8s.io", Shown::Nothing),
            ("x-remote-user", "admin", Shown::Nothing),
        ] {
            assert_eq!(taken(&[(name, value)]).0, shown, "{name}: {value}");
        }
    }

    #[test]
    fn a_token_is_seen_by_nothing_else() {
        let protocol = "base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io, v4.channel.k8s.io";
        let (shown, headers) = taken(&[("authorization", "Bearer x"), ("sec-websocket-protocol", protocol)]);
        assert_eq!(shown, Shown::Token("x".into()));
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["sec-websocket-protocol"], "v5.channel.k8s.io, v4.channel.k8s.io");
    }
}
