//! What is given arbitrary input, and what must hold of it beyond that it does not panic.

mod decode;
mod patches;
mod quantities;
mod selectors;

/// Something that reads bytes of others.
pub struct Target {
    /// As in commands, and the folder of its regressions.
    pub name: &'static str,
    /// What mutation begins with.
    pub seeds: &'static [&'static [u8]],
    /// Whether the input was accepted, or how a property does not hold.
    pub run: fn(&[u8]) -> Result<bool, String>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    decode::ENTRY,
    decode::KEY,
    decode::JSON_BODY,
    decode::PROTOBUF_BODY,
    decode::JOIN_TOKEN,
    quantities::QUANTITY,
    selectors::LABELS,
    selectors::FIELDS,
    selectors::REFERENCE,
    patches::JSON,
    patches::MERGE,
    patches::STRATEGIC,
];

/// Fails with a text unless both are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, which should be {should:?}")) }
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
