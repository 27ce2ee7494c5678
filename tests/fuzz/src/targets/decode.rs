//! Decoders of stored bytes and of requests' bodies. What is read must be written and read again as the same.

use std::{fs, path::Path};

use kontiki_actors::{Context, Document, Entry, Input, Kind, LEVEL, ObjectKey, State, Turned, codec, decide};
use kontiki_api::{
    schema::{
        reader::{self, Limits},
        strict, type_for_api_version,
    },
    wire::{
        encoding,
        protobuf::{self, ProtobufError},
    },
};
use kontiki_pki::JoinToken;
use serde::{Serialize, Serializer, ser::SerializeTuple};
use serde_json::{Value, json};

use super::{Target, owned, same, text};
use crate::engine::mark;

pub(super) const ENTRY: Target = Target::bytes("entry", entries, entry);
pub(super) const KEY: Target = Target::bytes(
    "object-key",
    || owned(&[b"\0\x01default\0web", b"\0\x02\0node-1", b"\xff\xff\x05a.b/c\0d\0e"]),
    key,
);
pub(super) const JSON_BODY: Target = Target::documents("json-body", bodies, json_body).with(16 << 10, 5_000);
pub(super) const YAML_BODY: Target = Target::bytes("yaml-body", yaml, yaml_body).with(8 << 10, 12_000);
pub(super) const PROTOBUF_BODY: Target =
    Target::bytes("protobuf-body", messages, protobuf_body).with(16 << 10, 20_000);
pub(super) const JOIN_TOKEN: Target = Target::bytes(
    "join-token",
    || {
        owned(&[
            b"kontiki1.w.00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.0011223344556677.\
              00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ])
    },
    join_token,
);

/// Bodies as Kubernetes publishes them that are so long at most are seeds.
const SEED_MAX: usize = 8 << 10;

const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"web:1","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m","memory":"64Mi"}}}],"volumes":[{"name":"v","emptyDir":{}}]}}"#;

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

/// Entries as a leader writes them, without what stands around them.
fn entries() -> Vec<Vec<u8>> {
    let namespace =
        Document::from_value(json!({"metadata": {"name": "default"}, "status": {"phase": "Active"}}));
    let objects = vec![(ObjectKey::new(Kind::NAMESPACE, "", "default"), namespace)];
    let (state, input) = (State::default(), Input::Raise { level: LEVEL, objects });
    let decision = decide(&state, &input, Context::new(0, 1));
    let turned = Turned {
        request: Some("id".into()),
        now_ms: 0,
        seed: 1,
        input: input.abridged(),
        changes: decision.changes,
        outcome: decision.outcome.abridged(),
        trace: None,
    };
    let encoded = Entry { term: 1, turns: vec![turned] }.encode().unwrap_or_default();
    let envelope = codec::encode(&Raw(&[])).map_or(0, |empty| empty.len());
    let mut seeds = owned(&[b"\x01\x00", b"\x05\x01\x00\x00\x00\x00\x00\x00\x00\x00"]);
    seeds.extend(encoded.get(envelope..).map(<[u8]>::to_vec));
    seeds
}

/// What Kubernetes publishes of its kinds, by the end of the files' names.
fn published(end: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../api/tests/golden");
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|found| found == end)).collect();
    files.sort();
    files.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn bodies() -> Vec<Vec<u8>> {
    let shorter = |body: Vec<u8>| Some(serde_json::from_slice::<Value>(&body).ok()?.to_string().into_bytes());
    let mut seeds: Vec<Vec<u8>> = published("json").into_iter().filter_map(shorter).collect();
    seeds.retain(|seed| seed.len() <= SEED_MAX);
    seeds.push(POD.to_vec());
    seeds
}

fn json_body(input: &[u8]) -> Result<bool, String> {
    let Ok(document) = reader::read(input, Limits::default()) else { return Ok(false) };
    let text = |key: &str| document.value[key].as_str().unwrap_or_default();
    let of = type_for_api_version(text("apiVersion"), text("kind"));
    let of = of.or_else(|| type_for_api_version("v1", "Pod")).ok_or("there is no Pod")?;
    let (value, checked) = match strict::decode(of, input, Limits::default()) {
        Ok(decoded) => decoded,
        Err(refused) => {
            mark(&refused.to_string());
            return Ok(false);
        }
    };
    checked.problems().iter().for_each(|problem| mark(problem));
    let mut again = value.clone();
    strict::check(of, &mut again).map_err(|error| format!("the stored form is refused: {error}"))?;
    same("the stored form, checked again", &again, &value)?;
    Ok(true)
}

