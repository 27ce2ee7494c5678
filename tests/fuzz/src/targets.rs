//! What is given arbitrary input, and what must hold of it beyond that it does not panic.

mod apply;
mod decode;
mod images;
mod patches;
mod quantities;
mod requests;
mod rules;
mod selectors;
mod streams;

/// What the inputs of a target are, which says how they are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes.
    Bytes,
    /// A JSON document.
    Document,
}

/// Something that reads bytes of others.
pub struct Target {
    /// As in commands, and the folder of its regressions.
    pub name: &'static str,
    /// What mutation begins with; not none.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What inputs are.
    pub form: Form,
    /// The longest input, in bytes: longer ones find little that shorter ones do not, and make a step slow.
    pub longest: usize,
    /// Inputs of a test run: a number and no time, so that what is tried depends on the seed only. All targets together take 15 to 20 s of
    /// two cores.
    pub times: usize,
    /// Whether the input was accepted, or how a property does not hold.
    pub run: fn(&[u8]) -> Result<bool, String>,
}

impl Target {
    /// Of bytes, cheap.
    const fn bytes(
        name: &'static str,
        seeds: fn() -> Vec<Vec<u8>>,
        run: fn(&[u8]) -> Result<bool, String>,
    ) -> Target {
        Target { name, seeds, form: Form::Bytes, longest: 4 << 10, times: 20_000, run }
    }

    /// Of documents, cheap.
    const fn documents(
        name: &'static str,
        seeds: fn() -> Vec<Vec<u8>>,
        run: fn(&[u8]) -> Result<bool, String>,
    ) -> Target {
        Target { form: Form::Document, times: 5_000, ..Target::bytes(name, seeds, run) }
    }

    /// With longer inputs, and so many in a test run.
    const fn with(self, longest: usize, times: usize) -> Target {
        Target { longest, times, ..self }
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    decode::ENTRY,
    decode::KEY,
    decode::JSON_BODY,
    decode::YAML_BODY,
    decode::PROTOBUF_BODY,
    decode::JOIN_TOKEN,
    quantities::QUANTITY,
    selectors::LABELS,
    selectors::FIELDS,
    selectors::REFERENCE,
    patches::JSON,
    patches::MERGE,
    patches::STRATEGIC,
    apply::APPLY,
    rules::CEL,
    requests::REQUESTS,
    streams::WEBSOCKET,
    streams::SPDY,
    streams::FORWARD,
    streams::SHIM,
    images::LAYERS,
    images::DOCUMENTS,
    images::ARCHIVE,
    images::NAME,
];

/// Fails with a text unless both are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, which should be {should:?}")) }
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

fn owned(seeds: &[&[u8]]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.to_vec()).collect()
}
