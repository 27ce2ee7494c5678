//! A policy as it is written, and what it says of a write.

use kontiki_actors::Object;
use serde_json::Value;

use super::super::{
    conditions::{self, Conditions, Held, ONE},
    matching::Scope,
    shown::{Names, Shown},
};
use crate::{
    cel::{Lazy, Program, Val, Variable},
    custom::rules::SPENT,
    resource::fields::{items, text},
};

/// Bytes of a message that an expression makes, and of an annotation for the audit, as in Kubernetes.
const MESSAGE: usize = 5 << 10;
const ANNOTATION: usize = 10 << 10;
/// What it costs to begin with a policy, and with an expression, however little there is to evaluate.
const BEGIN: u64 = 100;
const EACH: u64 = 10;
/// The reason of refusals that name none.
pub(super) const INVALID: &str = "Invalid";

/// A ValidatingAdmissionPolicy.
#[derive(Debug)]
pub(in crate::admission) struct Policy {
    pub(super) name: String,
    /// That at which it was read.
    pub(super) revision: u64,
    pub(in crate::admission) scope: Scope,
    /// The apiVersion and kind of its parameters.
    pub(super) param_kind: Option<(String, String)>,
    /// Whether a write passes about which it cannot say anything.
    pub(super) ignored: bool,
    /// Whether it asks who may do what.
    pub(super) asks: bool,
    conditions: Conditions,
    variables: Vec<Variable>,
    validations: Vec<Validation>,
    annotations: Vec<Annotation>,
}

/// An expression that must hold.
#[derive(Debug)]
struct Validation {
    expression: String,
    program: Result<Program, String>,
    message: String,
    /// The expression that makes the message; none if there is none that could.
    made: Option<Program>,
    reason: &'static str,
}

/// An expression whose text the audit is told.
#[derive(Debug)]
struct Annotation {
    key: String,
    expression: String,
    program: Result<Program, String>,
}

/// What a policy says of a write.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) refusals: Vec<Refusal>,
    /// Annotations that are none: the write is refused for them, whatever the binding says.
    pub(super) broken: Vec<String>,
    /// Keys and texts for the audit.
    pub(super) annotations: Vec<(String, String)>,
}

/// Why a write is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The place of the validation.
    pub(super) at: usize,
    pub(super) message: String,
    /// `Invalid` and so on.
    pub(super) reason: &'static str,
}

impl Policy {
    pub(super) fn read(object: &Object) -> Policy {
        let spec = object.document.spec_value();
        let kind = &spec["paramKind"];
        let names = Names { params: kind.is_object(), authorizer: true };
        let variables = variables(&spec, names);
        let (validations, annotations) = (
            items(&spec, "validations").map(|(_, told)| Validation::read(told, names, &variables)),
            items(&spec, "auditAnnotations").map(|(_, told)| Annotation::read(told, names, &variables)),
        );
        let (validations, annotations): (Vec<_>, Vec<_>) = (validations.collect(), annotations.collect());
        let conditions = Conditions::read(&spec, kind.is_object());
        let written =
            validations.iter().map(|v| &v.program).chain(annotations.iter().map(|a| &a.program)).flatten();
        let mut programs = written.chain(validations.iter().filter_map(|v| v.made.as_ref()));
        let asks = programs.any(|program| program.asks) || conditions.ask();
        Policy {
            name: object.key.name.to_string(),
            revision: object.revision,
            scope: Scope::of_resources(&spec["matchConstraints"]),
            param_kind: kind
                .is_object()
                .then(|| (text(kind, "apiVersion").to_owned(), text(kind, "kind").to_owned())),
            ignored: text(&spec, "failurePolicy") == "Ignore",
            asks,
            conditions,
            variables,
            validations,
            annotations,
        }
    }

