//! Decoders of stored bytes and of requests' bodies. What is read must be written and read again as the same.

use kontiki_actors::{Entry, ObjectKey, codec};
use kontiki_api::{
    schema::{reader::Limits, strict, type_for_api_version},
    wire::protobuf,
};
use kontiki_pki::JoinToken;
use serde::{Serialize, Serializer, ser::SerializeTuple};

use super::{Target, same, text};

pub(super) const ENTRY: Target =
    Target { name: "entry", seeds: &[b"\x01\x00", b"\x05\x01\x00\x00\x00\x00\x00\x00\x00\x00"], run: entry };
pub(super) const KEY: Target = Target {
    name: "object-key",
    seeds: &[b"\0\x01default\0web", b"\0\x02\0node-1", b"\xff\xff\x05a.b/c\0d\0e"],
    run: key,
};
pub(super) const JSON_BODY: Target = Target { name: "json-body", seeds: &[POD], run: json_body };
pub(super) const PROTOBUF_BODY: Target = Target {
    name: "protobuf-body",
    seeds: &[b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x07\x0a\x05\x0a\x03web\x1a\x00\x22\x00"],
    run: protobuf_body,
};
pub(super) const JOIN_TOKEN: Target = Target {
    name: "join-token",
    seeds: &[
        b"kontiki1.w.00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.0011223344556677.\
          00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    ],
    run: join_token,
};

pub(super) const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"web:1","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m","memory":"64Mi"}}}],"volumes":[{"name":"v","emptyDir":{}}]}}"#;

/// Bytes as bincode writes them where it knows how many there are: as they are. So the envelope with its checksum is made around any.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

fn entry(input: &[u8]) -> Result<bool, String> {
    // As it comes, then with the envelope that lets it pass to the payload's decoder.
    let _ = Entry::decode(input);
    let enveloped = codec::encode(&Raw(input)).map_err(|error| error.to_string())?;
    let Ok(entry) = Entry::decode(&enveloped) else { return Ok(false) };
    let written = entry.encode().map_err(|error| format!("was read, but is not written: {error}"))?;
    let again = Entry::decode(&written).map_err(|error| format!("was written, but is not read: {error}"))?;
    same("the entry read again", &again.encode().ok(), &Some(written))?;
    Ok(true)
}

fn key(input: &[u8]) -> Result<bool, String> {
    let Ok(key) = ObjectKey::from_bytes(input) else { return Ok(false) };
    let again = ObjectKey::from_bytes(&key.to_bytes()).map_err(|error| error.to_string())?;
    same("the key read again", &again, &key)?;
    Ok(true)
}

fn json_body(input: &[u8]) -> Result<bool, String> {
    let of = type_for_api_version("v1", "Pod").ok_or("there is no Pod")?;
    let Ok((value, _)) = strict::decode(of, input, Limits::default()) else { return Ok(false) };
    let mut again = value.clone();
    strict::check(of, &mut again).map_err(|error| format!("the stored form is refused: {error}"))?;
    same("the stored form, checked again", &again, &value)?;
    Ok(true)
}

fn protobuf_body(input: &[u8]) -> Result<bool, String> {
    // Whatever the mutation did to the magic, what comes behind it is looked at.
    let mut marked = b"k8s\0".to_vec();
    marked.extend_from_slice(input.get(4..).unwrap_or_default());
    Ok(protobuf::decode(&marked, Some(("v1", "Pod")), Limits::default()).is_ok())
}

fn join_token(input: &[u8]) -> Result<bool, String> {
    let Some(token) = text(input).and_then(|text| text.parse::<JoinToken>().ok()) else { return Ok(false) };
    let again: JoinToken = token.to_string().parse().map_err(|_| "its own text is refused")?;
    same("the token read again", &again.to_string(), &token.to_string())?;
    Ok(true)
}
