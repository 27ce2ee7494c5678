//! Checks a custom resource against its schema, in Kubernetes' words.
//!
//! What an update leaves as it was is not checked again, so that a schema can become stricter without making objects unchangeable.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    formats,
    schema::{Additional, Checks, ListKind, Schema, Type},
};
use crate::resource::field::Errors;

/// Steps that one object may take: schemas may ask for any number of alternatives of each value.
const STEPS: usize = 5_000_000;
/// What a problem costs of them: it has to be kept, and an object can have one in each of its values.
const PROBLEM: usize = 500;
/// The place that Kubernetes tells where none fits: of alternatives, none of which holds.
pub(super) const NOWHERE: &str = "<nil>";

/// Checks a value that stands at a path, empty for the object itself. `old` is what it was, if it was.
pub(crate) fn validate(schema: &Schema, path: &str, value: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut walk = Walk { steps: STEPS };
    let found = walk.value(schema, path, value, old);
    if walk.steps == 0 {
        errors.invalid_text(NOWHERE, "", "takes too many steps to be checked against its schema");
        return;
    }
    // What is wrong in two ways is told once.
    let mut told = BTreeSet::new();
    for problem in found {
        if told.insert(format!("{problem:?}")) {
            problem.tell(errors);
        }
    }
    if errors.is_empty() && old.is_none_or(|old| !repeats(schema, old)) {
        lists(schema, path, value, errors);
    }
}

/// A thing that is wrong.
#[derive(Debug)]
struct Problem {
    path: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Required,
    Type(Value, String),
    NotSupported(Value, Vec<String>),
    TooLong(u64),
    TooMany(usize, u64),
    Invalid(Value, String),
}

impl Problem {
    fn tell(self, errors: &mut Errors) {
        let path = if self.path.is_empty() { NOWHERE } else { self.path.trim_start_matches('.') };
        match self.what {
            What::Required => errors.required(path, ""),
            What::Type(value, why) => errors.type_invalid(path, &value, &why),
            What::NotSupported(value, known) => errors.not_supported_value(path, &value, &known),
            What::TooLong(limit) => errors.too_long(path, usize::try_from(limit).unwrap_or(usize::MAX)),
            What::TooMany(count, limit) => {
                errors.too_many(path, count, usize::try_from(limit).unwrap_or(usize::MAX));
            }
            What::Invalid(value, why) => errors.invalid(path, &value, &why),
        }
    }
}

struct Walk {
    steps: usize,
}