    /// What it says of a write. What that costs is taken from what is left for all policies.
    pub(super) fn judge(&self, shown: &Shown<'_>, left: &mut u64) -> Verdict {
        let mut verdict = Verdict::default();
        *left = left.saturating_sub(BEGIN);
        if !self.conditions.is_empty() {
            let bare = Shown { namespace: &Value::Null, ..*shown };
            let given = conditions::ALL.min(*left);
            let mut budget = given;
            let held = self.conditions.hold(&bare, &mut budget);
            *left -= given - budget;
            match held {
                Held::Yes => {}
                Held::No => return verdict,
                Held::Unknown(why) => {
                    self.failed(0, why, &mut verdict);
                    return verdict;
                }
            }
        }
        let mut run = Run { shown, variables: Lazy::new(&self.variables), left };
        for (at, validation) in self.validations.iter().enumerate() {
            match run.of(&validation.expression, &validation.program) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => {
                    let message = run.message(validation);
                    verdict.refusals.push(Refusal { at, message, reason: validation.reason });
                }
                Ok(other) => {
                    let why = format!(
                        "expression '{}' must evaluate to bool but got {}",
                        validation.expression,
                        other.kind()
                    );
                    self.failed(at, why, &mut verdict);
                }
                // One refusal for all that could not be evaluated any more.
                Err(why) if *run.left == 0 => {
                    self.failed(at, why, &mut verdict);
                    return verdict;
                }
                Err(why) => self.failed(at, why, &mut verdict),
            }
        }
        for annotation in &self.annotations {
            match run.of(&annotation.expression, &annotation.program) {
                Ok(Val::Text(text)) if !text.trim().is_empty() => {
                    verdict.annotations.push((annotation.key.clone(), cut(text.trim(), ANNOTATION)));
                }
                Ok(Val::Text(_) | Val::Null) => {}
                Ok(other) => verdict.broken.push(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    annotation.expression,
                    other.kind()
                )),
                Err(_) if self.ignored => {}
                Err(why) if *run.left == 0 => {
                    verdict.broken.push(why);
                    return verdict;
                }
                Err(why) => verdict.broken.push(why),
            }
        }
        verdict
    }

    /// What cannot be evaluated is refused, unless the policy says otherwise.
    fn failed(&self, at: usize, message: String, verdict: &mut Verdict) {
        if !self.ignored {
            verdict.refusals.push(Refusal { at, message, reason: INVALID });
        }
    }
}

/// The variables of a policy. Each may look at those before it.
fn variables(spec: &Value, names: Names) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for (_, told) in items(spec, "variables") {
        let program = names.compile(text(told, "expression"), &variables);
        let program = program.map_err(|why| format!("compilation failed: {why}"));
        variables.push(Variable { name: text(told, "name").to_owned(), program });
    }
    variables
}

impl Validation {
    fn read(told: &Value, names: Names, variables: &[Variable]) -> Validation {
        let (expression, made) = (text(told, "expression"), text(told, "messageExpression"));
        let silent = Names { authorizer: false, ..names };
        Validation {
            program: names.compile(expression, variables),
            expression: expression.trim().to_owned(),
            message: text(told, "message").trim().to_owned(),
            made: Some(made)
                .filter(|made| !made.trim().is_empty())
                .and_then(|made| silent.compile(made, variables).ok()),
            reason: match text(told, "reason") {
                "Unauthorized" => "Unauthorized",
                "Forbidden" => "Forbidden",
                "RequestEntityTooLarge" => "RequestEntityTooLarge",
                _ => INVALID,
            },
        }
    }
}

impl Annotation {
    fn read(told: &Value, names: Names, variables: &[Variable]) -> Annotation {
        let expression = text(told, "valueExpression").trim();
        Annotation {
            key: text(told, "key").to_owned(),
            program: names.compile(expression, variables),
            expression: expression.to_owned(),
        }
    }
}

/// The expressions of a policy while they are evaluated on one write.
struct Run<'r, 'v> {
    shown: &'r Shown<'v>,
    variables: Lazy<'v>,
    left: &'r mut u64,
}

