//! Who asks: from a connection's certificate and a request's headers to a user.

use http::{HeaderMap, header};
use kontiki_pki::Peer;

use super::identity::User;
use crate::status::Status;

/// How browsers carry a bearer token when they open a WebSocket, which cannot have headers of its own.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// The user that a request comes from. A client certificate decides alone, as in Kubernetes: what else is shown beside it is not
/// looked at. Credentials that prove nothing are 401, not anonymous: whoever shows some wants to be somebody.
pub(crate) fn authenticate(peer: Option<&Peer>, headers: &HeaderMap) -> Result<User, Status> {
    match peer {
        Some(peer) => Ok(User::of(peer)),
        // There is no issuer of tokens yet, so there is no token that proves anything.
        None if shows_credentials(headers) => Err(Status::unauthorized()),
        None => Ok(User::anonymous()),
    }
}

/// Whether a request carries an `Authorization` header that says anything, or a token in a WebSocket's list of protocols.
fn shows_credentials(headers: &HeaderMap) -> bool {
    let authorization = headers.get(header::AUTHORIZATION);
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    authorization.is_some_and(|value| !value.as_bytes().trim_ascii().is_empty())
        || protocols
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|protocol| protocol.trim_ascii().starts_with(WEBSOCKET_BEARER.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_counts_as_credentials() {
        for (name, value, shown) in [
            ("authorization", "Bearer abc", true),
            ("authorization", "bearer", true),
            ("authorization", "Basic YTpi", true),
            ("authorization", "  ", false),
            ("sec-websocket-protocol", "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj", true),
            ("sec-websocket-protocol", "v4.channel.k8s.io", false),
            ("x-remote-user", "admin", false),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_str(value).unwrap(),
            )]);
            assert_eq!(shows_credentials(&headers), shown, "{name}: {value}");
        }
    }
}
