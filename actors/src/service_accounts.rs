//! The service account of a new pod: it must be there, and the pod gets what it needs to speak to the API as that account.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>, the admission plugin ServiceAccount.
//!
//! In the turn that makes the pod, so that actors' pods get the same as clients', by the account as it is then. Templates stay as they
//! are: what is injected is in pods only, and no template becomes another one by an upgrade.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// The account of pods that name none. It comes with its namespace.
pub(crate) const DEFAULT: &str = "default";
/// The ConfigMap with the cluster's CA, which comes with its namespace, too.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
/// Where programs look for the token (`rest.InClusterConfig` of client-go).
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the volume's name begins with. A pod that brings a volume of such a name has that one mounted.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds: Kubernetes' mark of a token that nobody asked for by himself. Such a one is still taken after that time, with a warning.
const EXPIRATION_S: i64 = 3607;

/// The account that a pod's spec names; says why in Kubernetes' words if it is not there.
pub(crate) fn find(state: &State, namespace: &str, spec: &Value) -> Result<Arc<Object>, String> {
    let name = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or(DEFAULT);
    let account = state.get(&ObjectKey::new(Kind::SERVICE_ACCOUNT, namespace, name));
    account.cloned().ok_or_else(|| {
        format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found")
    })
}

/// Completes a new pod's spec by its account: the names of that, the token, where it is wanted, and the secrets of registries.
/// Says why in Kubernetes' words if the account is not there.
pub(crate) fn admit(turn: &mut Turn, namespace: &str, spec: &mut Value) -> Result<(), String> {
    let account = find(turn.state(), namespace, spec)?;
    let settings = account.document.rest_value();
    let Some(fields) = spec.as_object_mut() else { return Ok(()) };
    for field in ["serviceAccountName", "serviceAccount"] {
        fields.insert(field.into(), account.key.name.as_str().into());
    }
    let told = |from: Option<&Value>| from.and_then(Value::as_bool);
    let wanted = told(fields.get("automountServiceAccountToken"))
        .or(told(settings.get("automountServiceAccountToken")))
        .unwrap_or(true);
    if wanted {
        mount(turn, fields);
    }
    let some = |list: Option<&Value>| list.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !some(fields.get("imagePullSecrets")) && some(settings.get("imagePullSecrets")) {
        fields.insert("imagePullSecrets".into(), settings["imagePullSecrets"].clone());
    }
    Ok(())
}

/// Mounts the token in all containers that have nothing at its place.
fn mount(turn: &mut Turn, spec: &mut Map<String, Value>) {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let mut names = volumes.filter_map(|volume| volume["name"].as_str());
    let own = names.find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let lacking = |container: &Value| {
        let mounts = container["volumeMounts"].as_array();
        !mounts.into_iter().flatten().any(|mount| mount["mountPath"] == MOUNT_PATH)
    };
    const LISTS: [&str; 2] = ["initContainers", "containers"];
    let containers = |spec: &Map<String, Value>| {
        let lists = LISTS.iter().filter_map(|list| spec.get(*list).and_then(Value::as_array));
        lists.flatten().any(lacking)
    };
    if !containers(spec) {
        return;
    }
    let name = match &own {
        Some(name) => name.clone(),
        None => format!("{VOLUME_PREFIX}{}", turn.context().name_suffix()),
    };
    for list in LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter(|container| lacking(container)) {
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            if let Some(container) = container.as_object_mut() {
                append(container, "volumeMounts", mount);
            }
        }
    }
    if own.is_none() {
        append(spec, "volumes", volume(&name));
    }
}

fn append(fields: &mut Map<String, Value>, list: &str, value: Value) {
    match fields.get_mut(list) {
        Some(Value::Array(list)) => list.push(value),
        _ => drop(fields.insert(list.into(), json!([value]))),
    }
}

/// The volume by which a pod reaches the API.
fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": EXPIRATION_S}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}