impl<'v> Run<'_, 'v> {
    /// Evaluates an expression.
    ///
    /// # Errors
    /// What went wrong, in Kubernetes' words.
    fn of(&mut self, expression: &str, program: &'v Result<Program, String>) -> Result<Val<'v>, String> {
        match program {
            Ok(program) => self.run(program).map_err(|why| match *self.left {
                0 => SPENT.to_owned(),
                _ => format!("expression '{expression}' resulted in error: {why}"),
            }),
            Err(why) => Err(format!("compilation error: compilation failed: {why}")),
        }
    }

    fn run(&mut self, program: &'v Program) -> Result<Val<'v>, String> {
        *self.left = self.left.saturating_sub(EACH);
        let given = ONE.min(*self.left);
        let mut budget = given;
        let out = program.run_among(self.shown.values(), &mut self.variables, &mut budget);
        *self.left -= given - budget;
        out
    }

    /// What people are told when a validation does not hold.
    fn message(&mut self, validation: &'v Validation) -> String {
        if let Some(made) = &validation.made
            && let Ok(Val::Text(text)) = self.run(made)
        {
            let text = text.trim();
            if !text.is_empty() && text.len() <= MESSAGE && !text.contains('\n') {
                return text.to_owned();
            }
        }
        match validation.message.as_str() {
            "" => format!("failed expression: {}", validation.expression),
            message => message.to_owned(),
        }
    }
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Document, Kind, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::cel::{Judge, Place};

    #[derive(Debug)]
    struct Nobody;

    impl Judge for Nobody {
        fn may(&self, _: Option<(&str, &str)>, _: &str, _: &Place) -> (bool, String) {
            (false, String::new())
        }

        fn requested(&self) -> Place {
            Place::Path("/".into())
        }
    }

    fn policy(spec: Value) -> Policy {
        let key = ObjectKey::new(Kind::VALIDATING_ADMISSION_POLICY, "", "p");
        let document = Document::from_value(json!({"metadata": {"name": "p"}, "spec": spec}));
        Policy::read(&Object::new(key, 1, document))
    }

    fn judged(policy: &Policy, object: &Value, mut left: u64) -> (Verdict, u64) {
        let (null, given) = (Value::Null, left);
        let shown =
            Shown { object, old: &null, request: &null, namespace: &null, params: &null, judge: &Nobody };
        let verdict = policy.judge(&shown, &mut left);
        (verdict, given - left)
    }

    /// Nobody gets past a validation by spending what there is before it, to the last step.
    #[test]
    fn no_budget_lets_pass_what_is_refused_with_more() {
        let spec = json!({
            "matchConditions": [{"name": "a", "expression": "object.n > 0"}],
            "variables": [{"name": "n", "expression": "object.n * 2"}],
            "validations": [{"expression": "variables.n == 2"}, {"expression": "object.n == 1"},
                {"expression": "object.n != 1", "messageExpression": "'n is ' + string(variables.n)"}],
            "auditAnnotations": [{"key": "k", "valueExpression": "'' + string(object.n)"}],
        });
        let (object, fails) = (json!({"n": 1}), policy(spec.clone()));
        let (verdict, cost) = judged(&fails, &object, 1_000_000);
        let refusal = Refusal { at: 2, message: "n is 2".into(), reason: INVALID };
        assert_eq!(
            (verdict.refusals, verdict.annotations),
            (vec![refusal], vec![("k".to_owned(), "1".to_owned())])
        );
        let ignores = policy(json!({"failurePolicy": "Ignore", "validations": spec["validations"].clone(),
            "variables": spec["variables"].clone()}));
        for left in 0..cost {
            let (verdict, _) = judged(&fails, &object, left);
            assert!(verdict.refusals.len() == 1, "{left}: {verdict:?}");
            // Who lets pass what cannot be evaluated still refuses what was.
            let (verdict, _) = judged(&ignores, &object, left);
            assert!(verdict.refusals.iter().all(|refusal| refusal.at == 2), "{left}: {verdict:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_when_it_is_asked() {
        let broken = policy(json!({"validations": [{"expression": "object.n >"}]}));
        let (verdict, _) = judged(&broken, &json!({"n": 1}), 1_000_000);
        let told = &verdict.refusals[0].message;
        assert!(told.starts_with("compilation error: compilation failed: ERROR: <input>: "), "{told}");
        let variable = policy(json!({"variables": [{"name": "v", "expression": "object.n >"}],
            "validations": [{"expression": "variables.v == 1"}]}));
        let (verdict, _) = judged(&variable, &json!({"n": 1}), 1_000_000);
        assert!(
            verdict.refusals[0].message.contains("composited variable \"v\" fails to compile"),
            "{verdict:?}"
        );
    }
}
