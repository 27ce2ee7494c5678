//! PersistentVolumes, the claims to them, and the classes they come in.

use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default_text, same, section, text},
};

/// The strategy of volumes.
pub static VOLUME: Strategy = Strategy {
    default: |volume| {
        let spec = section(volume, "spec");
        default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_text(spec, "volumeMode", "Filesystem");
    },
    prepare_create: |volume| volume["status"] = json!({"phase": "Pending"}),
    validate: |volume, errors| {
        let spec = &volume["spec"];
        if at(spec, &["capacity", "storage"]).is_null() {
            errors.required("spec.capacity", "");
        }
        modes(&spec["accessModes"], "spec.accessModes", errors);
        let policies = ["Delete", "Recycle", "Retain"];
        let policy = &spec["persistentVolumeReclaimPolicy"];
        errors.one_of("spec.persistentVolumeReclaimPolicy", policy, &policies);
        errors.one_of("spec.volumeMode", &spec["volumeMode"], &["Block", "Filesystem"]);
    },
    validate_update: |new, old, errors| {
        errors.immutable("spec.volumeMode", &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    },
    columns: &[
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("Reclaim Policy"),
        Column::text("Status"),
        Column::text("Claim"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        Column::text("Reason"),
        Column::text("Age"),
        Column::wide("VolumeMode"),
    ],
    cells: |volume, now| {
        let (spec, status) = (&volume["spec"], &volume["status"]);
        let claim = &spec["claimRef"];
        let claim = match text(claim, "name") {
            "" => String::new(),
            name => format!("{}/{name}", text(claim, "namespace")),
        };
        let leaving = volume["metadata"].get("deletionTimestamp").is_some();
        vec![
            text(at(spec, &["capacity"]), "storage").into(),
            access_modes(&spec["accessModes"]).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            if leaving { "Terminating" } else { text(status, "phase") }.into(),
            claim.into(),
            text(spec, "storageClassName").into(),
            attributes_class(spec),
            text(status, "reason").into(),
            age(volume, now),
            text(spec, "volumeMode").into(),
        ]
    },
    status: true,
    returns_deleted: true,
    ..Strategy::PASSIVE
};

/// The strategy of claims.
pub static CLAIM: Strategy = Strategy {
    default: |claim| default_text(section(claim, "spec"), "volumeMode", "Filesystem"),
    prepare_create: |claim| claim["status"] = json!({"phase": "Pending"}),
    validate: |claim, errors| {
        claim_spec(&claim["spec"], "spec", errors);
    },
    validate_update: fixed_claim,
    columns: &[
        Column::text("Status"),
        Column::text("Volume"),
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        Column::text("Age"),
        Column::wide("VolumeMode"),
    ],
    cells: |claim, now| {
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let leaving = claim["metadata"].get("deletionTimestamp").is_some();
        vec![
            if leaving { "Terminating" } else { text(status, "phase") }.into(),
            text(spec, "volumeName").into(),
            text(at(status, &["capacity"]), "storage").into(),
            access_modes(&status["accessModes"]).into(),
            text(spec, "storageClassName").into(),
            attributes_class(spec),
            age(claim, now),
            text(spec, "volumeMode").into(),
        ]
    },
    status: true,
    returns_deleted: true,
    ..Strategy::PASSIVE
};

/// Checks what is claimed, at a path.
pub(super) fn claim_spec(spec: &Value, path: &str, errors: &mut Errors) {
    modes(&spec["accessModes"], &format!("{path}.accessModes"), errors);
    if at(spec, &["resources", "requests", "storage"]).is_null() {
        errors.required(&format!("{path}.resources[storage]"), "");
    }
    errors.one_of(&format!("{path}.volumeMode"), &spec["volumeMode"], &["Block", "Filesystem"]);
}

/// What was claimed stays: only who binds it says to which volume, and a bound one may ask for more.
fn fixed_claim(new: &Value, old: &Value, errors: &mut Errors) {
    let bound = text(&old["status"], "phase") == "Bound";
    let unbound_yet = text(&old["spec"], "volumeName").is_empty();
    let fixed = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            if bound {
                map.remove("resources");
                map.remove("volumeAttributesClassName");
            }
            if unbound_yet {
                map.remove("volumeName");
            }
        }
        spec
    };
    if !same(&fixed(new), &fixed(old)) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden("spec", detail);
    }
}

/// The strategy of classes of volumes.
pub static CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(map) = class.as_object_mut() {
            default_text(map, "reclaimPolicy", "Delete");
            default_text(map, "volumeBindingMode", "Immediate");
        }
    },
    validate: |class, errors| {
        if text(class, "provisioner").is_empty() {
            errors.required("provisioner", "");
        }
        errors.one_of("reclaimPolicy", &class["reclaimPolicy"], &["Delete", "Retain"]);
        let modes = ["Immediate", "WaitForFirstConsumer"];
        errors.one_of("volumeBindingMode", &class["volumeBindingMode"], &modes);
    },
    validate_update: |new, old, errors| {
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(&new[key], &old[key]) {
                errors.forbidden(key, &format!("updates to {key} are forbidden."));
            }
        }
        errors.immutable("volumeBindingMode", &new["volumeBindingMode"], &old["volumeBindingMode"]);
    },
    columns: &[
        Column::text("Provisioner"),
        Column::text("ReclaimPolicy"),
        Column::text("VolumeBindingMode"),
        Column::text("AllowVolumeExpansion"),
        Column::text("Age"),
    ],
    cells: |class, now| {
        vec![
            text(class, "provisioner").into(),
            text(class, "reclaimPolicy").into(),
            text(class, "volumeBindingMode").into(),
            (class["allowVolumeExpansion"] == true).into(),
            age(class, now),
        ]
    },
    returns_deleted: true,
    ..Strategy::PASSIVE
};

fn modes(modes: &Value, path: &str, errors: &mut Errors) {
    let list = modes.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        errors.required(path, "at least 1 access mode is required");
    }
    let known = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    list.iter().for_each(|mode| errors.one_of(path, mode, &known));
    if list.len() > 1 && list.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(path, detail);
    }
}

fn attributes_class(spec: &Value) -> Value {
    spec["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into()
}

fn access_modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "?",
    };
    modes.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}
