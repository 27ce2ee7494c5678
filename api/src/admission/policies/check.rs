//! Whether the expressions of a policy are any, and what is said of them is what they are.

use std::collections::HashSet;

use serde_json::Value;

use super::super::{conditions, shown::Names};
use crate::{
    cel::{Kind, Program, Variable},
    resource::{
        field::Errors,
        fields::{items, text},
        names::check_qualified,
    },
};

/// As in Kubernetes: annotations for the audit, and bytes of the expression of one.
const ANNOTATIONS: usize = 20;
const ANNOTATION: usize = 5 << 10;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
/// Words of the language, which nothing can be named.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Checks the expressions of a policy, and what belongs to each. That those are there which must be is checked by the schema.
pub(crate) fn check(policy: &Value, errors: &mut Errors) {
    let spec = &policy["spec"];
    let names = Names { params: spec["paramKind"].is_object(), authorizer: true };
    conditions::check(spec, "spec", names.params, errors);
    let variables = variables(spec, names, errors);
    for (at, validation) in items(spec, "validations") {
        self::validation(validation, &format!("spec.validations[{at}]"), names, &variables, errors);
    }
    let count = items(spec, "auditAnnotations").count();
    if count > ANNOTATIONS {
        let detail = format!("must not have more than {ANNOTATIONS} auditAnnotations");
        errors.invalid("spec.auditAnnotations", &Value::from(count), &detail);
        return;
    }
    let (name, mut keys) = (text(&policy["metadata"], "name"), HashSet::new());
    for (at, annotation) in items(spec, "auditAnnotations") {
        let field = |key: &str| format!("spec.auditAnnotations[{at}].{key}");
        let (key, expression) = (text(annotation, "key"), text(annotation, "valueExpression"));
        if name.is_empty() {
            errors.invalid_text(&field("key"), key, "requires metadata.name be non-empty");
        } else if !key.is_empty() {
            let whole = format!("{name}/{key}");
            for wrong in check_qualified(&whole) {
                errors.invalid_text(&field("key"), &whole, &wrong);
            }
        }
        if expression.len() > ANNOTATION {
            let detail = format!("must not exceed {ANNOTATION} bytes in length");
            errors.required(&field("valueExpression"), &detail);
        } else {
            let field = field("valueExpression");
            expression_of(expression, &field, names, &variables, &[Kind::Text, Kind::Null], errors);
        }
        if !key.is_empty() && !keys.insert(key) {
            errors.duplicate(&field("key"), &key.into());
        }
    }
}

fn variables(spec: &Value, names: Names, errors: &mut Errors) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for (at, told) in items(spec, "variables") {
        let field = |key: &str| format!("spec.variables[{at}].{key}");
        let name = text(told, "name");
        if !name.is_empty() && !is_identifier(name) {
            errors.invalid_text(&field("name"), name, "name is not a valid CEL identifier");
        }
        let program =
            expression_of(text(told, "expression"), &field("expression"), names, &variables, &[], errors);
        // One that is none is told once, and not at each expression that looks at it.
        variables.push(Variable { name: name.to_owned(), program: program.ok_or_else(String::new) });
    }
    variables
}

fn is_identifier(name: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !RESERVED.contains(&name)
}

fn validation(told: &Value, path: &str, names: Names, variables: &[Variable], errors: &mut Errors) {
    let field = |key: &str| format!("{path}.{key}");
    expression_of(text(told, "expression"), &field("expression"), names, variables, &[Kind::Bool], errors);
    let (made, message) = (text(told, "messageExpression"), text(told, "message"));
    if !made.is_empty() && made.trim().is_empty() {
        errors.invalid_text(&field("messageExpression"), made, "must be non-empty if specified");
    } else if !made.is_empty() {
        let silent = Names { authorizer: false, ..names };
        expression_of(made, &field("messageExpression"), silent, variables, &[Kind::Text], errors);
    }
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid_text(&field("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid_text(&field("message"), message, "message must not contain line breaks");
    }
    errors.one_of(&field("reason"), &told["reason"], &REASONS);
}

/// Checks an expression whose value must be of one of some kinds, if any is told.
fn expression_of(
    expression: &str,
    field: &str,
    names: Names,
    variables: &[Variable],
    kinds: &[Kind],
    errors: &mut Errors,
) -> Option<Program> {
    if expression.trim().is_empty() {
        // Nothing at all is told by the schema.
        if !expression.is_empty() {
            let what = field.rsplit_once('.').map_or(field, |(_, what)| what);
            errors.required(field, &format!("{what} is not specified"));
        }
        return None;
    }
    let program = names.compile(expression, variables);
    match &program {
        Err(why) => errors.invalid_text(field, expression, &format!("compilation failed: {why}")),
        Ok(program) if !kinds.is_empty() && program.kind != Kind::Any && !kinds.contains(&program.kind) => {
            let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            let wanted = match wanted.as_slice() {
                [one] => (*one).to_owned(),
                many => format!("one of [{}]", many.join(" ")),
            };
            let why = format!("must evaluate to {wanted} but got {}", program.kind.name());
            errors.invalid_text(field, expression, &why);
        }
        Ok(_) => {}
    }
    program.ok()
}