fn yaml() -> Vec<Vec<u8>> {
    let mut seeds = owned(&[
        b"metadata:\n  name: web\n  labels: {app: \"web\", n: '1'}\nspec:\n  containers:\n  - name: a\n    image: web:1\n    args: [--x, \"y\"]\n",
        b"a: &x [1, 2.5, 0x1f, 0o17, 1e3, .inf, ~, yes, 2026-01-01]\nb: *x\nc: |\n  text\n   more\nd: >-\n  folded\n  text\n",
        b"---\n? a\n: b\n? [c, d]\n: {e: f}\n...\n",
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
        b"<<: {a: 1}\nb: !!str 1\nc: !x y\n# end\n",
        b"- - - a\n- {b: [c, {d: e}]}\n- \"\\u0041\\x41\\n\"\n",
    ]);
    seeds.push(POD.to_vec());
    seeds
}

fn yaml_body(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let value = match reader::read_yaml_telling(input) {
        Ok((value, _)) => value,
        Err(refused) => {
            mark(refused.lines().next().unwrap_or_default());
            return Ok(false);
        }
    };
    // What is JSON, too, must come to the same.
    if let Ok(document) = reader::read(input.as_bytes(), Limits::default())
        && document.duplicates.is_empty()
    {
        same("a JSON document read as YAML", &value, &document.value)?;
    }
    // What was read must be read again from its JSON, which is how it is stored.
    let stored = reader::read(value.to_string().as_bytes(), Limits::default());
    let stored = stored.map_err(|error| format!("its JSON is refused: {error}"))?;
    same("the document of its JSON", &stored.value, &value)?;
    Ok(true)
}

fn messages() -> Vec<Vec<u8>> {
    let mut seeds = published("pb");
    seeds.retain(|seed| seed.len() <= SEED_MAX);
    seeds.push(b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x07\x0a\x05\x0a\x03web\x1a\x00\x22\x00".to_vec());
    seeds
}

fn protobuf_body(input: &[u8]) -> Result<bool, String> {
    // Whatever the mutation did to the magic, what comes behind it is looked at.
    let mut marked = b"k8s\0".to_vec();
    marked.extend_from_slice(input.get(4..).unwrap_or_default());
    let decoded = match protobuf::decode(&marked, Some(("v1", "Pod")), Limits::default()) {
        Ok(decoded) => decoded,
        Err(refused) => {
            mark(&refused.to_string());
            return Ok(false);
        }
    };
    let of = type_for_api_version(&decoded.api_version, &decoded.kind).ok_or("its kind is not known")?;
    let mut value = decoded.value;
    if let Err(refused) = strict::check(of, &mut value) {
        mark(&refused.to_string());
        return Ok(false);
    }
    let mut again = value.clone();
    strict::check(of, &mut again).map_err(|error| format!("the stored form is refused: {error}"))?;
    same("the stored form, checked again", &again, &value)?;
    // What was not there may be there as nothing: it is the same message all the same.
    let message = encoding::encode(value.to_string().as_bytes());
    let message = message.map_err(|error| format!("the stored form has no message: {error}"))?;
    let read = match protobuf::decode(&message, None, Limits { bytes: usize::MAX, ..Limits::default() }) {
        Ok(read) => read.value,
        Err(ProtobufError::Bound(_)) => return Ok(true),
        Err(error) => return Err(format!("its message is refused: {error}")),
    };
    let again = encoding::encode(read.to_string().as_bytes());
    let again = again.map_err(|error| format!("what its message says has no message: {error}"))?;
    same("the message of what its message says", &again, &message)?;
    Ok(true)
}

fn join_token(input: &[u8]) -> Result<bool, String> {
    let Some(token) = text(input).and_then(|text| text.parse::<JoinToken>().ok()) else { return Ok(false) };
    let again: JoinToken = token.to_string().parse().map_err(|_| "its own text is refused")?;
    same("the token read again", &again.to_string(), &token.to_string())?;
    Ok(true)
}
