//! Bytes in documents: base64 where people can read the format, plain where they cannot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes bytes. None at all are `[]`, as pod directories of the first builds have it.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if bytes.is_empty() || !serializer.is_human_readable() {
        return bytes.serialize(serializer);
    }
    STANDARD.encode(bytes).serialize(serializer)
}

/// Reads bytes, as text or one by one.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Plain(Vec<u8>),
    }
    if !deserializer.is_human_readable() {
        return Vec::deserialize(deserializer);
    }
    match Written::deserialize(deserializer)? {
        Written::Text(text) => STANDARD.decode(text).map_err(D::Error::custom),
        Written::Plain(bytes) => Ok(bytes),
    }
}
