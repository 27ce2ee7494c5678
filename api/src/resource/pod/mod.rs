//! Pods: the biggest spec of all. Its defaults and checks also serve the templates of workloads.

mod containers;

mod defaults;
mod dns;
mod ephemeral;
mod print;
mod security;
mod spec;
mod update;

use std::collections::HashSet;

pub(super) use containers::port_number;
pub use defaults::default_spec;
pub(super) use ephemeral::{not_in_templates, only_added};
use kontiki_actors::{Kind, ObjectKey, State, object::own_claim};
use serde_json::{Value, json};
pub use spec::{validate_spec, validate_spec_with};

use super::{
    Column, Strategy,
    field::Errors,
    fields::{at, items, section, text},
    names::NameRule,
};
use crate::{quantity::Quantity, status::Status};

/// How many warnings one spec is told.
const WARNINGS: usize = 32;

/// The strategy of pods.
pub static STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    admit: Some(admit),
    validate,
    validate_create: ephemeral::not_on_create,
    validate_update: update::validate_update,
    warnings,
    columns: &[
        Column::text("Ready"),
        Column::text("Status"),
        Column::text("Restarts"),
        Column::text("Age"),
        Column::wide("IP"),
        Column::wide("Node"),
        Column::wide("Nominated Node"),
        Column::wide("Readiness Gates"),
    ],
    cells: print::cells,
    selectable: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    status: true,
    returns_deleted: true,
    ..Strategy::PASSIVE
};

fn default(pod: &mut Value) {
    default_spec(section(pod, "spec"));
    kontiki_actors::kinds::pod::complete(&mut pod["spec"]);
}

fn prepare_create(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending", "qosClass": qos_class(&pod["spec"])});
}

/// What admission adds in Kubernetes: the service account, the priority, what the RuntimeClass says, and that pods which have reserved something bear a
/// node's being short of memory. Not the tolerations of 300 s for nodes that are not ready: Kontiki replaces the pods of a
/// dead node as soon as it is known dead, so such a default would only promise a delay that does not exist.
fn admit(pod: &mut Value, state: &State) -> Result<(), Status> {
    let name = super::fields::text(&pod["metadata"], "name").to_owned();
    let spec = section(pod, "spec");
    super::fields::default_text(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    spec.insert("serviceAccount".into(), account);
    let class = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (priority, policy) = match class.as_str() {
        "" => default_priority(state, spec),
        "system-node-critical" => (2_000_001_000, "PreemptLowerPriority".to_owned()),
        "system-cluster-critical" => (2_000_000_000, "PreemptLowerPriority".to_owned()),
        class => {
            let key = ObjectKey::new(Kind::PRIORITY_CLASS, "", class);
            let Some(found) = state.get(&key) else {
                return Err(Status::forbidden(
                    Kind::POD,
                    &name,
                    format!("no PriorityClass with name {class} was found"),
                ));
            };
            priority_of(&found.document.rest_value())
        }
    };
    if let Some(asked) = spec.get("priority").and_then(Value::as_i64)
        && asked != priority
    {
        let why = "the integer value of priority must not be provided in pod spec; priority admission controller \
            computed";
        return Err(Status::forbidden(
            Kind::POD,
            &name,
            format!("{why} {priority} from the given PriorityClass name"),
        ));
    }
    spec.insert("priority".into(), priority.into());
    super::fields::default_text(spec, "preemptionPolicy", &policy);
    kontiki_actors::kinds::pod::apply_runtime_class(state, &mut pod["spec"])
        .map_err(|why| Status::forbidden(Kind::POD, &name, why))?;
    let class = qos_class(&pod["spec"]);
    kontiki_actors::kinds::pod::bear_memory_pressure(&mut pod["spec"], class);
    Ok(())
}

fn priority_of(class: &Value) -> (i64, String) {
    let policy = text(class, "preemptionPolicy");
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    (class["value"].as_i64().unwrap_or(0), policy.to_owned())
}

fn default_priority(state: &State, spec: &mut serde_json::Map<String, Value>) -> (i64, String) {
    for class in state.list(Kind::PRIORITY_CLASS, None) {
        let rest = class.document.rest_value();
        if rest["globalDefault"] == true {
            spec.insert("priorityClassName".into(), class.key.name.as_str().into());
            return priority_of(&rest);
        }
    }
    (0, "PreemptLowerPriority".to_owned())
}

fn validate(pod: &Value, errors: &mut Errors) {
    validate_spec(&pod["spec"], "spec", errors);
    own_claims(pod, errors);
}

/// The claims that are made for it must have names, too.
fn own_claims(pod: &Value, errors: &mut Errors) {
    let own = text(&pod["metadata"], "name");
    for (at, volume) in items(&pod["spec"], "volumes").filter(|(_, volume)| volume.get("ephemeral").is_some())
    {
        let (path, volume) = (format!("spec.volumes[{at}].name"), text(volume, "name"));
        if own.is_empty() || volume.is_empty() {
            continue;
        }
        let claim = own_claim(own, volume);
        for wrong in NameRule::Subdomain.check(&claim) {
            errors.invalid_text(&path, volume, &format!("PVC name {:?}: {wrong}", claim.as_str()));
        }
    }
}

fn warnings(pod: &Value) -> Vec<String> {
    template_warnings(&pod["spec"], "spec")
}

/// Accepted, but probably not what was meant.
pub fn template_warnings(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, container) in items(spec, "containers") {
        let mut seen = HashSet::new();
        for (entry, variable) in items(container, "env") {
            let name = text(variable, "name");
            if !seen.insert(name) && warnings.len() < WARNINGS {
                warnings.push(format!(
                    "{path}.containers[{at}].env[{entry}]: hides previous definition of {name:?}, which may be dropped when using apply"
                ));
            }
        }
    }
    warnings
}

/// The class of service that requests and limits make.
pub fn qos_class(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let amount =
        |value: &Value| value.as_str().and_then(|t| t.parse::<Quantity>().ok()).filter(|q| !q.is_zero());
    for (_, container) in items(spec, "containers").chain(items(spec, "initContainers")) {
        for resource in ["cpu", "memory"] {
            let limit = amount(at(container, &["resources", "limits", resource]));
            // An absent request counts as the limit.
            let request = amount(at(container, &["resources", "requests", resource])).or(limit);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// All containers of a spec with the name of their list.
pub fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| items(spec, list).map(move |(at, container)| (list, at, container)))
}

/// Completes a template's pod spec. What pods are given beside that is left to them: it follows from what may still change.
pub fn default_template(template: &mut Value) {
    if !template.is_object() {
        *template = json!({});
    }
    let metadata = section(template, "metadata");
    metadata.remove("creationTimestamp");
    default_spec(section(template, "spec"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_variables_again_and_again_is_told_of_the_first() {
        let env: Vec<Value> =
            ["a", "b", "a"].iter().chain(&["b"; 100]).map(|name| json!({"name": name})).collect();
        let told = template_warnings(&json!({"containers": [{"env": env}]}), "spec");
        assert_eq!(told.len(), WARNINGS);
        let hidden = |at: usize, name: &str| {
            format!(
                "spec.containers[0].env[{at}]: hides previous definition of {name:?}, which may be dropped when using apply"
            )
        };
        assert_eq!(told[..2], [hidden(2, "a"), hidden(3, "b")]);
    }
}
