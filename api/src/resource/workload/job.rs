//! Jobs. Which pods are a job's own is said by labels with its uid: those are set where the uid is given, in its actor's
//! crate.

use serde_json::{Map, Value, json};

use super::{default_template, selects, template_warnings, wide};
use crate::resource::{
    Column, Strategy, age,
    duration::human,
    field::Errors,
    fields::{at, items, number, section, text},
    metadata, pod,
};
use kontiki_actors::object::parse_time_ms;

/// The longest list of indexes of a rule, as in Kubernetes.
const SUCCEEDED_INDEXES_MAX: usize = 64 * 1024;

/// The strategy of jobs.
pub static STRATEGY: Strategy = Strategy {
    default: default_object,
    validate: |job, errors| {
        validate_spec(&job["spec"], "spec", errors);
        let name = text(&job["metadata"], "name");
        if name.len() > 63 {
            // It becomes a label of the job's pods.
            errors.invalid_text("spec.template.labels", name, "must be no more than 63 bytes");
        }
        own_pods(&job["spec"], errors);
    },
    validate_update,
    warnings: template_warnings,
    columns: &[
        Column::text("Status"),
        Column::text("Completions"),
        Column::text("Duration"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells,
    selectable: &["status.successful"],
    status: true,
    ..Strategy::PASSIVE
};

/// Of a job that nobody gave labels, those of its pods are its own.
fn default_object(job: &mut Value) {
    let labels = at(job, &["spec", "template", "metadata", "labels"]).clone();
    let own = at(job, &["metadata", "labels"]).as_object().is_some_and(|labels| !labels.is_empty());
    if !own && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        metadata::metadata_of(job).insert("labels".into(), labels);
    }
    let spec = section(job, "spec");
    kontiki_actors::kinds::job::default_spec(spec);
    default_template(spec);
}

/// Completes the pod template of a job's template; the rest of it is completed when it becomes a job.
pub(super) fn default_pods(spec: &mut Map<String, Value>) {
    default_template(spec);
}

/// Checks what a job and the template of one have in common.
pub(super) fn validate_spec(spec: &Value, path: &str, errors: &mut Errors) {
    let path = |key: &str| format!("{path}.{key}");
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
        "ttlSecondsAfterFinished",
    ] {
        errors.non_negative(&path(key), &spec[key]);
    }
    errors.one_of(&path("completionMode"), &spec["completionMode"], &["NonIndexed", "Indexed"]);
    let indexed = spec["completionMode"] == "Indexed";
    if indexed {
        if spec["completions"].is_null() {
            errors.required(&path("completions"), "when completion mode is Indexed");
        }
        if number(spec, "parallelism") > 100_000 {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            errors.invalid(&path("parallelism"), &spec["parallelism"], detail);
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !spec[key].is_null() {
                errors.invalid(&path(key), &spec[key], "requires indexed completion mode");
            }
        }
    }
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        errors.required(&path("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    let policy = spec["podFailurePolicy"].is_object();
    let replaced: &[&str] = if policy { &["Failed"] } else { &["TerminatingOrFailed", "Failed"] };
    errors.one_of(&path("podReplacementPolicy"), &spec["podReplacementPolicy"], replaced);
    let template = &spec["template"];
    metadata::labels(&template["metadata"]["labels"], &path("template.metadata.labels"), errors);
    pod::validate_spec(&template["spec"], &path("template.spec"), errors);
    pod::not_in_templates(&template["spec"], &path("template.spec"), errors);
    let at_end = path("template.spec.restartPolicy");
    match text(&template["spec"], "restartPolicy") {
        "" | "Always" => errors.required(&at_end, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if policy => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid_text(&at_end, "OnFailure", detail);
        }
        "OnFailure" => {}
        other => errors.invalid_text(&at_end, other, "must be OnFailure or Never"),
    }
    if policy {
        failure_policy(&spec["podFailurePolicy"], &path("podFailurePolicy"), errors);
    }
    success_policy(&spec["successPolicy"], &path("successPolicy"), errors);
}

/// The rules are read whenever something happens to the job, so that there is not to be much to read.
fn success_policy(policy: &Value, path: &str, errors: &mut Errors) {
    let count = items(policy, "rules").count();
    if count > 20 {
        errors.too_many(&format!("{path}.rules"), count, 20);
    }
    for (at, rule) in items(policy, "rules") {
        if text(rule, "succeededIndexes").len() > SUCCEEDED_INDEXES_MAX {
            errors.too_long(&format!("{path}.rules[{at}].succeededIndexes"), SUCCEEDED_INDEXES_MAX);
        }
    }
}

fn failure_policy(policy: &Value, path: &str, errors: &mut Errors) {
    let count = items(policy, "rules").count();
    if count > 20 {
        errors.too_many(&format!("{path}.rules"), count, 20);
    }
    for (at, rule) in items(policy, "rules") {
        let path = |key: &str| format!("{path}.rules[{at}]{key}");
        match text(rule, "action") {
            "" => errors
                .required(&path(".action"), "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            _ => {
                errors.one_of(&path(".action"), &rule["action"], &["Count", "FailIndex", "FailJob", "Ignore"])
            }
        }
        let (codes, conditions) =
            (rule["onExitCodes"].is_object(), items(rule, "onPodConditions").count() > 0);
        if codes == conditions {
            let detail = if codes {
                "specifying both OnExitCodes and OnPodConditions is not supported"
            } else {
                "specifying one of OnExitCodes and OnPodConditions is required"
            };
            errors.invalid(&path(""), rule, detail);
        }
        if codes {
            errors.one_of(&path(".onExitCodes.operator"), &rule["onExitCodes"]["operator"], &["In", "NotIn"]);
        }
    }
}

/// Which pods are its own is made up by the server, unless the client takes that on itself.
fn own_pods(spec: &Value, errors: &mut Errors) {
    let selector = &spec["selector"];
    let empty = |key: &str| {
        selector[key].as_object().is_none_or(|m| m.is_empty())
            && selector[key].as_array().is_none_or(|l| l.is_empty())
    };
    if spec["manualSelector"] == true {
        if !selector.is_object() {
            errors.required("spec.selector", "");
            return;
        }
        metadata::selector(selector, "spec.selector", errors);
        let labels = &spec["template"]["metadata"]["labels"];
        if !selects(selector, labels) {
            let shown = if labels.is_null() { json!({}) } else { labels.clone() };
            let detail = "`selector` does not match template `labels`";
            errors.invalid("spec.template.metadata.labels", &shown, detail);
        }
        return;
    }
    let made = selector["matchLabels"]
        .as_object()
        .is_some_and(|labels| labels.len() == 1 && labels.contains_key("batch.kubernetes.io/controller-uid"));
    let told = !empty("matchLabels") || !empty("matchExpressions");
    if told && !(made && empty("matchExpressions")) {
        errors.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let waits = old["spec"]["suspend"] == true && old["status"]["startTime"].is_null();
    let (new, old) = (&new["spec"], &old["spec"]);
    for key in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        errors.immutable(&format!("spec.{key}"), &new[key], &old[key]);
    }
    // Before it runs, whoever queues jobs may still say where its pods belong.
    if waits {
        let placed = |spec: &Value| {
            let mut template = of_pods(spec);
            for key in ["annotations", "labels"] {
                section(&mut template, "metadata").remove(key);
            }
            for key in ["affinity", "nodeSelector", "schedulingGates", "tolerations"] {
                section(&mut template, "spec").remove(key);
            }
            template
        };
        errors.immutable("spec.template", &placed(new), &placed(old));
    } else {
        errors.immutable("spec.template", &of_pods(new), &of_pods(old));
    }
    if new["completions"] != old["completions"] {
        let indexed = new["completionMode"] == "Indexed" && !new["completions"].is_null();
        if !indexed {
            errors.immutable("spec.completions", &new["completions"], &old["completions"]);
        } else if new["completions"] != new["parallelism"] {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid("spec.completions", &new["completions"], detail);
        }
    }
}

/// The template of a spec with what pods are given: older builds stored that with it, so to leave it out is no change.
fn of_pods(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    if let Some(spec) = template.get_mut("spec") {
        kontiki_actors::kinds::pod::complete(spec);
    }
    template
}

fn cells(job: &Value, now_ms: i64) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let done = number(status, "succeeded");
    let completions = match (spec["completions"].as_i64(), number(spec, "parallelism")) {
        (Some(completions), _) => format!("{done}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    };
    let time = |key: &str| status[key].as_str().and_then(parse_time_ms);
    let lasted = time("startTime").map(|began| time("completionTime").unwrap_or(now_ms) - began);
    let lasted = lasted.map_or(String::new(), |ms| human(ms.div_euclid(1000)));
    let mut cells = vec![state(job).into(), completions.into(), lasted.into(), age(job, now_ms)];
    cells.extend(wide(job));
    cells
}

/// The cell STATUS: the first that holds.
fn state(job: &Value) -> &'static str {
    let holds = |kind: &str| {
        items(&job["status"], "conditions")
            .any(|(_, c)| text(c, "type") == kind && text(c, "status") == "True")
    };
    let ended = ["Complete", "Failed"].into_iter().find(|kind| holds(kind));
    let leaving = || job["metadata"].get("deletionTimestamp").map(|_| "Terminating");
    let on_the_way =
        || ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|kind| holds(kind));
    ended.or_else(leaving).or_else(on_the_way).unwrap_or("Running")
}
