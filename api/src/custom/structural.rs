//! Checks that the schema of a definition is structural, in Kubernetes' words: of each field it is told, outside of all alternatives, what
//! type it is of, so that objects can be pruned, completed and merged by it.

use serde_json::{Value, json};

use super::{
    default::default,
    pattern::{Patterns, Refused},
    prune::prune,
    rules,
    schema::{ListKind, Schema, Type},
    validate::validate,
};
use crate::resource::{
    field::Errors,
    fields::{items, text},
};

/// Schemas within a schema of one version.
const NODES: usize = 50_000;
/// How deep they may be in each other.
const DEPTH: usize = 64;

/// Words that Kubernetes does not take either.
const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
/// What says something of a value's shape: not for alternatives.
const GENERIC: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks the schema of a version, which stands at a path. The patterns are those of the whole definition.
pub(crate) fn check(schema: &Value, path: &str, patterns: &mut Patterns, errors: &mut Errors) {
    let mut walk = Walk { errors, patterns, nodes: 0 };
    walk.schema(schema, path, Level::Root, DEPTH);
    if walk.nodes > NODES {
        errors.forbidden(path, &format!("holds more than {NODES} schemas"));
    }
    if errors.is_empty() {
        let read = Schema::read_with(schema, patterns);
        defaults(schema, &read, path, errors);
    }
}

struct Walk<'a> {
    errors: &'a mut Errors,
    patterns: &'a mut Patterns,
    nodes: usize,
}

