//! StatefulSets.

use serde_json::{Map, Value, json};

use super::{
    containers_and_images, count_or_share, default_template, selector_and_template, share, template_warnings,
};
use crate::resource::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default, default_text, each, number, object, same, section, text},
    names::NameRule,
};

/// The strategy of stateful sets.
pub static STRATEGY: Strategy = Strategy {
    // Its name becomes a label of its pods.
    name: NameRule::Label,
    default: default_object,
    prepare_create: |set| set["status"] = json!({"replicas": 0, "availableReplicas": 0}),
    validate,
    validate_update,
    warnings: template_warnings,
    columns: &[
        Column::text("Ready"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
    ],
    cells: |set, now| {
        let ready = number(&set["status"], "readyReplicas");
        let ready = format!("{ready}/{}", number(&set["spec"], "replicas"));
        let [names, images] = containers_and_images(at(set, &["spec", "template", "spec"]));
        vec![ready.into(), age(set, now), names, images]
    },
    status: true,
    scale: true,
    ..Strategy::PASSIVE
};

/// What an update may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn default_object(set: &mut Value) {
    let spec = section(set, "spec");
    default(spec, "replicas", 1);
    // Kubernetes' types cannot leave it out.
    default(spec, "serviceName", "");
    default(spec, "revisionHistoryLimit", 10);
    default_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = object(spec, "updateStrategy");
    default_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        default(object(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = object(spec, "persistentVolumeClaimRetentionPolicy");
    default_text(retention, "whenDeleted", "Retain");
    default_text(retention, "whenScaled", "Retain");
    each(spec, "volumeClaimTemplates").for_each(default_claim);
    default_template(spec);
}

fn default_claim(claim: &mut Map<String, Value>) {
    default_text(claim, "apiVersion", "v1");
    default_text(claim, "kind", "PersistentVolumeClaim");
    default_text(object(claim, "spec"), "volumeMode", "Filesystem");
    default_text(object(claim, "status"), "phase", "Pending");
}

fn validate(set: &Value, errors: &mut Errors) {
    let spec = &set["spec"];
    let policy = text(spec, "podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        errors.invalid_text("spec.podManagementPolicy", policy, detail);
    }
    let strategy = &spec["updateStrategy"];
    match text(strategy, "type") {
        "OnDelete" => {
            if let Some(rolling) = strategy.get("rollingUpdate") {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                errors.invalid("spec.updateStrategy.rollingUpdate", rolling, detail);
            }
        }
        "RollingUpdate" => {
            let partition = at(strategy, &["rollingUpdate", "partition"]);
            errors.non_negative("spec.updateStrategy.rollingUpdate.partition", partition);
            let most = at(strategy, &["rollingUpdate", "maxUnavailable"]);
            let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
            if !most.is_null() {
                count_or_share(most, path, true, errors);
            }
            if share(most) == Some(0) {
                errors.invalid(path, most, "cannot be 0");
            }
        }
        _ => errors.invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    for key in ["whenDeleted", "whenScaled"] {
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{key}");
        let policy = at(spec, &["persistentVolumeClaimRetentionPolicy", key]);
        errors.one_of(&path, policy, &["Retain", "Delete"]);
    }
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        errors.non_negative(&format!("spec.{key}"), &spec[key]);
    }
    errors.non_negative("spec.ordinals.start", at(spec, &["ordinals", "start"]));
    selector_and_template(spec, "StatefulSet", errors);
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let fixed = |set: &Value| {
        let mut spec = set["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            map.retain(|key, _| !MUTABLE.contains(&key.as_str()));
        }
        spec
    };
    if !same(&fixed(new), &fixed(old)) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
            are forbidden";
        errors.forbidden("spec", detail);
    }
}
