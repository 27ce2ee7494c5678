//! Reads JSON into a value within bounds and reports object keys that stand twice, which a plain value would hide.
//! The last one wins, as Kubernetes does.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error as YamlError, Spanned, budget::BudgetBreach};
use thiserror::Error;

/// Levels of nesting that a document may have. Whatever walks a value does so by recursion, so that deeper ones put the stack at risk; and
/// what is stored must be read back by `serde_json`, which stops at 128 levels, also where owners of fields add some.
pub const MAX_DEPTH: usize = 64;

/// What a document may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Values altogether: small texts can hold very many.
    pub values: usize,
}

impl Default for Limits {
    /// The request limit of Kubernetes, 3 MiB.
    fn default() -> Self {
        Self { bytes: 3 << 20, depth: MAX_DEPTH, values: 500_000 }
    }
}

/// Why a document was not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Longer than the limit.
    #[error("request entity too large: limit is {limit}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not JSON, or beyond another limit.
    #[error("invalid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// A document and the paths (`metadata.labels.app`, `spec.containers[0].name`) of keys that it repeats.
#[derive(Debug)]
pub struct Document {
    /// The value.
    pub value: Value,
    /// Repeated keys, at most [`MAX_REPORTS`].
    pub duplicates: Vec<String>,
    /// How many values it holds.
    pub values: usize,
}

/// How many problems of one document are told.
pub const MAX_REPORTS: usize = 100;

/// Reads one JSON document.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Document, ReadError> {
    if bytes.len() > limits.bytes {
        return Err(ReadError::TooLarge { limit: limits.bytes });
    }
    let mut state = State {
        path: Path::default(),
        duplicates: Vec::new(),
        depth: limits.depth,
        values: limits.values,
        lines: false,
    };
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = Reading(&mut state).deserialize(&mut source)?;
    source.end()?;
    Ok(Document { value, duplicates: state.duplicates, values: limits.values - state.values })
}

/// Reads one YAML document, which may be no deeper than a JSON one; the parser's own budget bounds its nodes and aliases.
///
/// # Errors
/// In words, when it cannot be read.
pub fn read_yaml(text: &str) -> Result<Value, String> {
    Ok(read_yaml_telling(text)?.0)
}

/// The same, and what it repeats, in the words of Kubernetes' parser: `line 9: key "foo" already set in map`; at most [`MAX_REPORTS`].
///
/// # Errors
/// In words, when it cannot be read.
pub fn read_yaml_telling(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    // The depth is the budget's, which counts what aliases bring, too.
    let state = State {
        path: Path::default(),
        duplicates: Vec::new(),
        depth: usize::MAX,
        values: Limits::default().values,
        lines: true,
    };
    let told = std::cell::RefCell::new(state);
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| {
        Reading(&mut told.borrow_mut()).deserialize(source)
    });
    let value = read.map_err(|error| {
        let mut cause = &error;
        while let YamlError::AliasError { error, .. } | YamlError::WithSnippet { error, .. } = cause {
            cause = error;
        }
        match cause {
            YamlError::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(),
            _ => error.to_string(),
        }
    })?;
    Ok((value, told.into_inner().duplicates))
}

/// What is said of a document that is deeper than it may be.
pub(crate) fn too_deep() -> String {
    format!("exceeded max depth of {MAX_DEPTH}")
}

/// A place in a document, printed as Kubernetes prints it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn key(&mut self, key: &str) {
        self.steps.push(Step::Key(key.to_owned()));
    }

    pub(crate) fn index(&mut self, index: usize) {
        self.steps.push(Step::Index(index));
    }

    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

struct State {
    path: Path,
    duplicates: Vec<String>,
    depth: usize,
    values: usize,
    /// Whether keys come with their lines, and repeated ones are told by them: of YAML.
    lines: bool,
}

impl State {
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(too_deep()))?;
        Ok(())
    }
}

