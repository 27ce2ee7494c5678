//! The rules of a schema in CEL (`x-kubernetes-validations`), in Kubernetes' words. Each has a budget, and so have all of an object.

use serde_json::Value;

use super::{
    jsonpath::JsonPath,
    schema::{Additional, Schema},
};
use crate::{
    cel::{CompileError, Program, Val},
    resource::{
        field::Errors,
        fields::{items, text},
    },
};

/// What one rule may cost, and what all rules of an object may.
const ONE: u64 = 1_000_000;
const ALL: u64 = 10_000_000;
/// Kubernetes' words for a budget that is spent.
pub(crate) const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
/// Bytes of a message that an expression makes.
const MESSAGE: usize = 5 << 10;
const REASONS: [&str; 4] =
    ["FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden", "FieldValueDuplicate"];

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    text: String,
    program: Program,
    message: String,
    expression: Option<Program>,
    reason: String,
    /// The field that is told, below the value that the rule is of.
    field: Vec<String>,
    /// Whether the rule is also run where there was nothing before.
    optional_old: bool,
}

impl Rule {
    /// Reads a rule that was checked; none if it is not one that can be run here.
    pub(super) fn read(told: &Value) -> Option<Rule> {
        let rule = text(told, "rule").trim();
        let field = JsonPath::parse(text(told, "fieldPath")).ok();
        let field = field.as_ref().and_then(JsonPath::names).unwrap_or_default();
        Some(Rule {
            text: rule.to_owned(),
            program: Program::compile(rule).ok()?,
            message: text(told, "message").trim().to_owned(),
            expression: Program::compile(text(told, "messageExpression")).ok(),
            reason: text(told, "reason").to_owned(),
            field: field.into_iter().map(str::to_owned).collect(),
            optional_old: told["optionalOldSelf"] == true,
        })
    }

    fn message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.text) } else { self.message.clone() }
    }
}

/// Checks the rules of a schema that stands at a path.
pub(super) fn check(schema: &Value, path: &str, errors: &mut Errors) {
    for (at, rule) in items(schema, "x-kubernetes-validations") {
        let field = |name: &str| format!("{path}.x-kubernetes-validations[{at}].{name}");
        let (said, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if said.is_empty() {
            errors.required(&field("rule"), "rule is not specified");
        } else if let Err(CompileError::Wrong(why)) = Program::compile(said) {
            errors.invalid_text(&field("rule"), said, &format!("compilation failed: ERROR: <input>: {why}"));
        }
        if rule.get("message").is_some() && message.trim().is_empty() {
            errors.invalid_text(&field("message"), message, "message must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            errors.invalid_text(&field("message"), message, "message must not contain line breaks");
        } else if said.contains(['\n', '\r']) && message.is_empty() {
            errors.required(&field("message"), "message must be specified if rule contains line breaks");
        }
        if let Some(expression) = rule["messageExpression"].as_str()
            && let Err(CompileError::Wrong(why)) = Program::compile(expression)
        {
            let why = format!("messageExpression compilation failed: ERROR: <input>: {why}");
            errors.invalid_text(&field("messageExpression"), expression, &why);
        }
        errors.one_of(&field("reason"), &rule["reason"], &REASONS);
        if let Some(told) = rule["fieldPath"].as_str() {
            let names = JsonPath::parse(told).ok().and_then(|path| path.names().map(|names| names.len()));
            if names.is_none() {
                errors.invalid_text(&field("fieldPath"), told, "fieldPath must be a valid path");
            }
        }
    }
}

/// What of the rules of a schema is kept and not evaluated, in words.
pub(crate) fn unsupported(schema: &Value) -> Vec<String> {
    let mut out = Vec::new();
    collect(schema, &mut out);
    out
}

fn collect(schema: &Value, out: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (_, rule) in items(schema, "x-kubernetes-validations") {
                let said = text(rule, "rule").trim();
                if let Err(CompileError::Unsupported(why)) = Program::compile(said) {
                    let said: String = said.chars().take(80).collect();
                    out.push(format!("the rule {said:?} is kept, but not evaluated: {why}"));
                }
            }
            let below = map.iter().filter(|(key, _)| !matches!(key.as_str(), "default" | "enum" | "example"));
            below.for_each(|(_, value)| collect(value, out));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, out)),
        _ => {}
    }
}

/// Whether there is any rule at or below a schema.
pub(super) fn any(schema: &Schema) -> bool {
    let additional = match &schema.additional {
        Additional::Schema(below) => Some(&**below),
        _ => None,
    };
    let below = schema.properties.values().chain(additional).chain(schema.items.as_deref());
    !schema.rules.is_empty() || below.into_iter().any(any)
}

/// Runs the rules of an object that fits its schema. `old` is what it was before. What stays as it was is not checked again.
pub(super) fn enforce(schema: &Schema, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut walk = Walk { left: ALL, errors };
    walk.value(schema, "", object, old);
}

