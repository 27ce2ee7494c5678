//! Volumes: nothing of the host (baseline), and only those that need no rights of their own (restricted).

use serde_json::Value;

use super::{Pod, Texts, Violation, plural, quoted};
use crate::pod_security::pod::{items, name};

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// What else there is, in the order in which it is looked for.
const OTHERS: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn has(volume: &Value, source: &str) -> bool {
    volume.get(source).is_some_and(|source| !source.is_null())
}

/// `volume "a"`, `volumes "a", "b"`.
fn named(volumes: &[&Value]) -> String {
    format!("{} {}", plural("volume", volumes.len()), quoted(volumes.iter().map(|volume| name(volume))))
}

pub(super) fn host_path(pod: Pod<'_>) -> Option<Violation> {
    let bad: Vec<&Value> = items(&pod.spec["volumes"]).filter(|volume| has(volume, "hostPath")).collect();
    if bad.is_empty() {
        return None;
    }
    Violation::new("hostPath volumes", named(&bad))
}

pub(super) fn restricted(pod: Pod<'_>) -> Option<Violation> {
    let allowed = |volume: &Value| ALLOWED.iter().any(|source| has(volume, source));
    let bad: Vec<&Value> = items(&pod.spec["volumes"]).filter(|volume| !allowed(volume)).collect();
    if bad.is_empty() {
        return None;
    }
    let kind = |volume: &&Value| OTHERS.into_iter().find(|source| has(volume, source)).unwrap_or("unknown");
    let kinds: Texts<'_> = bad.iter().map(kind).collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    let word = plural("restricted volume type", kinds.len());
    Violation::new("restricted volume types", format!("{} {uses} {word} {}", named(&bad), quoted(kinds)))
}
