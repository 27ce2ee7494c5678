//! The envelope of everything that is written by bincode: entries, stored records, forwarded requests.
//!
//! `magic "KO" | format version | reserved | length u32 | crc32c u32 | payload`. Length-limited before anything is
//! allocated, checked before anything is decoded, and refused with a word on why.

use serde::{Serialize, de::DeserializeOwned};

/// The newest format this build writes and reads.
pub const FORMAT: u8 = 1;
/// Larger payloads are neither written nor read.
pub const LIMIT: usize = 32 << 20;
const MAGIC: [u8; 2] = *b"KO";
const HEADER: usize = 12;

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not an envelope.
    #[error("not a kontiki record: the first bytes are not its mark")]
    Foreign,
    /// Written by a newer version.
    #[error("record format {0} is newer than this build knows ({FORMAT}): run the version that wrote it")]
    Newer(u8),
    /// Cut short or followed by other bytes.
    #[error("record of {stated} bytes, but {present} are there")]
    Length {
        /// What the header says.
        stated: usize,
        /// What is there.
        present: usize,
    },
    /// Bytes changed since they were written.
    #[error("record fails its checksum")]
    Checksum,
    /// Larger than allowed.
    #[error("record of {0} bytes is over the limit of {LIMIT}")]
    TooLarge(usize),
    /// The payload is not what was expected.
    #[error("record cannot be decoded: {0}")]
    Payload(String),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// Encodes a value into an envelope.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let payload =
        bincode::serde::encode_to_vec(value, config()).map_err(|e| CodecError::Payload(e.to_string()))?;
    if payload.len() > LIMIT {
        return Err(CodecError::TooLarge(payload.len()));
    }
    let length = u32::try_from(payload.len()).map_err(|_| CodecError::TooLarge(payload.len()))?;
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&MAGIC);
    out.push(FORMAT);
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Decodes an envelope that is exactly these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(CodecError::Foreign)?;
    if header[..2] != MAGIC {
        return Err(CodecError::Foreign);
    }
    if header[2] > FORMAT {
        return Err(CodecError::Newer(header[2]));
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let stated = word(4) as usize;
    if stated > LIMIT {
        return Err(CodecError::TooLarge(stated));
    }
    if stated != payload.len() {
        return Err(CodecError::Length { stated, present: payload.len() });
    }
    if crc32c::crc32c(payload) != word(8) {
        return Err(CodecError::Checksum);
    }
    let (value, consumed) = bincode::serde::decode_from_slice(payload, config())
        .map_err(|e| CodecError::Payload(e.to_string()))?;
    if consumed != payload.len() {
        return Err(CodecError::Length { stated: consumed, present: payload.len() });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_byte_is_refused() {
        let bytes = encode(&("deployment".to_string(), 7_u64)).unwrap();
        assert_eq!(decode::<(String, u64)>(&bytes), Ok(("deployment".to_string(), 7)));
        for at in (0..bytes.len()).filter(|at| *at != 3) {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            assert!(decode::<(String, u64)>(&broken).is_err(), "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(decode::<(String, u64)>(&bytes[..cut]).is_err());
        }
        let mut newer = bytes;
        newer[2] = FORMAT + 1;
        assert_eq!(decode::<(String, u64)>(&newer), Err(CodecError::Newer(FORMAT + 1)));
    }
}
