//! The compact form of a signed token of somebody else (RFC 7515, RFC 7519): what it says, before it is believed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kontiki_pki::SigningAlgorithm;
use serde::Deserialize;
use serde_json::Value;

/// Longer texts are no token: issuers put many groups into them, and what comes in a header is shorter anyway.
const LENGTH: usize = 64 << 10;
/// Clocks may differ by so much: a token may begin a little later here. One that has ended has ended.
const SKEW_S: f64 = 60.0;

/// A token that was taken apart.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: SigningAlgorithm,
    /// Which key signed it, if it says so.
    pub(super) key: Option<String>,
    /// What was signed.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood: none are.
    #[serde(default)]
    crit: Option<Value>,
}

/// Bytes in base64 for URLs.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The claims of a token, of whoever made it; none if it is none.
pub(super) fn claims(token: &str) -> Option<Value> {
    if token.len() > LENGTH {
        return None;
    }
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Value = serde_json::from_slice(&decode(payload)?).ok()?;
    claims.is_object().then_some(claims)
}

impl<'a> Token<'a> {
    /// Takes a token apart of which the claims can be read.
    ///
    /// # Errors
    /// It is none, or signed in a way that proves nothing here.
    pub(super) fn read(token: &'a str) -> Result<Token<'a>, String> {
        let parts = token.rsplit_once('.').and_then(|(message, signature)| {
            let header = decode(message.split_once('.')?.0)?;
            Some((message, decode(signature)?, serde_json::from_slice::<Header>(&header).ok()?))
        });
        let (message, signature, header) = parts.ok_or("malformed jwt")?;
        if header.crit.is_some() {
            return Err("the token has extensions that must be understood (crit), and none are".into());
        }
        let algorithm = SigningAlgorithm::of(&header.alg).ok_or_else(|| {
            let known = SigningAlgorithm::ALL.map(SigningAlgorithm::name).join(" ");
            format!(
                "id token signed with unsupported algorithm, expected one of {known}, got {:?}",
                header.alg
            )
        })?;
        Ok(Token { algorithm, key: header.kid.filter(|key| !key.is_empty()), message, signature })
    }
}

/// Whom a token says that it was made for: a text, or a list of them.
pub(super) fn audiences(claims: &Value) -> Vec<&str> {
    match &claims["aud"] {
        Value::String(audience) => vec![audience],
        Value::Array(audiences) => audiences.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// When a token is valid, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    until: f64,
    from: Option<f64>,
    made: Option<f64>,
}

impl Times {
    /// Those of a token.
    ///
    /// # Errors
    /// It does not say until when it is valid, or says it in no number.
    pub(super) fn of(claims: &Value) -> Result<Times, String> {
        let number = |name: &str| match &claims[name] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| format!("the claim {name} is no number")),
        };
        let until = number("exp")?.ok_or("the token does not say until when it is valid (exp)")?;
        Ok(Times { until, from: number("nbf")?, made: number("iat")? })
    }

    /// Checks that a token is valid now.
    ///
    /// # Errors
    /// It is not yet, or not any more.
    pub(super) fn check(&self, now_ms: i64) -> Result<(), String> {
        let now = now_ms as f64 / 1000.0;
        if self.until <= now {
            return Err(format!("token is expired (exp {}, now {now:.0})", self.until));
        }
        for (name, from) in [("nbf", self.from), ("iat", self.made)] {
            if let Some(from) = from.filter(|from| *from > now + SKEW_S) {
                return Err(format!("the token is not valid yet ({name} {from}, now {now:.0})"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn token(header: &Value, payload: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(&header.to_string()), encode(payload), encode("signature"))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(&json!({"alg": "RS256", "kid": "k", "typ": "JWT"}), r#"{"iss":"a"}"#);
        assert_eq!(claims(&text).unwrap(), json!({"iss": "a"}));
        let read = Token::read(&text).unwrap();
        assert_eq!((read.algorithm.name(), read.key.as_deref()), ("RS256", Some("k")));
        assert_eq!(read.signature, b"signature");
        assert_eq!(format!("{}.{}", read.message, URL_SAFE_NO_PAD.encode("signature")), text);
        assert_eq!(Token::read(&token(&json!({"alg": "ES256", "kid": ""}), "{}")).unwrap().key, None);
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        for algorithm in ["none", "None", "HS256", "HS512", "", "RS257"] {
            let refused = Token::read(&token(&json!({"alg": algorithm}), "{}")).unwrap_err();
            assert!(refused.contains("unsupported algorithm"), "{refused}");
        }
        let critical = json!({"alg": "RS256", "crit": ["b64"], "b64": false});
        assert!(Token::read(&token(&critical, "{}")).unwrap_err().contains("crit"));
        for broken in ["", "a", "a.b", "a.b.c", "..", "!.e30.e30", "e30.e30.e30"] {
            assert!(Token::read(broken).is_err(), "{broken}");
        }
        let good = token(&json!({"alg": "RS256"}), "{}");
        for broken in
            [format!("{good}.e30"), good.replacen('.', "..", 1), token(&json!({}), "[]"), "x".into()]
        {
            assert_eq!(claims(&broken), None, "{broken}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(LENGTH));
        assert_eq!(claims(&token(&json!({"alg": "RS256"}), &long)), None);
    }

    #[test]
    fn a_token_has_its_time() {
        const NOW: i64 = 1_000_000;
        let check = |claims: Value| Times::of(&claims).and_then(|times| times.check(NOW * 1000));
        for good in [
            json!({"exp": NOW + 1}),
            json!({"exp": NOW as f64 + 0.5, "nbf": NOW as f64 - 0.5}),
            json!({"exp": NOW + 100, "nbf": NOW + 60, "iat": NOW + 60}),
            json!({"exp": 1e300, "iat": 0, "nbf": null}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for (wrong, why) in [
            (json!({}), "does not say until when"),
            (json!({"exp": null}), "does not say until when"),
            (json!({"exp": NOW.to_string()}), "exp is no number"),
            (json!({"exp": NOW}), "expired"),
            (json!({"exp": -1}), "expired"),
            (json!({"exp": NOW + 100, "nbf": NOW + 61}), "not valid yet (nbf"),
            (json!({"exp": NOW + 100, "iat": NOW + 61}), "not valid yet (iat"),
            (json!({"exp": NOW + 100, "nbf": "soon"}), "nbf is no number"),
            (json!({"exp": NOW + 100, "iat": []}), "iat is no number"),
        ] {
            let refused = check(wrong.clone()).unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
    }

    #[test]
    fn a_token_is_for_one_or_for_many() {
        assert_eq!(audiences(&json!({"aud": "a"})), ["a"]);
        assert_eq!(audiences(&json!({"aud": ["a", 1, "b"]})), ["a", "b"]);
        for nobody in [json!({}), json!({"aud": null}), json!({"aud": {"a": 1}}), json!({"aud": []})] {
            assert!(audiences(&nobody).is_empty(), "{nobody}");
        }
    }
}
