//! One step of a path into an object: a field, an element of a list by its keys, by its value, or by its place. Its order is that of
//! the reference implementation, since lists of conflicts follow it.

use std::{cmp::Ordering, fmt};

use serde_json::{Map, Number, Value};

/// A step of a path.
#[derive(Clone, Debug)]
pub enum Element {
    /// A field of an object.
    Field(Box<str>),
    /// The element of a list that has these values under its keys, sorted by key.
    Key(Box<[(Box<str>, Value)]>),
    /// The element of a set that is this value.
    Value(Value),
    /// The element of a list at this place. Never made here; others may have stored it.
    Index(i64),
}

/// A text that is no path element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Of a kind that this build does not know: to be passed over.
    #[error("a path element of an unknown kind: {0:?}")]
    Unknown(String),
    /// Of a known kind, and broken.
    #[error("not a path element: {0:?}")]
    Malformed(String),
}

impl Element {
    /// A field of an object.
    pub fn field(name: &str) -> Element {
        Element::Field(name.into())
    }

    /// The element of a list by its keys, in any order.
    pub fn key(mut fields: Vec<(Box<str>, Value)>) -> Element {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Element::Key(fields.into())
    }

    /// Reads it as it stands in `fieldsV1`: `f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`.
    pub fn parse(text: &str) -> Result<Element, ElementError> {
        let malformed = || ElementError::Malformed(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
        match kind {
            "f" => Ok(Element::field(rest)),
            "v" => serde_json::from_str(rest).map(Element::Value).map_err(|_| malformed()),
            "k" => {
                let fields: Map<String, Value> = serde_json::from_str(rest).map_err(|_| malformed())?;
                Ok(Element::key(fields.into_iter().map(|(name, value)| (name.into(), value)).collect()))
            }
            "i" => rest.parse().map(Element::Index).map_err(|_| malformed()),
            _ if kind.len() == 1 => Err(ElementError::Unknown(text.to_owned())),
            _ => Err(malformed()),
        }
    }

    /// As it stands in `fieldsV1`.
    pub fn to_text(&self) -> String {
        match self {
            Element::Field(name) => ["f:", name].concat(),
            Element::Key(fields) => {
                let pairs: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}:{value}", Value::from(name.as_ref())))
                    .collect();
                format!("k:{{{}}}", pairs.join(","))
            }
            Element::Value(value) => format!("v:{value}"),
            Element::Index(at) => format!("i:{at}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

/// As in messages: `.spec`, `[name="x"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(fields) => {
                let pairs: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", pairs.join(","))
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(at) => write!(f, "[{at}]"),
        }
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Element) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.cmp(b),
            (Element::Key(a), Element::Key(b)) => {
                let fields = a.iter().zip(b.iter());
                let mut orders = fields.map(|((a, x), (b, y))| a.cmp(b).then_with(|| compare_values(x, y)));
                orders.find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Element::Value(a), Element::Value(b)) => compare_values(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Element) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Element) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element {}

/// A total order of JSON values; numbers by their amount, whether written `1` or `1.0`.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let mut items = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
            items.find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut fields =
                a.iter().zip(b).map(|((a, x), (b, y))| a.cmp(b).then_with(|| compare_values(x, y)));
            fields.find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => value_rank(a).cmp(&value_rank(b)),
    }
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => {
            let amount = |n: &Number| n.as_f64().unwrap_or(0.0);
            amount(a).total_cmp(&amount(b))
        }
    }
}

/// Whether two values are the same to those who own them.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    a == b || compare_values(a, b) == Ordering::Equal
}