struct Reading<'a>(&'a mut State);

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        self.0.values = self
            .0
            .values
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom("too many values in one document"))?;
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut list = Vec::new();
        loop {
            self.0.path.index(list.len());
            let item = items.next_element_seed(Reading(self.0))?;
            self.0.path.leave();
            match item {
                Some(item) => list.push(item),
                None => break,
            }
        }
        self.0.depth += 1;
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut object = Map::new();
        loop {
            let (key, line) = if self.0.lines {
                let Some(key) = entries.next_key::<Spanned<String>>()? else { break };
                (key.value, key.referenced.line())
            } else {
                let Some(key) = entries.next_key::<String>()? else { break };
                (key, 0)
            };
            self.0.path.key(&key);
            if object.contains_key(&key) && self.0.duplicates.len() < MAX_REPORTS {
                let told = match self.0.lines {
                    true => format!("line {line}: key {key:?} already set in map"),
                    false => self.0.path.to_string(),
                };
                if !self.0.duplicates.contains(&told) {
                    self.0.duplicates.push(told);
                }
            }
            let value = entries.next_value_seed(Reading(self.0))?;
            self.0.path.leave();
            object.insert(key, value);
        }
        self.0.depth += 1;
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_reported_with_their_paths_and_the_last_wins() {
        let text = br#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"list":[{"k":1},{"k":1,"k":2}],"n":1,"n":2,"n":3}"#;
        let document = read(text, Limits::default()).unwrap();
        assert_eq!(document.duplicates, ["metadata.name", "metadata.labels.x", "list[1].k", "n"]);
        assert_eq!(document.value["metadata"]["name"], json!("b"));
        assert_eq!(document.value["n"], json!(3));
    }

    #[test]
    fn what_yaml_repeats_is_told_by_its_lines_and_the_last_wins() {
        let text = "\na: 1\nspec:\n  foo: x\n  foo: z\n  list:\n  - {k: 1, k: 2}\na: null\n";
        let (value, told) = read_yaml_telling(text).unwrap();
        assert_eq!(value, json!({"a": null, "spec": {"foo": "z", "list": [{"k": 2}]}}));
        let lines = [(5, "foo"), (7, "k"), (8, "a")];
        assert_eq!(told, lines.map(|(line, key)| format!("line {line}: key {key:?} already set in map")));
        let plain = read_yaml_telling("1: a\nb: &x {c: ~, d: 1.5}\ne: {<<: *x, c: true}\n").unwrap();
        let wanted = json!({"1": "a", "b": {"c": null, "d": 1.5}, "e": {"c": true, "d": 1.5}});
        assert_eq!(plain, (wanted, Vec::new()));
        assert!(read_yaml("a: [").is_err());
    }

    #[test]
    fn yaml_may_be_as_deep_as_json() {
        let flow = |levels: usize| format!("{}1{}", "{a: ".repeat(levels), "}".repeat(levels));
        let block = |levels: usize| {
            (0..levels)
                .map(|level| format!("{}a:\n", " ".repeat(level)))
                .chain([" ".repeat(levels), "1".into()])
                .collect::<String>()
        };
        for text in [flow, block] {
            assert!(read_yaml(&text(MAX_DEPTH)).unwrap().pointer(&"/a".repeat(MAX_DEPTH)).is_some());
            assert_eq!(read_yaml(&text(MAX_DEPTH + 1)).unwrap_err(), "exceeded max depth of 64");
        }
        // Each part is shallow, the whole is not.
        let aliased = format!("x: &x {}\ny: {}*x{}", flow(40), "{a: ".repeat(40), "}".repeat(40));
        assert_eq!(read_yaml(&aliased).unwrap_err(), "exceeded max depth of 64");
    }

    #[test]
    fn bounds_hold() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert!(read(deep.as_bytes(), Limits::default()).unwrap_err().to_string().contains("max depth"));
        let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(read(deep.as_bytes(), Limits::default()).is_ok());
        assert_eq!(read_yaml(&deep), Ok(read(deep.as_bytes(), Limits::default()).unwrap().value));
        let many = Limits { values: 10, ..Limits::default() };
        assert!(read(b"[1,2,3,4,5,6,7,8,9,10]", many).unwrap_err().to_string().contains("too many values"));
        let short = Limits { bytes: 3, ..Limits::default() };
        assert!(matches!(read(b"null", short), Err(ReadError::TooLarge { limit: 3 })));
        for bad in [&b"{"[..], b"", b"{} {}", b"{\"a\":1e999}", b"\xff", b"nul"] {
            assert!(matches!(read(bad, Limits::default()), Err(ReadError::Syntax(_))));
        }
    }
}
