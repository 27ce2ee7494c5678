//! Conditions of a webhook or policy in CEL: it has a say only where all of them hold.

use std::collections::HashSet;

use serde_json::Value;

use super::shown::{Names, Shown};
use crate::{
    cel::{Kind, Program, Val},
    resource::{
        field::Errors,
        fields::{items, text},
        names::check_qualified,
    },
};

/// How many there may be; what one of them may cost, and what all: as in Kubernetes.
const COUNT: usize = 64;
pub(super) const ONE: u64 = 1_000_000;
pub(super) const ALL: u64 = 2_500_000;

/// The conditions of a webhook or a policy.
#[derive(Debug)]
pub(super) struct Conditions(Vec<(String, Result<Program, String>)>);

/// What came of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// Some could not be evaluated, and none is false.
    Unknown(String),
}

fn names(params: bool) -> Names {
    Names { params, authorizer: true }
}

/// Checks the conditions of what stands at a path. `params`: whether it has parameters.
pub(crate) fn check(of: &Value, path: &str, params: bool, errors: &mut Errors) {
    let path = format!("{path}.matchConditions");
    let count = items(of, "matchConditions").count();
    if count > COUNT {
        errors.too_many(&path, count, COUNT);
        return;
    }
    let mut known = HashSet::new();
    for (at, condition) in items(of, "matchConditions") {
        let (name, expression) = (text(condition, "name"), text(condition, "expression"));
        let field = |key: &str| format!("{path}[{at}].{key}");
        // That both are there is checked by the schema.
        match names(params).compile(expression, &[]) {
            _ if expression.is_empty() => {}
            Err(why) => {
                errors.invalid_text(&field("expression"), expression, &format!("compilation failed: {why}"));
            }
            Ok(program) if !matches!(program.kind, Kind::Bool | Kind::Any) => {
                let why = format!("must evaluate to bool but got {}", program.kind.name());
                errors.invalid_text(&field("expression"), expression, &why);
            }
            Ok(_) => {}
        }
        if name.is_empty() {
            continue;
        }
        for wrong in check_qualified(name) {
            errors.invalid_text(&field("name"), name, &wrong);
        }
        if !known.insert(name) {
            errors.duplicate(&field("name"), &name.into());
        }
    }
}

impl Conditions {
    /// Those of a webhook or a policy. One that cannot be read counts as one that fails when it is evaluated.
    pub(super) fn read(of: &Value, params: bool) -> Conditions {
        let conditions = items(of, "matchConditions").take(COUNT);
        let expressions = conditions.map(|(_, condition)| text(condition, "expression").trim().to_owned());
        let compiled = expressions.map(|expression| {
            let program = names(params).compile(&expression, &[]);
            (expression, program)
        });
        Conditions(compiled.collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one asks who may do what.
    pub(super) fn ask(&self) -> bool {
        self.0.iter().filter_map(|(_, program)| program.as_ref().ok()).any(|program| program.asks)
    }

    /// Evaluates them; what they cost is taken from what is left. One that is false decides, whatever went wrong with others.
    pub(super) fn hold(&self, shown: &Shown<'_>, left: &mut u64) -> Held {
        let mut wrong = Vec::new();
        for (expression, condition) in &self.0 {
            let out = match condition {
                Ok(program) => {
                    let given = ONE.min(*left);
                    let mut budget = given;
                    let out = program.run_with(shown.values(), &mut budget);
                    *left -= given - budget;
                    out.map_err(|why| format!("expression '{expression}' resulted in error: {why}"))
                }
                Err(why) => Err(format!("compilation error: compilation failed: {why}")),
            };
            match out {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Held::No,
                Ok(other) => {
                    wrong.push(format!(
                        "expression '{expression}' must evaluate to bool but got {}",
                        other.kind()
                    ));
                }
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
