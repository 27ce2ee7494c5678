//! Conditions of a webhook in CEL: it is asked only where all of them hold.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    cel::{CompileError, Program, Val},
    resource::{
        field::Errors,
        fields::{items, text},
        names::check_qualified,
    },
};

/// How many a webhook may have; what one of them may cost, and what all: as in Kubernetes.
const COUNT: usize = 64;
const ONE: u64 = 1_000_000;
const ALL: u64 = 2_500_000;
const VARIABLES: [&str; 3] = ["object", "oldObject", "request"];

/// The conditions of a webhook.
#[derive(Debug)]
pub(super) struct Conditions(Vec<Result<Program, String>>);

/// What came of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// Some could not be evaluated, and none is false.
    Unknown(String),
}

fn compile(expression: &str) -> Result<Program, String> {
    Program::compile_with(expression, &VARIABLES).map_err(|error| match error {
        CompileError::Wrong(why) if expression.contains("authorizer") => {
            format!("ERROR: <input>: {why}: the variable authorizer is not supported here yet")
        }
        CompileError::Wrong(why) | CompileError::Unsupported(why) => format!("ERROR: <input>: {why}"),
    })
}

/// Checks the conditions of a webhook that stands at a path.
pub(crate) fn check(webhook: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.matchConditions");
    let count = items(webhook, "matchConditions").count();
    if count > COUNT {
        errors.too_many(&path, count, COUNT);
        return;
    }
    let mut names = HashSet::new();
    for (at, condition) in items(webhook, "matchConditions") {
        let (name, expression) = (text(condition, "name"), text(condition, "expression"));
        let field = |key: &str| format!("{path}[{at}].{key}");
        // That both are there is checked by the schema.
        if !expression.is_empty()
            && let Err(why) = compile(expression)
        {
            errors.invalid_text(&field("expression"), expression, &format!("compilation failed: {why}"));
        }
        if name.is_empty() {
            continue;
        }
        for wrong in check_qualified(name) {
            errors.invalid_text(&field("name"), name, &wrong);
        }
        if !names.insert(name) {
            errors.duplicate(&field("name"), &name.into());
        }
    }
}

impl Conditions {
    /// Those of a webhook. One that cannot be read counts as one that fails when it is evaluated.
    pub(super) fn read(webhook: &Value) -> Conditions {
        let conditions = items(webhook, "matchConditions").take(COUNT);
        Conditions(conditions.map(|(_, condition)| compile(text(condition, "expression"))).collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluates them. One that is false decides, whatever went wrong with others.
    pub(super) fn hold(&self, object: &Value, old: &Value, request: &Value) -> Held {
        let (mut left, mut wrong) = (ALL, Vec::new());
        for condition in &self.0 {
            let out = match condition {
                Ok(program) => {
                    let variables = VARIABLES.into_iter().zip([object, old, request]);
                    let variables = variables.map(|(name, value)| (name, Val::of(value, None))).collect();
                    let given = ONE.min(left);
                    let mut budget = given;
                    let out = program.run_with(variables, &mut budget);
                    left -= given - budget;
                    out
                }
                Err(why) => Err(why.clone()),
            };
            match out {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Held::No,
                Ok(_) => wrong.push("must evaluate to bool".to_owned()),
                Err(why) => wrong.push(why),
            }
        }
        match wrong.as_slice() {
            [] => Held::Yes,
            [one] => Held::Unknown(one.clone()),
            many => Held::Unknown(format!("[{}]", many.join(", "))),
        }
    }
}
