//! The structural schema of a custom resource, as requests use it: read once from its definition, checked by [`super::structural`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    pattern::{Pattern, Patterns},
    rules::Rule,
};

/// The fields that each resource has without its schema saying so.
pub(crate) const IMPLICIT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub(crate) const NAMES: [(&'static str, Type); 6] = [
        ("array", Type::Array),
        ("boolean", Type::Boolean),
        ("integer", Type::Integer),
        ("number", Type::Number),
        ("object", Type::Object),
        ("string", Type::String),
    ];

    pub(crate) fn named(name: &str) -> Option<Type> {
        Type::NAMES.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
    }

    pub(crate) fn name(self) -> &'static str {
        Type::NAMES.iter().find(|(_, of)| *of == self).map_or("", |(name, _)| name)
    }
}

/// How server-side apply treats a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// What keys may hold that are not declared.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// There are none.
    #[default]
    None,
    /// Anything, but nothing of it is declared.
    Any,
    /// All the same.
    Schema(Box<Schema>),
}

/// A schema of a value and all below it.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) of: Option<Type>,
    pub(crate) nullable: bool,
    /// `x-kubernetes-int-or-string`.
    pub(crate) int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub(crate) preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListKind,
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic: bool,
    pub(crate) checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`.
    pub(crate) rules: Vec<Rule>,
}

/// What a value must be beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<Arc<Pattern>>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) one_value_of: Vec<Value>,
    pub(crate) format: String,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

impl Schema {
    /// Reads a schema by itself.
    #[cfg(test)]
    pub(crate) fn read(value: &Value) -> Schema {
        Schema::read_with(value, &mut Patterns::default())
    }

    /// Reads a schema that was checked. What cannot be read is left out, and so are patterns for which there is no room beside the others
    /// of the definition.
    pub(crate) fn read_with(value: &Value, patterns: &mut Patterns) -> Schema {
        let flag = |key: &str| value[key] == true;
        let mut below = |key: &str| Schema::below_of(value, key, patterns);
        let texts = |key: &str| -> Vec<String> {
            value[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (items, additional) = (below("items"), below("additionalProperties"));
        let properties = value["properties"].as_object().into_iter().flatten();
        Schema {
            of: value["type"].as_str().and_then(Type::named),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: properties
                .map(|(name, schema)| (name.clone(), Schema::read_with(schema, patterns)))
                .collect(),
            additional: match (&value["additionalProperties"], additional) {
                (_, Some(schema)) => Additional::Schema(schema),
                (Value::Bool(true), _) => Additional::Any,
                _ => Additional::None,
            },
            items,
            default: value.get("default").filter(|v| !v.is_null()).cloned(),
            list: match value["x-kubernetes-list-type"].as_str() {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Map(texts("x-kubernetes-list-map-keys")),
                _ => ListKind::Atomic,
            },
            atomic: value["x-kubernetes-map-type"] == "atomic",
            checks: Checks::read(value, patterns),
            rules: value["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Rule::read)
                .collect(),
        }
    }

    /// The schema that stands at a word of another.
    fn below_of(value: &Value, word: &str, patterns: &mut Patterns) -> Option<Box<Schema>> {
        value.get(word).filter(|v| v.is_object()).map(|v| Box::new(Schema::read_with(v, patterns)))
    }

    /// What is declared of a key of an object.
    pub(crate) fn below(&self, key: &str) -> Option<&Schema> {
        self.properties.get(key).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        })
    }

    /// Follows declared names from here, through objects only.
    pub(crate) fn walk(&self, path: &[&str]) -> Option<&Schema> {
        path.iter().try_fold(self, |schema, name| schema.properties.get(*name))
    }

    /// The keys that tell the elements of this list apart, if they do.
    pub(crate) fn keys_of<'a>(&'a self, item: &Value) -> Option<Map<String, Value>> {
        let ListKind::Map(keys) = &self.list else { return None };
        let items = self.items.as_deref();
        let value = |key: &'a String| {
            let default = || items?.properties.get(key)?.default.clone();
            Some((key.clone(), item.get(key).cloned().or_else(default)?))
        };
        keys.iter().map(value).collect()
    }

    /// This list as it was, to be asked for what each of its elements was. To be made once per list: it looks at all of it.
    pub(crate) fn partners<'a>(&'a self, old: Option<&'a Value>) -> Partners<'a> {
        let told_apart = matches!(self.list, ListKind::Map(_));
        let list =
            old.and_then(Value::as_array).filter(|_| told_apart).map(Vec::as_slice).unwrap_or_default();
        let mut by_keys = HashMap::with_capacity(list.len());
        for before in list {
            if let Some(keys) = self.keys_of(before) {
                by_keys.entry(keys).or_insert(before);
            }
        }
        Partners { of: self, by_keys, looked_at: list.len() }
    }
}

/// The elements of a list as it was, by the keys that tell them apart: of several with the same, the first.
pub(crate) struct Partners<'a> {
    of: &'a Schema,
    by_keys: HashMap<Map<String, Value>, &'a Value>,
    /// How many elements were looked at to make this.
    pub(crate) looked_at: usize,
}

impl<'a> Partners<'a> {
    /// What an element of the list was before, if its keys tell.
    pub(crate) fn of(&self, item: &Value) -> Option<&'a Value> {
        if self.by_keys.is_empty() {
            return None;
        }
        self.by_keys.get(&self.of.keys_of(item)?).copied()
    }
}

impl Checks {
    fn read(value: &Value, patterns: &mut Patterns) -> Option<Box<Checks>> {
        const WORDS: [&str; 17] = [
            "maximum",
            "minimum",
            "multipleOf",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "maxProperties",
            "minProperties",
            "required",
            "enum",
            "format",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !WORDS.iter().any(|word| value.get(word).is_some()) {
            return None;
        }
        let (number, count) = (|key: &str| value[key].as_f64(), |key: &str| value[key].as_u64());
        let all = |key: &str| value[key].as_array().into_iter().flatten();
        let mut schemas = |key: &str| all(key).map(|of| Schema::read_with(of, patterns)).collect();
        let (all_of, any_of, one_of) = (schemas("allOf"), schemas("anyOf"), schemas("oneOf"));
        Some(Box::new(Checks {
            maximum: number("maximum"),
            exclusive_maximum: value["exclusiveMaximum"] == true,
            minimum: number("minimum"),
            exclusive_minimum: value["exclusiveMinimum"] == true,
            multiple_of: number("multipleOf").filter(|n| *n > 0.0),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: value["pattern"].as_str().and_then(|text| patterns.get(text).ok()),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: all("required").filter_map(Value::as_str).map(str::to_owned).collect(),
            one_value_of: all("enum").cloned().collect(),
            format: value["format"].as_str().unwrap_or_default().to_owned(),
            all_of,
            any_of,
            one_of,
            not: Schema::below_of(value, "not", patterns),
        }))
    }
}