/// A path as messages name it.
fn named(path: &str) -> &str {
    path.trim_start_matches('.')
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Walk {
    fn value(&mut self, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) -> Vec<Problem> {
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 || old == Some(value) {
            return Vec::new();
        }
        let mut found = Vec::new();
        if let Some(wrong) = mistyped(schema, value) {
            let place = named(path);
            let (expected, told) = wrong;
            let why = format!("{place} in body must be of type {expected}: {told:?}");
            found.push(Problem { path: path.to_owned(), what: What::Type(json!(told), why) });
        }
        // A value of another type is checked all the same, as far as its own goes.
        if let Some(checks) = &schema.checks {
            if !value.is_null() {
                self.junctors(checks, path, value, old, &mut found);
            }
            plain(checks, path, value, &mut found);
        }
        self.steps = self.steps.saturating_sub(found.len() * PROBLEM);
        match value {
            Value::Array(items) => {
                if let Some(of) = schema.items.as_deref() {
                    let partners = schema.partners(old);
                    // What was can be looked at more than once, where several elements have the same keys.
                    self.steps = self.steps.saturating_sub(partners.looked_at);
                    for (at, item) in items.iter().enumerate() {
                        found.extend(self.value(of, &format!("{path}[{at}]"), item, partners.of(item)));
                    }
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let of = match (schema.properties.get(key), &schema.additional) {
                        (Some(of), _) => of,
                        (None, Additional::Schema(of)) => of,
                        _ => continue,
                    };
                    found.extend(self.value(of, &below(path, key), value, old.and_then(|old| old.get(key))));
                }
            }
            _ => {}
        }
        found
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`. Of alternatives none of which holds, what is wrong with the one that comes nearest is told, too.
    fn junctors(
        &mut self,
        checks: &Checks,
        path: &str,
        value: &Value,
        old: Option<&Value>,
        found: &mut Vec<Problem>,
    ) {
        let place = named(path);
        let nowhere = |why: String| Problem { path: String::new(), what: What::Invalid(json!(""), why) };
        let alternatives = |walk: &mut Walk, schemas: &[Schema], first: bool| {
            let (mut holding, mut nearest): (usize, Option<Vec<Problem>>) = (0, None);
            for schema in schemas {
                let wrong = walk.value(schema, path, value, old);
                if wrong.is_empty() {
                    holding += 1;
                    if first {
                        break;
                    }
                } else if nearest.as_ref().is_none_or(|nearest| wrong.len() < nearest.len()) {
                    nearest = Some(wrong);
                }
            }
            (holding, nearest)
        };
        if !checks.any_of.is_empty() {
            let (holding, nearest) = alternatives(self, &checks.any_of, true);
            if holding == 0 {
                found.push(nowhere(format!("{place:?} must validate at least one schema (anyOf)")));
                found.extend(nearest.into_iter().flatten());
            }
        }
        if !checks.one_of.is_empty() {
            let (holding, nearest) = alternatives(self, &checks.one_of, false);
            let mut refuse = |why: &str| {
                found
                    .push(nowhere(format!("{place:?} must validate one and only one schema (oneOf). {why}")));
            };
            match holding {
                0 => {
                    refuse("Found none valid");
                    found.extend(nearest.into_iter().flatten());
                }
                1 => {}
                more => refuse(&format!("Found {more} valid alternatives")),
            }
        }
        let mut holding = 0;
        for schema in &checks.all_of {
            let wrong = self.value(schema, path, value, old);
            holding += usize::from(wrong.is_empty());
            found.extend(wrong);
        }
        if holding < checks.all_of.len() {
            let none = if holding == 0 { ". None validated" } else { "" };
            found.push(nowhere(format!("{place:?} must validate all the schemas (allOf){none}")));
        }
        if let Some(schema) = &checks.not
            && self.value(schema, path, value, None).is_empty()
        {
            found.push(nowhere(format!("{place:?} must not validate the schema (not)")));
        }
    }
}

/// The type that a value should be of and the one that it is of, if they differ.
fn mistyped(schema: &Schema, value: &Value) -> Option<(&'static str, &'static str)> {
    let told = match value {
        Value::Null if schema.nullable => return None,
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if schema.int_or_string {
        return (!matches!(told, "integer" | "string") && !whole(value)).then_some(("integer,string", told));
    }
    let of = schema.of?;
    let fits = match of {
        Type::Number => matches!(told, "number" | "integer"),
        Type::Integer => told == "integer" || whole(value),
        other => told == other.name(),
    };
    (!fits).then_some((of.name(), told))
}

fn whole(value: &Value) -> bool {
    value
        .as_f64()
        .is_some_and(|n| value.is_number() && n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_991.0)
}

/// What concerns the value alone.
fn plain(checks: &Checks, path: &str, value: &Value, found: &mut Vec<Problem>) {
    let place = named(path);
    let mut add = |what: What| found.push(Problem { path: path.to_owned(), what });
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(limit) = checks.max_length.filter(|limit| length > *limit) {
                add(What::TooLong(limit));
            }
            if let Some(least) = checks.min_length.filter(|least| length < *least) {
                add(What::Invalid(
                    value.clone(),
                    format!("{place} in body should be at least {least} chars long"),
                ));
            }
            if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
                add(What::Invalid(value.clone(), format!("{place} in body should match '{}'", pattern.text)));
            }
            if !formats::fits(&checks.format, text) {
                let why = format!("{place} in body must be of type {}: {text:?}", checks.format);
                add(What::Type(value.clone(), why));
            }
        }
        Value::Number(number) => {
            let amount = number.as_f64().unwrap_or(0.0);
            let mut outside =
                |why: String| add(What::Invalid(value.clone(), format!("{place} in body should be {why}")));
            if let Some(factor) = checks.multiple_of.filter(|factor| (amount / factor).fract() != 0.0) {
                outside(format!("a multiple of {factor}"));
            }
            match (checks.maximum, checks.exclusive_maximum) {
                (Some(limit), true) if amount >= limit => outside(format!("less than {limit}")),
                (Some(limit), false) if amount > limit => outside(format!("less than or equal to {limit}")),
                _ => {}
            }
            match (checks.minimum, checks.exclusive_minimum) {
                (Some(limit), true) if amount <= limit => outside(format!("greater than {limit}")),
                (Some(limit), false) if amount < limit => {
                    outside(format!("greater than or equal to {limit}"))
                }
                _ => {}
            }
        }
        Value::Array(items) => {
            let count = items.len();
            if let Some(least) = checks.min_items.filter(|least| (count as u64) < *least) {
                add(What::Invalid(
                    count.into(),
                    format!("{place} in body should have at least {least} items"),
                ));
            }
            if let Some(limit) = checks.max_items.filter(|limit| count as u64 > *limit) {
                add(What::TooMany(count, limit));
            }
        }
        Value::Object(map) => {
            let count = map.len();
            if let Some(least) = checks.min_properties.filter(|least| (count as u64) < *least) {
                add(What::Invalid(
                    count.into(),
                    format!("{place} in body should have at least {least} properties"),
                ));
            }
            if let Some(limit) = checks.max_properties.filter(|limit| count as u64 > *limit) {
                add(What::TooMany(count, limit));
            }
        }
        _ => {}
    }
    if !checks.one_value_of.is_empty() && !checks.one_value_of.contains(value) {
        let shown = |known: &Value| known.as_str().map_or_else(|| known.to_string(), str::to_owned);
        let known = checks.one_value_of.iter().map(shown).collect();
        let told = if value.is_null() { json!("null") } else { value.clone() };
        add(What::NotSupported(told, known));
    }
    if let Value::Object(map) = value {
        for key in checks.required.iter().filter(|key| !map.contains_key(*key)) {
            found.push(Problem { path: below(path, key), what: What::Required });
        }
    }
}

/// Whether a value has elements twice where there may be one.
fn repeats(schema: &Schema, value: &Value) -> bool {
    let mut errors = Errors::default();
    lists(schema, "", value, &mut errors);
    !errors.is_empty()
}

/// Checks that elements of sets, and keys of elements, do not stand twice.
fn lists(schema: &Schema, path: &str, value: &Value, errors: &mut Errors) {
    match value {
        Value::Array(items) => {
            let mut seen = BTreeSet::new();
            for (at, item) in items.iter().enumerate() {
                let told = match &schema.list {
                    ListKind::Atomic => None,
                    ListKind::Set => Some(item.clone()),
                    ListKind::Map(_) => schema.keys_of(item).map(Value::Object),
                };
                let place = format!("{}[{at}]", named(path));
                if let Some(told) = told
                    && !seen.insert(told.to_string())
                {
                    errors.duplicate(&place, &told);
                }
                if let Some(of) = schema.items.as_deref() {
                    lists(of, &place, item, errors);
                }
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(of) = schema.below(key) {
                    lists(of, &below(path, key), value, errors);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(schema: &Value, value: Value, old: Option<Value>) -> Vec<String> {
        let mut errors = Errors::default();
        validate(&Schema::read(schema), "", &value, old.as_ref(), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{} {}: {}", c.reason, c.field, c.message)).collect()
    }

    #[test]
    fn what_is_wrong_is_told_as_kubernetes_tells_it() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["cron"],
        "properties": {
            "cron": {"type": "string", "pattern": "^\\d+$", "minLength": 2, "maxLength": 3},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "port": {"x-kubernetes-int-or-string": true},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "level": {"type": "integer", "enum": [1, 2]},
            "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "object", "required": ["n"],
                "properties": {"n": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "boolean"}},
            "at": {"type": "string", "format": "date-time"},
            "open": {"type": "number", "exclusiveMaximum": true, "maximum": 1, "multipleOf": 0.25},
            "maybe": {"type": "string", "nullable": true},
        }}}});
        let of = |spec: Value| told(&schema, json!({ "spec": spec }), None);
        let fine = json!({"cron": "123", "replicas": 2.0, "port": "http", "maybe": null, "open": 0.5, "level": 2,
            "list": [{"n": "a"}, {"n": "b"}], "set": ["a"], "map": {"k": true}, "at": "2026-11-29T10:00:00Z"});
        assert_eq!(of(fine), [""; 0]);
        assert_eq!(told(&schema, json!({}), None), ["FieldValueRequired spec: Required value"]);
        for (spec, said) in [
            (json!({}), "FieldValueRequired spec.cron: Required value"),
            (
                json!({"cron": 5}),
                "FieldValueTypeInvalid spec.cron: Invalid value: \"integer\": spec.cron in body must be of type string: \"integer\"",
            ),
            (
                json!({"cron": null}),
                "FieldValueTypeInvalid spec.cron: Invalid value: \"null\": spec.cron in body must be of type string: \"null\"",
            ),
            (
                json!({"cron": "ab"}),
                "FieldValueInvalid spec.cron: Invalid value: \"ab\": spec.cron in body should match '^\\d+$'",
            ),
            (
                json!({"cron": "1"}),
                "FieldValueInvalid spec.cron: Invalid value: \"1\": spec.cron in body should be at least 2 chars long",
            ),
            (json!({"cron": "1234"}), "FieldValueTooLong spec.cron: Too long: may not be more than 3 bytes"),
            (
                json!({"cron": "12", "replicas": 11}),
                "FieldValueInvalid spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            ),
            (
                json!({"cron": "12", "replicas": 0}),
                "FieldValueInvalid spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
            ),
            (
                json!({"cron": "12", "replicas": 1.5}),
                "FieldValueTypeInvalid spec.replicas: Invalid value: \"number\": spec.replicas in body must be of type integer: \"number\"",
            ),
            (
                json!({"cron": "12", "port": true}),
                "FieldValueTypeInvalid spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"cron": "12", "mode": "c"}),
                "FieldValueNotSupported spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"cron": "12", "level": 3}),
                "FieldValueNotSupported spec.level: Unsupported value: 3: supported values: \"1\", \"2\"",
            ),
            (
                json!({"cron": "12", "list": []}),
                "FieldValueInvalid spec.list: Invalid value: 0: spec.list in body should have at least 1 items",
            ),
            (
                json!({"cron": "12", "list": [{"n": "a"}, {"n": "b"}, {"n": "c"}]}),
                "FieldValueTooMany spec.list: Too many: 3: must have at most 2 items",
            ),
            (json!({"cron": "12", "list": [{}]}), "FieldValueRequired spec.list[0].n: Required value"),
            (
                json!({"cron": "12", "list": [{"n": "a"}, {"n": "a"}]}),
                "FieldValueDuplicate spec.list[1]: Duplicate value: {\"n\":\"a\"}",
            ),
            (
                json!({"cron": "12", "set": ["a", "a"]}),
                "FieldValueDuplicate spec.set[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"cron": "12", "map": {"k": 1}}),
                "FieldValueTypeInvalid spec.map.k: Invalid value: \"integer\": spec.map.k in body must be of type boolean: \"integer\"",
            ),
            (
                json!({"cron": "12", "map": {"k": true, "l": true}}),
                "FieldValueTooMany spec.map: Too many: 2: must have at most 1 items",
            ),
            (
                json!({"cron": "12", "at": "now"}),
                "FieldValueTypeInvalid spec.at: Invalid value: \"now\": spec.at in body must be of type date-time: \"now\"",
            ),
            (
                json!({"cron": "12", "open": 1}),
                "FieldValueInvalid spec.open: Invalid value: 1: spec.open in body should be less than 1",
            ),
            (
                json!({"cron": "12", "open": 0.3}),
                "FieldValueInvalid spec.open: Invalid value: 0.3: spec.open in body should be a multiple of 0.25",
            ),
        ] {
            assert_eq!(of(spec.clone()), [said], "{spec}");
        }
    }

    /// What Kubernetes' own code says of the same schemas and values: `tests/vectors/README.md`.
    #[test]
    fn as_kubernetes_tells_it() {
        let mut wrong = 0;
        for line in include_str!("../../tests/vectors/custom_resources.jsonl").lines() {
            let case: Value = serde_json::from_str(line).expect("a case");
            let mut said = told(&case["schema"], case["value"].clone(), None);
            said.sort();
            let expected: Vec<&str> =
                case["causes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if said != expected {
                wrong += 1;
                eprintln!("{line}\n  here: {said:#?}\n  there: {expected:#?}");
            }
        }
        assert_eq!(wrong, 0);
    }

    #[test]
    fn alternatives() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "not": {"required": ["c"]}}}});
        let of = |spec: Value| told(&schema, json!({ "spec": spec }), None);
        assert_eq!(of(json!({"a": "x"})), [""; 0]);
        assert_eq!(
            of(json!({})),
            [
                "FieldValueInvalid <nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
                "FieldValueRequired spec.a: Required value"
            ]
        );
        assert_eq!(
            of(json!({"a": "x", "b": "y"})),
            [
                "FieldValueInvalid <nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
        assert_eq!(
            of(json!({"a": "x", "c": "y"})),
            ["FieldValueInvalid <nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"]
        );
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer",
            "anyOf": [{"minimum": 10}, {"maximum": 2}], "allOf": [{"maximum": 20}]}}});
        assert_eq!(told(&schema, json!({"n": 1}), None), [""; 0]);
        assert!(
            told(&schema, json!({"n": 5}), None)[0]
                .contains("\"n\" must validate at least one schema (anyOf)")
        );
        assert!(
            told(&schema, json!({"n": 30}), None)[1]
                .contains("must validate all the schemas (allOf). None validated")
        );
    }

    #[test]
    fn what_stays_as_it_was_is_not_checked_again() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}}}});
        let old = json!({"a": "long", "b": "x", "list": [{"k": "x", "v": 9}]});
        let mut new = old.clone();
        new["b"] = "y".into();
        new["list"] = json!([{"k": "new", "v": 0}, {"k": "x", "v": 9}]);
        assert_eq!(told(&schema, new.clone(), Some(old.clone())), [""; 0]);
        new["a"] = "other".into();
        new["list"][0]["v"] = 2.into();
        assert_eq!(told(&schema, new, Some(old)).len(), 2);
    }

    #[test]
    fn elements_of_long_lists_are_known_by_their_keys_wherever_they_stand() {
        let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
            "items": {"type": "object", "properties": {"k": {"type": "integer"}, "p": {"type": "string", "default": "TCP"},
                "v": {"type": "integer", "maximum": 1}}}});
        let element = |k: usize, v: usize| json!({"k": k, "v": v});
        // What was is beyond the limit of today.
        let old: Vec<Value> = (0..20_000).map(|k| element(k, 9)).collect();
        let mut new: Vec<Value> = old.iter().rev().cloned().collect();
        assert_eq!(told(&schema, json!(new), Some(json!(old))), [""; 0]);
        new[5] = json!({"k": 19_994, "v": 8});
        new[6] = json!({"k": 19_993, "p": "UDP", "v": 9});
        new[7] = element(20_000, 9);
        let beyond = |at: usize, v: usize| {
            format!(
                "FieldValueInvalid [{at}].v: Invalid value: {v}: [{at}].v in body should be less than or equal to 1"
            )
        };
        assert_eq!(told(&schema, json!(new), Some(json!(old))), [beyond(5, 8), beyond(6, 9), beyond(7, 9)]);
        // Of elements that stand twice since before that was forbidden, the first counts, and a key that is not told has its default.
        let old = json!([element(1, 9), element(1, 8), {"k": 2, "p": "TCP", "v": 7}]);
        let same = json!([element(3, 1), element(2, 7), element(1, 9)]);
        assert_eq!(told(&schema, same, Some(old.clone())), [""; 0]);
        assert_eq!(told(&schema, json!([element(3, 1), element(1, 8)]), Some(old)), [beyond(1, 8)]);
    }

    #[test]
    fn checking_ends() {
        let mut schema = json!({"not": {"minProperties": 0}});
        for _ in 0..11 {
            schema = json!({"anyOf": [schema.clone(), schema], "not": {"minProperties": 0}});
        }
        schema["type"] = "object".into();
        let list = json!({"type": "object", "properties": {"l": {"type": "array", "items": schema}}});
        let value = json!({"l": vec![json!({}); 2000]});
        assert!(told(&list, value, None)[0].contains("takes too many steps"));
        // So does looking at what was: each of these elements was one with a long list in it.
        let keyed = |of: Value| {
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "integer"}, "l": of}}})
        };
        let long: Vec<Value> = (0..10_000).map(|k| json!({ "k": k })).collect();
        let (old, new) = (json!([{"k": 1, "l": long}]), json!(vec![json!({"k": 1, "l": [{"k": 2}]}); 1000]));
        let said = told(&keyed(keyed(json!({"type": "string"}))), new, Some(old));
        assert!(said[0].contains("takes too many steps"));
    }
}