fn is_set(schema: &Value, word: &str) -> bool {
    match schema.get(word) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

impl Walk<'_> {
    /// Whether there is room for one more, so deep.
    fn enter(&mut self, path: &str, depth: usize) -> bool {
        self.nodes += 1;
        if depth == 0 {
            self.errors.forbidden(path, &format!("is deeper than {DEPTH} schemas in each other"));
        }
        depth > 0 && self.nodes <= NODES
    }

    fn schema(&mut self, schema: &Value, path: &str, level: Level, depth: usize) {
        if !self.enter(path, depth) {
            return;
        }
        self.words(schema, path);
        self.shape(schema, path, level);
        self.lists(schema, path);
        rules::check(schema, path, self.errors);
        self.values(schema, schema, path, depth, int_or_string(schema));
        if let Some(of) = schema.get("items").filter(|of| of.is_object()) {
            self.schema(of, &format!("{path}.items"), Level::Item, depth - 1);
        }
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            let below = format!("{path}.properties[{name}]");
            if name == "metadata" && level == Level::Root {
                self.metadata(of, &below);
            } else {
                self.schema(of, &below, Level::Field, depth - 1);
            }
        }
        if let Some(of) = schema.get("additionalProperties").filter(|of| of.is_object()) {
            self.schema(of, &format!("{path}.additionalProperties"), Level::Field, depth - 1);
        }
    }

    /// What concerns each word by itself.
    fn words(&mut self, schema: &Value, path: &str) {
        for word in UNSUPPORTED.iter().filter(|word| is_set(schema, word)) {
            self.errors.forbidden(&format!("{path}.{word}"), &format!("{word} is not supported"));
        }
        if is_set(schema, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors.forbidden(&format!("{path}.uniqueItems"), why);
        }
        match text(schema, "type") {
            "" => {}
            "null" => {
                let why = "type cannot be set to null, use nullable as an alternative";
                self.errors.forbidden(&format!("{path}.type"), why);
            }
            name if Type::named(name).is_none() => {
                let names = Type::NAMES.map(|(name, _)| name);
                self.errors.not_supported(&format!("{path}.type"), name, &names);
            }
            _ => {}
        }
        if schema["items"].is_array() {
            self.errors.forbidden(&format!("{path}.items"), "items must be a schema object and not an array");
        }
        let additional = &schema["additionalProperties"];
        if is_set(schema, "properties") && !additional.is_null() && *additional != true {
            let why = "additionalProperties and properties are mutual exclusive";
            self.errors.forbidden(&format!("{path}.additionalProperties"), why);
        } else if *additional == false {
            let why = "additionalProperties cannot be set to false";
            self.errors.forbidden(&format!("{path}.additionalProperties"), why);
        }
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(false)) {
            let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
            self.errors.invalid(&field, &json!(false), "must be true or undefined");
        }
    }

    /// What the type of a value must be.
    fn shape(&mut self, schema: &Value, path: &str, level: Level) {
        let of = text(schema, "type");
        let field = |name: &str| format!("{path}.{name}");
        if of == "array" && !schema["items"].is_object() {
            self.errors.required(&field("items"), "must be specified");
        }
        if level == Level::Root {
            if is_set(schema, "additionalProperties") {
                self.errors.forbidden(&field("additionalProperties"), "must not be used at the root");
            }
            if is_set(schema, "nullable") {
                self.errors.forbidden(&field("nullable"), "nullable cannot be true at the root");
            }
            if !of.is_empty() && of != "object" {
                self.errors.invalid_text(&field("type"), of, "must be object at the root");
            }
        }
        let (free, either) = (
            is_set(schema, "x-kubernetes-preserve-unknown-fields"),
            is_set(schema, "x-kubernetes-int-or-string"),
        );
        let embedded = is_set(schema, "x-kubernetes-embedded-resource");
        if either && free {
            let why = "must be false if x-kubernetes-int-or-string is true";
            self.errors.invalid(&field("x-kubernetes-preserve-unknown-fields"), &json!(true), why);
        }
        if either && embedded {
            let why = "must be false if x-kubernetes-int-or-string is true";
            self.errors.invalid(&field("x-kubernetes-embedded-resource"), &json!(true), why);
        }
        if embedded && of != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            match of {
                "" => self.errors.required(&field("type"), why),
                of => self.errors.invalid_text(&field("type"), of, why),
            }
        } else if of.is_empty() && !either && !free {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.errors.required(&field("type"), why);
        }
        if embedded {
            if is_set(schema, "additionalProperties") {
                let why = "must not be used if x-kubernetes-embedded-resource is set";
                self.errors.forbidden(&field("additionalProperties"), why);
            }
            if !free && !is_set(schema, "properties") {
                let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                           x-kubernetes-preserve-unknown-fields";
                self.errors.required(&field("properties"), why);
            }
        }
        if level == Level::Root || embedded {
            for name in ["apiVersion", "kind"] {
                let of = text(&schema["properties"][name], "type");
                if schema["properties"].get(name).is_some() && of != "string" {
                    self.errors.invalid_text(
                        &format!("{path}.properties[{name}].type"),
                        of,
                        "must be string",
                    );
                }
            }
        }
    }

    /// The metadata of the resource itself: it is known, but for how objects may be named.
    fn metadata(&mut self, schema: &Value, path: &str) {
        if text(schema, "type") != "object" {
            self.errors.invalid_text(&format!("{path}.type"), text(schema, "type"), "must be object");
        }
        let words = schema.as_object().into_iter().flatten();
        let mut others = words
            .filter(|(word, _)| !matches!(word.as_str(), "type" | "properties" | "description" | "default"));
        let properties = schema["properties"].as_object().into_iter().flatten();
        let mut fields = properties.filter(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
        if others.next().is_some() || fields.next().is_some() {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.errors.forbidden(path, why);
        }
    }

    /// How server-side apply treats lists and maps.
    fn lists(&mut self, schema: &Value, path: &str) {
        let of = text(schema, "type");
        let field = |name: &str| format!("{path}.{name}");
        let map_type = text(schema, "x-kubernetes-map-type");
        if !map_type.is_empty() {
            let why = "must be object if x-kubernetes-map-type is specified";
            match of {
                "object" => {}
                "" => self.errors.required(&field("type"), why),
                of => self.errors.invalid_text(&field("type"), of, why),
            }
            self.errors.one_of(&field("x-kubernetes-map-type"), &map_type.into(), &["atomic", "granular"]);
        }
        let list_type = text(schema, "x-kubernetes-list-type");
        let keys: Vec<&str> =
            items(schema, "x-kubernetes-list-map-keys").filter_map(|(_, key)| key.as_str()).collect();
        if !list_type.is_empty() {
            let why = "must be array if x-kubernetes-list-type is specified";
            match of {
                "array" => {}
                "" => self.errors.required(&field("type"), why),
                of => self.errors.invalid_text(&field("type"), of, why),
            }
            let known = ["atomic", "set", "map"];
            self.errors.one_of(&field("x-kubernetes-list-type"), &list_type.into(), &known);
        }
        if !keys.is_empty() && list_type != "map" {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            self.errors.required(&field("x-kubernetes-list-type"), why);
        }
        let of = &schema["items"];
        if matches!(list_type, "set" | "map") && is_set(of, "nullable") {
            let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.errors.forbidden(&format!("{path}.items.nullable"), &why);
        }
        match list_type {
            "set" => {
                let is = text(of, "type");
                if is == "array"
                    && text(of, "x-kubernetes-list-type") != "atomic"
                    && is_set(of, "x-kubernetes-list-type")
                {
                    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                    let told = text(of, "x-kubernetes-list-type");
                    self.errors.invalid_text(&format!("{path}.items.x-kubernetes-list-type"), told, why);
                }
                if is == "object" && text(of, "x-kubernetes-map-type") != "atomic" {
                    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                    let told = text(of, "x-kubernetes-map-type");
                    self.errors.invalid_text(&format!("{path}.items.x-kubernetes-map-type"), told, why);
                }
            }
            "map" => self.keys(of, &keys, path),
            _ => {}
        }
    }

    /// The keys that tell the elements of a list apart: each is declared, plain, and always there.
    fn keys(&mut self, of: &Value, keys: &[&str], path: &str) {
        let told = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.errors.required(&told, "must not be empty if x-kubernetes-list-type is map");
        }
        if text(of, "type") != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.errors.invalid_text(&format!("{path}.items.type"), text(of, "type"), why);
        }
        for (at, key) in keys.iter().enumerate() {
            let Some(property) = of["properties"].get(key) else {
                self.errors.invalid(&told, &json!(keys), "entries must all be names of item properties");
                continue;
            };
            if keys[..at].contains(key) {
                self.errors.invalid(&told, &json!(keys), "must not contain duplicate entries");
            }
            let at = format!("{path}.items.properties[{key}]");
            if matches!(text(property, "type"), "object" | "array") {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.errors.invalid_text(&format!("{at}.type"), text(property, "type"), why);
            }
            let required = items(of, "required").any(|(_, name)| name == key);
            if !required && property.get("default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.errors.required(&format!("{at}.default"), why);
            }
            if is_set(property, "nullable") {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.errors.forbidden(&format!("{at}.nullable"), why);
            }
        }
    }

    /// What a schema says of values: of itself, and in alternatives. `around` is the schema that says of which shape they are.
    fn values(&mut self, schema: &Value, around: &Value, path: &str, depth: usize, either: bool) {
        let pattern = schema["pattern"].as_str().map(|text| self.patterns.get(text));
        match pattern {
            Some(Err(Refused::Wrong(why))) => {
                let why = format!("must be a valid regular expression, but isn't: {why}");
                self.errors.invalid_text(&format!("{path}.pattern"), text(schema, "pattern"), &why);
            }
            Some(Err(Refused::TooMuch)) => {
                let why = "the patterns of this definition take too much memory together";
                self.errors.forbidden(&format!("{path}.pattern"), why);
            }
            Some(Ok(_)) | None => {}
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            for (at, nested) in items(schema, word) {
                // The one way to say integer or string where only clients read it.
                let allowed = either && (word == "anyOf" || (word == "allOf" && at == 0));
                self.nested(nested, around, &format!("{path}.{word}[{at}]"), path, depth - 1, allowed);
            }
        }
        if let Some(nested) = schema.get("not").filter(|nested| nested.is_object()) {
            self.nested(nested, around, &format!("{path}.not"), path, depth - 1, false);
        }
    }

    fn nested(
        &mut self,
        schema: &Value,
        around: &Value,
        path: &str,
        outside: &str,
        depth: usize,
        either: bool,
    ) {
        if !self.enter(path, depth) {
            return;
        }
        for (word, why) in GENERIC.iter().filter(|(word, _)| is_set(schema, word)) {
            if !(either && *word == "type") {
                self.errors.forbidden(&format!("{path}.{word}"), why);
            }
        }
        self.values(schema, around, path, depth, either);
        if let Some(below) = schema.get("items").filter(|below| below.is_object()) {
            let at = format!("{path}.items");
            match around.get("items").filter(|around| around.is_object()) {
                Some(around) => {
                    self.nested(below, around, &at, &format!("{outside}.items"), depth - 1, false)
                }
                None => self
                    .errors
                    .required(&format!("{outside}.items"), &format!("because it is defined in {at}")),
            }
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.properties[{name}]");
            let outer = format!("{outside}.properties[{name}]");
            if name == "metadata" {
                self.errors.forbidden(&at, "must not be specified in a nested context");
                continue;
            }
            match around["properties"].get(name) {
                Some(around) => self.nested(below, around, &at, &outer, depth - 1, false),
                None => self.errors.required(&outer, &format!("because it is defined in {at}")),
            }
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, also as the first of `allOf`, where a value is either.
fn int_or_string(schema: &Value) -> bool {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    is_set(schema, "x-kubernetes-int-or-string")
        && (schema["anyOf"] == either || schema["allOf"][0]["anyOf"] == either)
}

/// Checks that defaults are what their schema allows.
fn defaults(schema: &Value, read: &Schema, path: &str, errors: &mut Errors) {
    if let Some(told) = &read.default {
        let at = format!("{path}.default");
        let mut completed = told.clone();
        default(read, &mut completed);
        let mut kept = completed.clone();
        let gone = if kept.is_object() { prune(read, &mut kept) } else { Vec::new() };
        if !gone.is_empty() {
            errors.invalid(&at, told, &format!("must not have unknown fields: {}", gone.join(", ")));
        }
        let mut wrong = Errors::default();
        validate(read, "", &completed, None, &mut wrong);
        for cause in wrong.into_causes() {
            let why = cause.message.split_once(": ").map_or(cause.message.clone(), |(_, why)| why.to_owned());
            errors.invalid(&at, told, &why);
        }
    }
    for (name, below) in &read.properties {
        defaults(&schema["properties"][name], below, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(below) = &read.items {
        defaults(&schema["items"], below, &format!("{path}.items"), errors);
    }
    if let super::schema::Additional::Schema(below) = &read.additional {
        defaults(&schema["additionalProperties"], below, &format!("{path}.additionalProperties"), errors);
    }
    debug_assert!(!matches!(read.list, ListKind::Map(ref keys) if keys.is_empty()), "checked before");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        of_root(&schema)
    }

    fn of_root(schema: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(schema, "s", &mut Patterns::default(), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn what_is_structural() {
        for fine in [
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"x-kubernetes-preserve-unknown-fields": true}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "x"}]}),
            json!({"type": "object", "properties": {"a": {"type": "string", "default": "x"}}, "default": {},
                "oneOf": [{"required": ["a"]}, {"properties": {"a": {"pattern": "y"}}}]}),
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}}}}),
            json!({"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}),
        ] {
            assert_eq!(told(fine.clone()), [""; 0], "{fine}");
        }
    }

    #[test]
    fn what_is_not_is_told_as_kubernetes_tells_it() {
        for (wrong, said) in [
            (
                json!({}),
                "s.properties[spec].type: Required value: must not be empty for specified object fields",
            ),
            (json!({"type": "array"}), "s.properties[spec].items: Required value: must be specified"),
            (
                json!({"type": "array", "items": {}}),
                "s.properties[spec].items.type: Required value: must not be empty for specified array items",
            ),
            (
                json!({"type": "text"}),
                "s.properties[spec].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
            ),
            (
                json!({"type": "object", "$ref": "#/x"}),
                "s.properties[spec].$ref: Forbidden: $ref is not supported",
            ),
            (
                json!({"type": "object", "oneOf": [{"type": "string"}]}),
                "s.properties[spec].oneOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                json!({"type": "object", "not": {"properties": {"a": {}}}}),
                "s.properties[spec].properties[a]: Required value: because it is defined in s.properties[spec].not.properties[a]",
            ),
            (
                json!({"type": "string", "pattern": "("}),
                "s.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error: unclosed group",
            ),
            (
                json!({"type": "integer", "default": "x"}),
                "s.properties[spec].default: Invalid value: \"x\": \"string\":  in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}}),
                "s.properties[spec].default: Invalid value: {\"b\":1}: must not have unknown fields: b",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
                "s.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}),
                "s.properties[spec].items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
                "s.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                "s.properties[spec].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ),
        ] {
            assert_eq!(told(wrong.clone()), [said], "{wrong}");
        }
        assert_eq!(of_root(&json!({})), ["s.type: Required value: must not be empty at the root"]);
        assert_eq!(
            of_root(&json!({"type": "string"})),
            ["s.type: Invalid value: \"string\": must be object at the root"]
        );
        let metadata = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}});
        assert!(of_root(&metadata)[0].contains("must not specify anything other than name and generateName"));
    }

    #[test]
    fn patterns_are_bounded_together_in_all_versions() {
        let version = |from: usize| {
            let of = |n: usize| json!({"type": "string", "pattern": format!("[^a]{{900}}{n}")});
            let large = (from..from + 40).map(|n| (format!("p{n}"), of(n)));
            let properties: serde_json::Map<String, Value> = large.collect();
            json!({"type": "object", "properties": properties})
        };
        let mut patterns = Patterns::default();
        let mut told = |schema: &Value| -> Vec<String> {
            let mut errors = Errors::default();
            check(schema, "s", &mut patterns, &mut errors);
            errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
        };
        assert_eq!(told(&version(0)), [""; 0]);
        let said = told(&version(100));
        let why = "pattern: Forbidden: the patterns of this definition take too much memory together";
        assert!(!said.is_empty() && said.iter().all(|said| said.ends_with(why)), "{said:?}");
        assert_eq!(told(&version(0)), [""; 0], "equal ones take nothing");
        // What is stored all the same is read without those that are beyond.
        let read = Schema::read_with(&version(100), &mut patterns);
        let kept = |schema: &Schema| schema.checks.as_ref().is_some_and(|checks| checks.pattern.is_some());
        let kept = read.properties.values().filter(|of| kept(of)).count();
        assert!(kept < 40, "{kept}");
    }

    #[test]
    fn there_are_bounds() {
        let mut deep = json!({"type": "object"});
        for _ in 0..100 {
            deep = json!({"type": "object", "properties": {"a": deep}});
        }
        assert!(of_root(&deep)[0].contains("is deeper than 64 schemas"));
        let many: serde_json::Map<String, Value> =
            (0..=NODES).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
        assert_eq!(
            of_root(&json!({"type": "object", "properties": many})),
            ["s: Forbidden: holds more than 50000 schemas"]
        );
    }
}
