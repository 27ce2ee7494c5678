//! Changes to JSON documents that leave them documents, so that what lies behind a parser is reached.

use serde_json::{Map, Value, json};

use crate::{kinds, mutate, random::Random};

/// Texts that mean something somewhere: zeros and ends of numbers, amounts, times, durations, names, patterns, addresses, words of the API.
const WORDS: &[&str] = &[
    "",
    "a",
    "web",
    "0",
    "-1",
    "1",
    "65536",
    "9223372036854775808",
    "1e400",
    "100m",
    "1Gi",
    "-5",
    "0.5",
    "50%",
    "101%",
    "1h30m",
    "0s",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "a/b",
    "a.b.c/d",
    "../..",
    "/",
    "A",
    "é",
    "\u{0}",
    "a b",
    "*",
    "*/5 * * * *",
    "@every 1s",
    "10.0.0.1",
    "::1",
    "10.0.0.0/8",
    "http",
    "(a|b)*",
    "[",
    "$(A)",
    "true",
    "null",
    "~",
    "v1",
    "apps/v1",
    "kubernetes.io/x",
    "Always",
    "Never",
    "OnFailure",
    "TCP",
    "UDP",
    "ClusterIP",
    "None",
    "NodePort",
    "RollingUpdate",
    "Recreate",
    "OnDelete",
    "Retain",
    "Delete",
    "In",
    "NotIn",
    "Exists",
    "DoesNotExist",
    "Gt",
    "Lt",
    "Equal",
    "NoSchedule",
    "NoExecute",
    "DoNotSchedule",
    "Honor",
    "cpu",
    "memory",
    "pods",
    "Indexed",
    "Failed",
    "Ignore",
    "Fail",
    "object",
    "string",
    "integer",
    "array",
    "replace",
    "merge",
    "Foreground",
    "Orphan",
    "kubernetes.io/hostname",
    "default",
    "system:masters",
    "self",
    "Equivalent",
    "Localhost",
    "RuntimeDefault",
    "Memory",
];
/// Words that stand before a name in patches.
const DIRECTIVES: &[&str] =
    &["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"];
/// How deep something is put into something else, in order to go beyond what may be.
const DEEP: usize = 70;

/// One to six changes, with parts of another document.
pub(crate) fn mutate(random: &mut Random, document: &mut Value, other: &Value) {
    for _ in 0..=random.below(6) {
        if random.one_in(2) && kinds::grow(random, document) {
            continue;
        }
        let donors = if random.one_in(2) { other } else { &*document };
        let donor = any(random, donors).clone();
        let value = any_mut(random, document);
        change(random, value, donor);
    }
}

fn change(random: &mut Random, value: &mut Value, donor: Value) {
    match value {
        Value::Object(map) if !random.one_in(6) => of_map(random, map, donor),
        Value::Array(list) if !random.one_in(6) => of_list(random, list, donor),
        Value::String(text) if random.one_in(2) => {
            let donor = donor.as_str().unwrap_or_default();
            let changed = mutate::bytes(random, text.as_bytes(), donor.as_bytes());
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        Value::Number(number) if random.one_in(2) => {
            let near = number.as_i64().unwrap_or(0).wrapping_add(random.below(3) as i64 - 1);
            *value = near.into();
        }
        value => {
            *value = match random.below(8) {
                0 => json!([value.take()]),
                1 => json!({"a": value.take()}),
                2 if random.one_in(8) => (0..DEEP).fold(value.take(), |inner, _| json!([inner])),
                3 => donor,
                _ => scalar(random),
            };
        }
    }
}

fn of_map(random: &mut Random, map: &mut Map<String, Value>, donor: Value) {
    let key = map.keys().nth(random.below(map.len())).cloned().unwrap_or_default();
    match (random.below(6), donor) {
        (0, _) => drop(map.remove(&key)),
        (1, donor) => drop(map.insert(key, donor)),
        (2, Value::Object(mut donor)) => map.append(&mut donor),
        (3, _) => {
            let value = map.remove(&key).unwrap_or_default();
            map.insert((*random.pick(WORDS)).to_owned(), value);
        }
        (4, donor) => {
            let name = if random.one_in(3) { DIRECTIVES } else { WORDS };
            map.insert((*random.pick(name)).to_owned(), donor);
        }
        _ => drop(map.insert(key, scalar(random))),
    }
}

fn of_list(random: &mut Random, list: &mut Vec<Value>, donor: Value) {
    let (at, from) = (random.below(list.len() + 1), random.below(list.len()));
    match random.below(6) {
        0 if at < list.len() => drop(list.remove(at)),
        1 if at < list.len() => list.insert(at, list[from].clone()),
        2 if at < list.len() => list.swap(at, from),
        3 if at < list.len() && random.one_in(8) => {
            let again = list[at].clone();
            list.extend(std::iter::repeat_n(again, 2 * DEEP));
        }
        4 => list.insert(at, scalar(random)),
        _ => list.insert(at, donor),
    }
}

/// A text that means something somewhere.
pub(crate) fn word(random: &mut Random) -> String {
    (*random.pick(WORDS)).to_owned()
}

/// A plain value.
pub(crate) fn scalar(random: &mut Random) -> Value {
    match random.below(14) {
        0 => Value::Null,
        1 => true.into(),
        2 => false.into(),
        3 => json!({}),
        4 => json!([]),
        5 => number(random).into(),
        6 => u64::MAX.into(),
        7 => json!(1e300),
        8 => json!(-0.5),
        _ => word(random).into(),
    }
}

/// A whole number: small ones, and ends of ranges.
pub(crate) fn number(random: &mut Random) -> i64 {
    const TELLING: &[i64] = &[
        0,
        1,
        -1,
        2,
        3,
        80,
        100,
        101,
        255,
        256,
        65535,
        65536,
        i32::MAX as i64,
        i32::MIN as i64,
        i64::MAX,
        i64::MIN,
    ];
    *random.pick(TELLING)
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(size).sum(),
        Value::Array(list) => list.iter().map(size).sum(),
        _ => 0,
    }
}

fn any<'a>(random: &mut Random, value: &'a Value) -> &'a Value {
    fn nth<'a>(value: &'a Value, left: &mut usize) -> Option<&'a Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Object(map) => map.values().find_map(|value| nth(value, left)),
            Value::Array(list) => list.iter().find_map(|value| nth(value, left)),
            _ => None,
        }
    }
    nth(value, &mut random.below(size(value))).unwrap_or(value)
}

fn any_mut<'a>(random: &mut Random, value: &'a mut Value) -> &'a mut Value {
    fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Object(map) => map.values_mut().find_map(|value| nth(value, left)),
            Value::Array(list) => list.iter_mut().find_map(|value| nth(value, left)),
            _ => None,
        }
    }
    let mut at = random.below(size(value));
    // The first is the document itself, which is there.
    if at == 0 {
        return value;
    }
    match value {
        Value::Object(map) => {
            at -= 1;
            map.values_mut().find_map(|value| nth(value, &mut at)).expect("there are so many")
        }
        Value::Array(list) => {
            at -= 1;
            list.iter_mut().find_map(|value| nth(value, &mut at)).expect("there are so many")
        }
        plain => plain,
    }
}
