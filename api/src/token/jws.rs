//! The compact form of a signed token (RFC 7515): header, payload and signature, each in base64 for URLs, with dots between.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kontiki_pki::AccountKeys;
use serde::Deserialize;
use serde_json::{Value, json};

/// Longer texts are no token of ours.
pub(super) const LENGTH_LIMIT: usize = 16 << 10;
const ALGORITHM: &str = "ES256";

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that must be understood: none are.
    #[serde(default)]
    crit: Option<Value>,
}

/// Base64 for URLs.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Signs a payload.
pub(super) fn sign(keys: &AccountKeys, payload: &[u8]) -> Option<String> {
    let header = json!({"alg": ALGORITHM, "kid": keys.id()}).to_string();
    let message = format!("{}.{}", encode(header.as_bytes()), encode(payload));
    let signature = keys.sign(message.as_bytes())?;
    Some(format!("{message}.{}", encode(&signature)))
}

/// The payload of a token that one of the keys has signed.
pub(super) fn verify(keys: &AccountKeys, token: &str) -> Option<Vec<u8>> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    let known = header.alg == ALGORITHM && header.crit.is_none();
    let signed = known && keys.verify(&header.kid, message.as_bytes(), &decode(signature)?);
    // A third dot is no letter of base64.
    if signed { decode(payload) } else { None }
}
