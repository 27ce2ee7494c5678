//! Inputs out of inputs, the same for the same seed.

use serde_json::Value;

use crate::{Form, Target, documents, random::Random};

/// Bytes that mean something to some decoder: brackets, ends of ranges, what continues in UTF-8 and in varints.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff{}[]\",:.-+/~!=()e09 \n";
/// One in so many documents is changed as bytes are, so that what is no document is given, too.
const AS_BYTES: usize = 12;

/// An input for a target out of two others.
pub(crate) fn mutate(random: &mut Random, target: &Target, input: &[u8], other: &[u8]) -> Vec<u8> {
    if target.form == Form::Document
        && !random.one_in(AS_BYTES)
        && let Ok(mut document) = serde_json::from_slice::<Value>(input)
    {
        let other = serde_json::from_slice(other).unwrap_or_default();
        documents::mutate(random, &mut document, &other);
        let written = document.to_string().into_bytes();
        if written.len() <= target.longest {
            return written;
        }
    }
    let mut out = bytes(random, input, other);
    out.truncate(target.longest);
    out
}

/// One to eight changes to bytes, with parts of others.
pub(crate) fn bytes(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(out.len() + 1);
        let end = (at + random.below(16)).min(out.len());
        match random.below(7) {
            0 => out.insert(at, *random.pick(TELLING)),
            1 => out.insert(at, random.byte()),
            2 => drop(out.drain(at..end)),
            3 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            4 => {
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                out.splice(at..end, part);
            }
            5 if at < out.len() => out[at] ^= 1 << random.below(8),
            _ if at < out.len() => out[at] = *random.pick(TELLING),
            _ => {}
        }
    }
    out
}
