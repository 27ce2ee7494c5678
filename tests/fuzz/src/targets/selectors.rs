//! Selectors: arbitrary texts, and texts whose meaning is known since they were made from it.

use std::collections::BTreeMap;

use kontiki_api::selector::{FieldSelector, Selector};

use super::{Target, owned, same, text};

pub(super) const LABELS: Target = Target::bytes(
    "label-selector",
    || owned(&[b"app=web,tier!=db", b"a in (x, y),!b,c notin (z)", b"n>1,m<5,e", b"example.com/a==b"]),
    labels,
);
pub(super) const FIELDS: Target = Target::bytes(
    "field-selector",
    || owned(&[b"metadata.name=a,spec.nodeName!=b", b"status.phase==Running", b"a=b\\,c\\=d\\\\"]),
    |input| Ok(text(input).is_some_and(|text| text.parse::<FieldSelector>().is_ok())),
);
pub(super) const REFERENCE: Target = Target::bytes(
    "label-selector-meaning",
    || owned(&[b"\0\0\0\0\0\0\0\0", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"]),
    meaning,
);

fn labels(input: &[u8]) -> Result<bool, String> {
    let Some(selector) = text(input).and_then(|text| text.parse::<Selector>().ok()) else { return Ok(false) };
    let shown = selector.to_string();
    let again: Selector =
        shown.parse().map_err(|error| format!("{shown:?}, its own text, is refused: {error}"))?;
    same("the selector of its own text", &again.to_string(), &shown)?;
    Ok(true)
}

const KEYS: [&str; 3] = ["a", "b", "c"];
const VALUES: [&str; 3] = ["1", "2", "x"];

/// Bytes are labels, then requirements of three bytes each: key, operator, values.
fn meaning(input: &[u8]) -> Result<bool, String> {
    let Some((head, rest)) = input.split_at_checked(KEYS.len()) else { return Ok(false) };
    let pick = |byte: u8| VALUES[usize::from(byte) % VALUES.len()];
    // Every fourth label is not there.
    let labels: BTreeMap<&str, &str> = KEYS
        .into_iter()
        .zip(head)
        .filter(|(_, byte)| **byte % 4 != 3)
        .map(|(key, byte)| (key, pick(*byte)))
        .collect();
    let mut texts = Vec::new();
    let mut should = true;
    for requirement in rest.chunks_exact(3).take(8) {
        let key = KEYS[usize::from(requirement[0]) % KEYS.len()];
        let (first, second) = (pick(requirement[2]), pick(requirement[2] / 3));
        let label = labels.get(key).copied();
        let (text, met) = match requirement[1] % 7 {
            0 => (format!("{key}={first}"), label == Some(first)),
            1 => (format!("{key}!={first}"), label != Some(first)),
            2 => (format!("{key} in ({first},{second})"), label == Some(first) || label == Some(second)),
            3 => (format!("{key} notin ({first}, {second})"), label != Some(first) && label != Some(second)),
            4 => (key.to_owned(), label.is_some()),
            5 => (format!("!{key}"), label.is_none()),
            _ => (format!("{key}>1"), label == Some("2")),
        };
        texts.push(text);
        should &= met;
    }
    let text = texts.join(",");
    let selector: Selector = text.parse().map_err(|error| format!("{text:?} is refused: {error}"))?;
    same(&format!("whether {text:?} matches {labels:?}"), &selector.matches(&labels), &should)?;
    Ok(true)
}
