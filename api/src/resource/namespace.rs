//! Namespaces.

use kontiki_actors::pod_security::{Policy, WrongLabel};
use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{default, object, section, text},
    metadata::metadata_of,
    names::NameRule,
};

/// The strategy of namespaces.
pub static STRATEGY: Strategy = Strategy {
    name: NameRule::Label,
    default: |namespace| {
        let name = text(&namespace["metadata"], "name").to_owned();
        if !name.is_empty() {
            object(metadata_of(namespace), "labels")
                .insert("kubernetes.io/metadata.name".into(), name.into());
        }
    },
    prepare_create: |namespace| {
        default(section(namespace, "spec"), "finalizers", json!([]));
        let kubernetes = Value::from("kubernetes");
        if let Some(list) = namespace["spec"]["finalizers"].as_array_mut()
            && !list.contains(&kubernetes)
        {
            list.push(kubernetes);
        }
        namespace["status"] = json!({"phase": "Active"});
    },
    // What holds a namespace back is changed by its finalize subresource only.
    prepare_update: |namespace, old| {
        let finalizers = old["spec"]["finalizers"].clone();
        section(namespace, "spec").insert("finalizers".into(), finalizers);
    },
    validate: |namespace, errors| {
        // Only what exists has a uid.
        if text(&namespace["metadata"], "uid").is_empty() {
            wrong(&wrong_labels(namespace), errors);
        }
    },
    // Labels that were taken before somebody looked at them do not hold back what else is written.
    validate_update: |new, old, errors| {
        let found = wrong_labels(new);
        if found != wrong_labels(old) {
            wrong(&found, errors);
        }
    },
    columns: &[Column::text("Status"), Column::text("Age")],
    cells: |namespace, now| vec![text(&namespace["status"], "phase").into(), age(namespace, now)],
    selectable: &["status.phase"],
    status: true,
    returns_deleted: true,
    ..Strategy::PASSIVE
};

/// The labels of pod security that say nothing that is known.
fn wrong_labels(namespace: &Value) -> Vec<WrongLabel> {
    Policy::of_labels(&namespace["metadata"]["labels"], Policy::PRIVILEGED).1
}

fn wrong(found: &[WrongLabel], errors: &mut Errors) {
    for WrongLabel { label, value, why } in found {
        errors.invalid_text(&format!("metadata.labels[{label}]"), value, why);
    }
}

/// What is wrong with labels, in one text, as Kubernetes puts several errors together.
pub(crate) fn told(found: &[WrongLabel]) -> String {
    let one = |WrongLabel { label, value, why }: &WrongLabel| {
        format!("metadata.labels[{label}]: Invalid value: {value:?}: {why}")
    };
    match found {
        [single] => one(single),
        all => format!("[{}]", all.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