struct Walk<'e> {
    left: u64,
    errors: &'e mut Errors,
}

impl Walk<'_> {
    fn value(&mut self, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) {
        if value.is_null() || old == Some(value) || self.left == 0 {
            return;
        }
        for rule in &schema.rules {
            if self.left == 0 {
                return;
            }
            self.rule(rule, schema, path, value, old);
        }
        match value {
            Value::Array(list) => {
                let Some(of) = schema.items.as_deref() else { return };
                let partners = schema.partners(old);
                for (at, item) in list.iter().enumerate() {
                    self.value(of, &format!("{path}[{at}]"), item, partners.of(item));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let (of, place) = match (schema.properties.get(key), &schema.additional) {
                        (Some(of), _) if path.is_empty() => (of, key.clone()),
                        (Some(of), _) => (of, format!("{path}.{key}")),
                        (None, Additional::Schema(of)) => (&**of, format!("{path}[{key}]")),
                        _ => continue,
                    };
                    self.value(of, &place, value, old.and_then(|old| old.get(key)));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, rule: &Rule, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) {
        let this = || Val::of(value, Some(schema));
        let before = old.filter(|old| !old.is_null()).map(|old| Val::of(old, Some(schema)));
        let before = match before {
            None if rule.program.old && !rule.optional_old => return,
            before if rule.optional_old => Some(Val::Optional(before.map(std::rc::Rc::new))),
            before => before,
        };
        let mut budget = ONE.min(self.left);
        let given = budget;
        let out = rule.program.run(this(), before.clone(), &mut budget);
        self.left -= given - budget;
        let told = match out {
            Ok(Val::Bool(true)) if self.left > 0 => return,
            // Those after it are not run: nobody may get past them by spending exactly all.
            Ok(Val::Bool(true)) => SPENT.into(),
            Ok(Val::Bool(false)) => {
                let given = ONE.min(self.left);
                let mut budget = given;
                let made = rule.expression.as_ref().map(|made| made.run(this(), before, &mut budget));
                self.left -= given - budget;
                match made {
                    Some(Ok(Val::Text(made))) if fit_for_a_message(&made) => made.trim().to_owned(),
                    _ => rule.message(),
                }
            }
            Ok(_) => format!("the result is no truth value evaluating rule: {}", rule.message()),
            Err(_) if self.left == 0 => SPENT.into(),
            Err(why) => format!("{why} evaluating rule: {}", rule.message()),
        };
        let of = schema.of.map_or("", |of| of.name());
        let mut place = path.to_owned();
        for name in &rule.field {
            place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        }
        let place = if place.is_empty() { super::validate::NOWHERE } else { &place };
        match rule.reason.as_str() {
            "FieldValueRequired" => self.errors.required(place, &told),
            "FieldValueForbidden" => self.errors.forbidden(place, &told),
            "FieldValueDuplicate" => self.errors.duplicate(place, &of.into()),
            _ => self.errors.invalid_text(place, of, &told),
        }
    }
}

fn fit_for_a_message(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MESSAGE && !text.trim().contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, value: Value, old: Option<Value>) -> Vec<String> {
        let mut errors = Errors::default();
        enforce(&Schema::read(schema), &value, old.as_ref(), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{} {}: {}", c.reason, c.field, c.message)).collect()
    }

    #[test]
    fn rules_are_told_as_kubernetes_tells_them() {
        let rules = |rules: Value| {
            json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": rules,
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}}}}})
        };
        let of = |rule: Value| told(&rules(json!([rule])), json!({"spec": {"min": 3, "max": 1}}), None);
        let wrong = "self.min <= self.max";
        assert_eq!(of(json!({"rule": "self.max < self.min"})), [""; 0]);
        for (rule, said) in [
            (
                json!({"rule": wrong}),
                "FieldValueInvalid spec: Invalid value: \"object\": failed rule: self.min <= self.max",
            ),
            (
                json!({"rule": wrong, "message": "min first"}),
                "FieldValueInvalid spec: Invalid value: \"object\": min first",
            ),
            (
                json!({"rule": wrong, "message": "no", "messageExpression": "'min is ' + string(self.min)"}),
                "FieldValueInvalid spec: Invalid value: \"object\": min is 3",
            ),
            (
                json!({"rule": wrong, "message": "fallback", "messageExpression": "self.gone"}),
                "FieldValueInvalid spec: Invalid value: \"object\": fallback",
            ),
            (
                json!({"rule": wrong, "message": "m", "fieldPath": ".min"}),
                "FieldValueInvalid spec.min: Invalid value: \"object\": m",
            ),
            (
                json!({"rule": wrong, "message": "m", "reason": "FieldValueForbidden"}),
                "FieldValueForbidden spec: Forbidden: m",
            ),
            (
                json!({"rule": wrong, "message": "m", "reason": "FieldValueRequired", "fieldPath": ".name"}),
                "FieldValueRequired spec.name: Required value: m",
            ),
            (
                json!({"rule": "self.name == ''", "message": "m"}),
                "FieldValueInvalid spec: Invalid value: \"object\": no such key: name evaluating rule: m",
            ),
        ] {
            assert_eq!(of(rule.clone()), [said], "{rule}");
        }
        let root = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'", "message": "m"}]});
        assert_eq!(
            told(&root, json!({"metadata": {"name": "b"}}), None),
            ["FieldValueInvalid <nil>: Invalid value: \"object\": m"]
        );
    }

    #[test]
    fn rules_of_transitions_look_at_what_was() {
        let immutable = json!([{"rule": "self == oldSelf", "message": "immutable"}]);
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-validations": immutable},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
                "properties": {"k": {"type": "string"}, "v": {"type": "integer", "x-kubernetes-validations": immutable}}}},
            "plain": {"type": "array", "items": {"type": "object", "properties": {"v": {"type": "integer", "x-kubernetes-validations": immutable}}}},
            "once": {"type": "string", "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true, "message": "first"}]},
        }});
        let old = json!({"a": "x", "list": [{"k": "p", "v": 1}], "plain": [{"v": 1}]});
        assert_eq!(told(&schema, old.clone(), None), [""; 0], "nothing was before");
        let new = json!({"a": "y", "list": [{"k": "new", "v": 5}, {"k": "p", "v": 2}], "plain": [{"v": 2}], "once": "second"});
        let mut said = told(&schema, new, Some(old));
        said.sort();
        assert_eq!(
            said,
            [
                "FieldValueInvalid a: Invalid value: \"string\": immutable",
                "FieldValueInvalid list[1].v: Invalid value: \"integer\": immutable",
                "FieldValueInvalid once: Invalid value: \"string\": first"
            ]
        );
    }

    #[test]
    fn what_an_element_was_is_told_by_its_keys_in_long_lists() {
        let schema = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "properties": {"k": {"type": "integer"}, "v": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self > oldSelf", "message": "only more"}]}}}});
        let element = |k: usize, v: usize| json!({"k": k, "v": v});
        let old: Vec<Value> = (0..20_000).map(|k| element(k, k)).collect();
        // In the other order, with one that is new and one that shrinks.
        let mut new: Vec<Value> = (0..20_001).rev().map(|k| element(k, k + 1)).collect();
        assert_eq!(told(&schema, json!(new), Some(json!(old))), [""; 0]);
        new[5] = element(19_995, 19_994);
        let said = "FieldValueInvalid [5].v: Invalid value: \"integer\": only more";
        assert_eq!(told(&schema, json!(new), Some(json!(old))), [said]);
        // Of elements that stood twice, the first counts.
        let twice = json!([element(1, 5), element(1, 9)]);
        assert_eq!(told(&schema, json!([element(0, 0), element(1, 7)]), Some(twice.clone())), [""; 0]);
        assert_eq!(told(&schema, json!([element(0, 0), element(1, 4)]), Some(twice)).len(), 1);
    }

    #[test]
    fn messages_cost_too() {
        let endless = "self.all(a, self.all(b, self.all(c, a + b + c >= 0))) ? 'a' : 'b'";
        let rule = json!({"rule": "self == []", "message": "m", "messageExpression": endless});
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"},
            "x-kubernetes-validations": vec![rule; 40]}}});
        let said = told(&schema, json!({"l": (0..1000).collect::<Vec<_>>()}), None);
        assert!((10..20).contains(&said.len()), "{said:?}");
    }

    #[test]
    fn rules_end() {
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"},
            "x-kubernetes-validations": vec![json!({"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", "message": "m"}); 20]}}});
        let said = told(&schema, json!({"l": (0..1000).collect::<Vec<_>>()}), None);
        assert!(said[0].contains("actual cost limit exceeded evaluating rule: m"), "{said:?}");
        assert!(
            said.len() == 10 && said.last().is_some_and(|said| said.contains("running out of cost budget")),
            "{said:?}"
        );
    }

    #[test]
    fn what_cannot_be_run_here_is_said() {
        let schema = |rule: &str| json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]});
        assert_eq!(unsupported(&schema("self.x > 1")), [""; 0]);
        let said = unsupported(&json!({"properties": {"a": schema("url(self.u).getHost() == 'x'")}}));
        assert_eq!(
            said,
            [
                "the rule \"url(self.u).getHost() == 'x'\" is kept, but not evaluated: the function \"getHost\" is not supported here yet"
            ]
        );
        let mut errors = Errors::default();
        check(&schema("self.x >"), "s", &mut errors);
        check(&schema("url(self.u).getHost() == 'x'"), "s", &mut errors);
        let causes = errors.into_causes();
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].field, "s.x-kubernetes-validations[0].rule");
    }
}
