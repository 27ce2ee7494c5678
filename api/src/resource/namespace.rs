//! Namespaces.

use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
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
    columns: &[Column::text("Status"), Column::text("Age")],
    cells: |namespace, now| vec![text(&namespace["status"], "phase").into(), age(namespace, now)],
    selectable: &["status.phase"],
    status: true,
    returns_deleted: true,
    ..Strategy::PASSIVE
};
