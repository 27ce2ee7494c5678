//! What storage drivers say of themselves: VolumeAttachments, CSIDrivers, CSINodes, CSIStorageCapacities.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{at, default, default_text, items, section, text},
    metadata,
    names::{NameRule, check_qualified},
    or_none,
};

const DRIVERS: Behaviour = Behaviour::Data("storage drivers are recorded, but not called yet");

/// The strategy of volume attachments.
pub static VOLUME_ATTACHMENT: Strategy = Strategy {
    prepare_create: |attachment| attachment["status"] = json!({"attached": false}),
    validate: |attachment, errors| {
        let spec = &attachment["spec"];
        driver_name(text(spec, "attacher"), "spec.attacher", errors);
        let source = &spec["source"];
        let given = [!source["inlineVolumeSpec"].is_null(), !source["persistentVolumeName"].is_null()];
        match given {
            [true, true] => {
                let detail = "inlineVolumeSpec and persistentVolumeName are mutually exclusive";
                errors.forbidden("spec.source", detail);
            }
            [false, false] => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.required("spec.source", detail);
            }
            _ => {}
        }
    },
    validate_update: |new, old, errors| errors.immutable("spec", &new["spec"], &old["spec"]),
    columns: &[
        Column::text("Attacher"),
        Column::text("PV"),
        Column::text("Node"),
        Column { name: "Attached", r#type: "boolean", wide: false },
        Column::text("Age"),
    ],
    cells: |attachment, now| {
        let (spec, status) = (&attachment["spec"], &attachment["status"]);
        vec![
            text(spec, "attacher").into(),
            text(at(spec, &["source"]), "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (status["attached"] == true).into(),
            age(attachment, now),
        ]
    },
    status: true,
    schema_required: true,
    behaviour: DRIVERS,
    ..Strategy::PASSIVE
};

/// A driver's name: present ones are at most 63 letters that can stand in a name.
fn driver_name(name: &str, path: &str, errors: &mut Errors) {
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    if !name.is_empty() {
        for wrong in NameRule::Subdomain.check(&name.to_lowercase()) {
            errors.invalid_text(path, name, &wrong);
        }
    }
}

/// The strategy of storage drivers.
pub static CSI_DRIVER: Strategy = Strategy {
    default: |driver| {
        let spec = section(driver, "spec");
        default(spec, "attachRequired", true);
        for key in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            default(spec, key, false);
        }
        default_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(|modes| modes.is_empty()) {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    },
    validate: driver,
    validate_update: |new, old, errors| {
        for key in ["attachRequired", "volumeLifecycleModes"] {
            errors.immutable(&format!("spec.{key}"), &new["spec"][key], &old["spec"][key]);
        }
    },
    columns: &[
        Column { name: "AttachRequired", r#type: "boolean", wide: false },
        Column { name: "PodInfoOnMount", r#type: "boolean", wide: false },
        Column { name: "StorageCapacity", r#type: "boolean", wide: false },
        Column::text("TokenRequests"),
        Column { name: "RequiresRepublish", r#type: "boolean", wide: false },
        Column::text("Modes"),
        Column::text("Age"),
    ],
    cells: |driver, now| {
        let spec = &driver["spec"];
        let on = |key: &str| Value::from(spec[key] == true);
        let audiences: Vec<&str> = items(spec, "tokenRequests").map(|(_, r)| text(r, "audience")).collect();
        let audiences = if spec["tokenRequests"].is_null() { "<unset>".into() } else { audiences.join(",") };
        let modes: Vec<&str> = items(spec, "volumeLifecycleModes").filter_map(|(_, m)| m.as_str()).collect();
        vec![
            on("attachRequired"),
            on("podInfoOnMount"),
            on("storageCapacity"),
            audiences.into(),
            on("requiresRepublish"),
            or_none(&modes.join(",")),
            age(driver, now),
        ]
    },
    behaviour: DRIVERS,
    ..Strategy::PASSIVE
};

fn driver(driver: &Value, errors: &mut Errors) {
    driver_name(text(&driver["metadata"], "name"), "metadata.name", errors);
    let spec = &driver["spec"];
    let policies = ["ReadWriteOnceWithFSType", "File", "None"];
    errors.one_of("spec.fsGroupPolicy", &spec["fsGroupPolicy"], &policies);
    for (at, mode) in items(spec, "volumeLifecycleModes") {
        errors.one_of(&format!("spec.volumeLifecycleModes[{at}]"), mode, &["Ephemeral", "Persistent"]);
    }
    let mut audiences = HashSet::new();
    for (at, request) in items(spec, "tokenRequests") {
        let path = format!("spec.tokenRequests[{at}]");
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            errors.duplicate(&format!("{path}.audience"), &audience.into());
        }
        let seconds = &request["expirationSeconds"];
        if seconds.as_i64().is_some_and(|s| s < 600) {
            let detail = "may not specify a duration less than 10 minutes";
            errors.invalid(&format!("{path}.expirationSeconds"), seconds, detail);
        }
    }
}

/// The strategy of what drivers a node has.
pub static CSI_NODE: Strategy = Strategy {
    validate: |node, errors| {
        let mut names = HashSet::new();
        for (at, driver) in items(&node["spec"], "drivers") {
            let path = |key: &str| format!("spec.drivers[{at}].{key}");
            let name = text(driver, "name");
            // A node may have no drivers at all, but those that it has are named.
            for key in ["name", "nodeID"] {
                if text(driver, key).is_empty() {
                    errors.required(&path(key), "");
                }
            }
            driver_name(name, &path("name"), errors);
            if !names.insert(name) {
                errors.duplicate(&path("name"), &name.into());
            }
            if text(driver, "nodeID").len() > 256 {
                errors.invalid(&path("nodeID"), &driver["nodeID"], "must be 256 characters or less");
            }
            for (_, key) in items(driver, "topologyKeys") {
                for wrong in check_qualified(key.as_str().unwrap_or_default()) {
                    errors.invalid(&path("topologyKeys"), key, &wrong);
                }
            }
            let count = at_count(driver);
            if count.as_i64().is_some_and(|n| n < 0) {
                errors.non_negative(&path("allocatable.count"), count);
            }
        }
    },
    validate_update: |new, old, errors| {
        // A driver comes and goes as a whole.
        for (_, before) in items(&old["spec"], "drivers") {
            let same_name = |driver: &&Value| text(driver, "name") == text(before, "name");
            let now = items(&new["spec"], "drivers").map(|(_, d)| d).find(same_name);
            if let Some(now) = now.filter(|now| *now != before) {
                errors.invalid("spec.drivers", now, "field is immutable");
            }
        }
    },
    columns: &[Column::number("Drivers"), Column::text("Age")],
    cells: |node, now| vec![items(&node["spec"], "drivers").count().into(), age(node, now)],
    behaviour: DRIVERS,
    ..Strategy::PASSIVE
};

fn at_count(driver: &Value) -> &Value {
    at(driver, &["allocatable", "count"])
}

/// The strategy of free space that drivers report.
pub static CSI_STORAGE_CAPACITY: Strategy = Strategy {
    validate: |capacity, errors| {
        let class = text(capacity, "storageClassName");
        if !class.is_empty() {
            for wrong in NameRule::Subdomain.check(class) {
                errors.invalid_text("storageClassName", class, &wrong);
            }
        }
        metadata::selector(&capacity["nodeTopology"], "nodeTopology", errors);
        for key in ["capacity", "maximumVolumeSize"] {
            if text(capacity, key).starts_with('-') {
                errors.invalid(key, &capacity[key], "must be greater than or equal to 0");
            }
        }
    },
    validate_update: |new, old, errors| {
        for key in ["nodeTopology", "storageClassName"] {
            errors.immutable(key, &new[key], &old[key]);
        }
    },
    columns: &[Column::text("StorageClassName"), Column::text("Capacity")],
    cells: |capacity, _| {
        let free = if capacity["capacity"].is_null() { "<unset>" } else { text(capacity, "capacity") };
        vec![text(capacity, "storageClassName").into(), free.into()]
    },
    schema_required: true,
    behaviour: DRIVERS,
    ..Strategy::PASSIVE
};
