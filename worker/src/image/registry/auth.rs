//! What a registry wants to be shown: the challenge of a 401, and the token that answers it.
//!
//! Source: the distribution project's token authentication specification.

use http::header::AUTHORIZATION;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;

use super::wire::Wire;
use super::{Credential, RegistryError};

/// A token is some kilobytes, with all that it says of its bearer.
const TOKEN_ANSWER_MAX: u64 = 256 << 10;

/// How a registry wants to be convinced.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By user and password.
    Basic,
    /// By a token, to be had there.
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Challenge {
    /// Reads the `WWW-Authenticate` headers; a bearer's comes before a basic one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(http::header::WWW_AUTHENTICATE);
        let challenges: Vec<_> = values.iter().filter_map(|value| parse(value.to_str().ok()?)).collect();
        let bearer = challenges.iter().position(|it| *it != Self::Basic);
        challenges.into_iter().nth(bearer.unwrap_or(0))
    }

    /// The `Authorization` header that answers the challenge. None: it takes a user, and there is none.
    pub(super) async fn answer(
        &self,
        wire: &Wire,
        asked: &Uri,
        repository: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let (realm, service) = match self {
            Self::Basic => return Ok(credential.and_then(Credential::basic)),
            Self::Bearer { realm, service } => (realm, service),
        };
        let host = asked.authority().map(ToString::to_string).unwrap_or_default();
        let refused = |cause: String| RegistryError::Refused { host: host.clone(), cause };
        let scope = format!("repository:{repository}:pull");
        let separator = if realm.contains('?') { '&' } else { '?' };
        let mut address = format!("{realm}{separator}scope={}", escape(&scope));
        if let Some(service) = service {
            address.push_str(&format!("&service={}", escape(service)));
        }
        let uri: Uri =
            address.parse().map_err(|source| refused(format!("its token realm \"{realm}\": {source}")))?;
        if uri.scheme() == Some(&Scheme::HTTP) && asked.scheme() != Some(&Scheme::HTTP) {
            return Err(refused(format!(
                "its token realm {realm} is not https, and would hear the password"
            )));
        }
        let mut headers = HeaderMap::new();
        if let Some(basic) = credential.and_then(Credential::basic) {
            headers.insert(AUTHORIZATION, basic);
        }
        let mut answer = wire.ask(Method::GET, &uri, headers).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(None),
            _ => {
                let retry_after = super::session::retry_after(&answer);
                let (status, what) = (answer.status.as_u16(), format!("a token from {realm}"));
                return Err(RegistryError::Status { host, what, status, detail: String::new(), retry_after });
            }
        }
        let body = answer.read(TOKEN_ANSWER_MAX).await?;
        let token = serde_json::from_slice::<TokenAnswer>(&body).ok();
        let token = token.and_then(|it| it.token.filter(|token| !token.is_empty()).or(it.access_token));
        let value = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut value = value.ok_or_else(|| refused(format!("{realm} gave no token that can be used")))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = left;
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// For the value of a query.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (text, challenge) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            ("bearer service=\"a, b\", realm=\"http://x/?a=1\"", bearer("http://x/?a=1", Some("a, b"))),
            ("Bearer realm=http://x,error=invalid", bearer("http://x", None)),
            ("Bearer service=\"x\"", None),
            ("Bearer realm=\"http://x", None),
            ("Negotiate", None),
        ] {
            assert_eq!(parse(text), challenge, "{text}");
        }
    }
}
