//! The keys of an issuer, as it publishes them: a JSON Web Key Set (RFC 7517).

use kontiki_pki::VerifyingKey;
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{Token, decode};

/// Keys of one issuer that are used. Real ones have less than ten; a token that names none is tried with all.
const KEYS: usize = 64;

/// The keys of an issuer.
#[derive(Debug, PartialEq)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, PartialEq)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    key: VerifyingKey,
}

#[derive(Deserialize)]
struct Told {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyTold {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys that are for something else, or of a kind that is not known, are passed over, as everybody does who reads such sets.
    ///
    /// # Errors
    /// It is none, or no key of it can verify a token: then what was wrong with them.
    pub(super) fn read(bytes: &[u8]) -> Result<KeySet, String> {
        let told: Told =
            serde_json::from_slice(bytes).map_err(|error| format!("the keys cannot be read: {error}"))?;
        let (mut keys, mut wrong) = (Vec::new(), Vec::new());
        for (at, told) in told.keys.into_iter().enumerate() {
            match Key::read(told) {
                Ok(Some(key)) if keys.len() < KEYS => keys.push(key),
                Ok(_) => {}
                Err(why) => wrong.push(format!("key {at}: {why}")),
            }
        }
        if keys.is_empty() {
            wrong.truncate(3);
            let wrong = if wrong.is_empty() { String::new() } else { format!(" ({})", wrong.join("; ")) };
            return Err(format!("there is no key that can verify a token{wrong}"));
        }
        Ok(KeySet { keys })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether one of them signed a token.
    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        let named = |key: &&Key| token.key.is_none() || token.key == key.id;
        let meant = |key: &&Key| key.algorithm.as_deref().is_none_or(|alg| alg == token.algorithm.name());
        let mut keys = self.keys.iter().filter(named).filter(meant);
        keys.any(|key| key.key.verifies(token.algorithm, token.message.as_bytes(), &token.signature))
    }
}

impl Key {
    /// None if it is for something else.
    fn read(told: Value) -> Result<Option<Key>, String> {
        let told: KeyTold = serde_json::from_value(told).map_err(|error| error.to_string())?;
        if told.purpose.is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let part = |name: &str, text: Option<String>| {
            let bytes = text.and_then(|text| decode(text.trim_end_matches('=')));
            bytes.ok_or_else(|| format!("{name} is not there, or not in base64 for URLs"))
        };
        let key = match told.kty.as_str() {
            "RSA" => VerifyingKey::rsa(&part("n", told.n)?, &part("e", told.e)?)?,
            "EC" => {
                let curve = told.crv.unwrap_or_default();
                VerifyingKey::ec(&curve, &part("x", told.x)?, &part("y", told.y)?)?
            }
            _ => return Ok(None),
        };
        Ok(Some(Key { id: told.kid, algorithm: told.alg, key }))
    }
}
