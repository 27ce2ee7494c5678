//! Values. Those of an object stay where they are: an element is looked at when somebody asks for it, with what the schema says of it.

use std::{cmp::Ordering, ops::Deref, rc::Rc};

use serde_json::{Map, Value};

use super::rights::Rights;
use crate::{
    custom::schema::{Schema, Type},
    quantity::Quantity,
};

/// Bytes of the longest text that is read as a time or a duration.
const TOLD: usize = 128;

/// A text: of an object or an expression, or made. A copy costs nothing.
#[derive(Clone, Debug)]
pub(crate) enum Str<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Str::Borrowed(text) => text,
            Str::Made(text) => text,
        }
    }
}

/// A value of an expression. A copy costs nothing.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Str<'a>),
    Bytes(Rc<[u8]>),
    List(Rc<[Val<'a>]>),
    Map(Rc<[(Val<'a>, Val<'a>)]>),
    /// A list of an object.
    Items(&'a [Value], Option<&'a Schema>),
    /// An object, or a map of one.
    Fields(&'a Map<String, Value>, Option<&'a Schema>),
    /// Nanoseconds.
    Duration(i64),
    Time(jiff::Timestamp),
    Type(&'static str),
    Quantity(Quantity),
    Optional(Option<Rc<Val<'a>>>),
    Rights(Rights<'a>),
}

impl<'a> Val<'a> {
    /// A value of an object, as its schema has it.
    pub(crate) fn of(value: &'a Value, schema: Option<&'a Schema>) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(on) => Val::Bool(*on),
            Value::Number(number) => {
                let double = schema.is_some_and(|schema| schema.of == Some(Type::Number));
                match number.as_i64() {
                    Some(n) if !double => Val::Int(n),
                    _ => {
                        let n = number.as_f64().unwrap_or(0.0);
                        let whole = schema.is_some_and(|schema| schema.of == Some(Type::Integer));
                        if whole { Val::Int(n as i64) } else { Val::Double(n) }
                    }
                }
            }
            Value::String(text) => Val::text(text, schema),
            Value::Array(items) => Val::Items(items, schema),
            Value::Object(map) => Val::Fields(map, schema),
        }
    }

    /// A text is a time, a duration or bytes where its schema says so. Times and durations are short: to look at one takes no longer than a
    /// step. Bytes that cannot be read are taken as they are, so that they are paid for as others are.
    fn text(text: &'a str, schema: Option<&'a Schema>) -> Val<'a> {
        let format = schema.and_then(|schema| schema.checks.as_ref()).map_or("", |checks| &checks.format);
        let read = match format {
            "byte" => {
                use base64::{Engine, engine::general_purpose::STANDARD};
                let bytes = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
                Some(Val::Bytes(bytes.into()))
            }
            _ if text.len() > TOLD => None,
            "date-time" | "datetime" => text.parse().ok().map(Val::Time),
            "date" => format!("{text}T00:00:00Z").parse().ok().map(Val::Time),
            "duration" => duration(text).map(Val::Duration),
            _ => None,
        };
        read.unwrap_or(Val::Text(Str::Borrowed(text)))
    }

    pub(super) fn owned(text: impl Into<String>) -> Val<'a> {
        Val::Text(Str::Made(text.into().into()))
    }

    /// The texts of a text or of a list of texts, none for null; nothing if it is something else.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let text = |value: &Val<'a>| match value {
            Val::Text(text) => Some(text.to_string()),
            _ => None,
        };
        match self {
            Val::Null => Some(Vec::new()),
            Val::Text(_) => Some(vec![text(self)?]),
            other => other.items()?.iter().map(text).collect(),
        }
    }

    /// Its type, as expressions name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::List(_) | Val::Items(..) => "list",
            Val::Map(_) | Val::Fields(..) => "map",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Time(_) => "google.protobuf.Timestamp",
            Val::Type(_) => "type",
            Val::Quantity(_) => "kubernetes.Quantity",
            Val::Optional(_) => "optional_type",
            Val::Rights(_) => "kubernetes.authorization.Authorizer",
        }
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Val::List(_) | Val::Items(..))
    }

    /// Whether it is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Val::Map(_) | Val::Fields(..))
    }

    /// The elements of a list.
    pub(super) fn items(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::List(items) => Some(items.to_vec()),
            Val::Items(items, schema) => {
                let of = schema.and_then(|schema| schema.items.as_deref());
                Some(items.iter().map(|item| Val::of(item, of)).collect())
            }
            _ => None,
        }
    }

    /// The keys of a map.
    pub(super) fn keys(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            Val::Fields(map, _) => Some(map.keys().map(|key| Val::Text(Str::Borrowed(key))).collect()),
            _ => None,
        }
    }

    /// How many elements, keys, signs or bytes it has.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Val::Text(text) => text.chars().count(),
            Val::Bytes(bytes) => bytes.len(),
            Val::List(items) => items.len(),
            Val::Items(items, _) => items.len(),
            Val::Map(entries) => entries.len(),
            Val::Fields(map, _) => map.len(),
            _ => return None,
        })
    }

    /// The element of a list at a place.
    pub(super) fn at(&self, place: usize) -> Option<Val<'a>> {
        match self {
            Val::List(items) => items.get(place).cloned(),
            Val::Items(items, schema) => {
                items.get(place).map(|item| Val::of(item, schema.and_then(|schema| schema.items.as_deref())))
            }
            _ => None,
        }
    }

    /// The value at a key of a map.
    pub(super) fn get(&self, key: &Val<'_>) -> Option<Val<'a>> {
        match (self, key) {
            (Val::Fields(map, schema), Val::Text(name)) => field(map, *schema, name),
            (Val::Map(entries), key) => {
                entries.iter().find(|(known, _)| known.same(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The field of a name, which may be escaped where names are no words: `__dash__` and so on.
    pub(super) fn select(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Val::Fields(map, schema) => {
                field(map, *schema, name).or_else(|| field(map, *schema, &unescape(name)?))
            }
            other => other.get(&Val::Text(Str::Borrowed(name))),
        }
    }

    /// Whether an object has a key, as it is written.
    pub(super) fn has_key(&self, key: &str) -> bool {
        matches!(self, Val::Fields(map, _) if map.contains_key(key))
    }

    /// Whether a map has a field of a name, which may be escaped.
    pub(super) fn has(&self, key: &str) -> bool {
        match self {
            Val::Fields(map, _) => {
                map.contains_key(key) || unescape(key).is_some_and(|key| map.contains_key(&key))
            }
            other => other.get(&Val::Text(Str::Borrowed(key))).is_some(),
        }
    }

    /// Whether two values are the same. Numbers are, whatever they are of. To be paid before: see [`Val::comparing`].
    pub(super) fn same(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Text(a), Val::Text(b)) => a[..] == b[..],
            (Val::Bytes(a), Val::Bytes(b)) => a == b,
            (Val::Type(a), Val::Type(b)) => a == b,
            (Val::Optional(a), Val::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.same(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Val::Items(a, _), Val::Items(b, _)) => a == b,
            (Val::Fields(a, _), Val::Fields(b, _)) => a == b,
            (a, b) if a.alike(b) => match a {
                Val::Map(entries) => entries.iter().all(|(key, value)| b.holds(key, value)),
                Val::Fields(map, _) => map.keys().all(|name| {
                    let key = Val::Text(Str::Borrowed(name));
                    a.get(&key).is_some_and(|value| b.holds(&key, &value))
                }),
                _ => (0..a.size().unwrap_or(0)).all(|place| match (a.at(place), b.at(place)) {
                    (Some(a), Some(b)) => a.same(&b),
                    _ => false,
                }),
            },
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// Whether both are lists, or both are maps, of as many elements: only those are looked into when they are compared.
    fn alike(&self, other: &Val<'_>) -> bool {
        let both = (self.is_list() && other.is_list()) || (self.is_map() && other.is_map());
        both && self.size() == other.size()
    }

    /// Whether a map has a value at a key.
    fn holds(&self, key: &Val<'_>, value: &Val<'_>) -> bool {
        self.get(key).is_some_and(|held| held.same(value))
    }

    /// The order of two values, if they have one.
    pub(super) fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::Uint(b)) => Some(u64::try_from(*a).map_or(Ordering::Less, |a| a.cmp(b))),
            (Val::Uint(a), Val::Int(b)) => Some(u64::try_from(*b).map_or(Ordering::Greater, |b| a.cmp(&b))),
            (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
            (Val::Double(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Val::Int(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
            (Val::Double(a), Val::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Val::Uint(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
            (Val::Text(a), Val::Text(b)) => Some(a[..].cmp(&b[..])),
            (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
            (Val::Time(a), Val::Time(b)) => Some(a.cmp(b)),
            (Val::Quantity(a), Val::Quantity(b)) => a.partial_cmp(b),
            _ => None,
        }
    }

    /// What it costs to compare it with another: lists and maps of different sizes are not looked at. Counting ends beyond `most`.
    pub(super) fn comparing(&self, other: &Val<'_>, most: u64) -> u64 {
        match (self, other) {
            (Val::Text(a), Val::Text(b)) => length(a.len().min(b.len())),
            (Val::Bytes(a), Val::Bytes(b)) => length(a.len().min(b.len())),
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => a.comparing(b, most).saturating_add(1),
            (a, b) if a.alike(b) => a.weight(most).saturating_add(b.weight(most)),
            _ => 1,
        }
    }

    /// What it costs to look for a key of a map. Fields are found at once; entries are searched.
    pub(super) fn finding(&self, key: &Val<'_>) -> u64 {
        let long = if let Val::Text(text) = key { text.len() as u64 / 8 } else { 0 };
        match self {
            Val::Map(entries) => (1 + long).saturating_mul(entries.len() as u64),
            _ => long,
        }
    }

    /// What it costs to look at all of it. Counting ends beyond `most`: a value that stands many times in another is counted each time,
    /// and whoever doubles one a few times has more of it than can be counted.
    pub(super) fn weight(&self, most: u64) -> u64 {
        let mut sum = 0;
        self.count(most, &mut sum);
        sum
    }

    fn count(&self, most: u64, sum: &mut u64) {
        if *sum > most {
            return;
        }
        match self {
            Val::Text(text) => *sum += length(text.len()),
            Val::Bytes(bytes) => *sum += length(bytes.len()),
            Val::List(items) => {
                *sum += 1;
                items.iter().for_each(|item| item.count(most, sum));
            }
            Val::Map(entries) => {
                *sum += 1;
                for (key, value) in entries.iter() {
                    *sum = sum.saturating_add(self.finding(key));
                    value.count(most, sum);
                }
            }
            Val::Items(items, _) => {
                *sum += 1;
                items.iter().for_each(|item| count(item, most, sum));
            }
            Val::Fields(map, _) => {
                *sum += 1;
                map.iter().for_each(|(name, value)| count_field(name, value, most, sum));
            }
            Val::Optional(Some(inner)) => {
                *sum += 1;
                inner.count(most, sum);
            }
            _ => *sum += 1,
        }
    }
}

/// What it costs to look at so many bytes.
fn length(bytes: usize) -> u64 {
    1 + bytes as u64 / 8
}

/// Counts a value of an object.
fn count(value: &Value, most: u64, sum: &mut u64) {
    if *sum > most {
        return;
    }
    match value {
        Value::String(text) => *sum += length(text.len()),
        Value::Array(items) => {
            *sum += 1;
            items.iter().for_each(|item| count(item, most, sum));
        }
        Value::Object(map) => {
            *sum += 1;
            map.iter().for_each(|(name, value)| count_field(name, value, most, sum));
        }
        _ => *sum += 1,
    }
}

fn count_field(name: &str, value: &Value, most: u64, sum: &mut u64) {
    *sum += name.len() as u64 / 8;
    count(value, most, sum);
}

fn field<'a>(map: &'a Map<String, Value>, schema: Option<&'a Schema>, name: &str) -> Option<Val<'a>> {
    map.get(name).map(|value| Val::of(value, schema.and_then(|schema| schema.below(name))))
}

/// The name that an escaped one stands for; none if it stands for itself.
fn unescape(name: &str) -> Option<String> {
    const SIGNS: [(&str, &str); 4] =
        [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
    if !name.contains("__") {
        return None;
    }
    if let Some(word) = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"))
        && !SIGNS.iter().any(|(escaped, _)| *escaped == name)
        && word.bytes().all(|b| b.is_ascii_lowercase())
    {
        return Some(word.to_owned());
    }
    Some(SIGNS.iter().fold(name.to_owned(), |name, (escaped, sign)| name.replace(escaped, sign)))
}

/// `1h30m`, in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units =
            [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += amount * factor;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() || total > i64::MAX as f64 {
        return None;
    }
    Some(if negative { -(total as i64) } else { total as i64 })
}
