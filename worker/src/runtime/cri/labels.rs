//! How what this worker runs is found again in a daemon that others use, too.
//!
//! Pods and containers carry the labels that Kubernetes gives them, by which people and their tools know them, and one that
//! says whose they are. Nothing without it is ever touched.

use std::collections::HashMap;
use std::path::Path;

use kontiki_proto::cri;
use sha2::{Digest, Sha256};

use super::super::{ContainerSpec, ImageRef, PodSandbox};

const WORKER: &str = "kontiki.io/worker";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotations of containers: what was asked for and cannot be seen in what came of it.
const IMAGE: &str = "kontiki.io/image";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const FROM_LOG: &str = "FallbackToLogsOnError";
/// What of the hash names a worker: two on one machine do not get the same.
const WORKER_BYTES: usize = 8;

/// The label of the worker whose data is there.
pub(super) fn worker(data_dir: &Path) -> String {
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    hash.iter().take(WORKER_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Whatever is of this worker.
pub(super) fn of_worker(worker: &str) -> HashMap<String, String> {
    HashMap::from([(WORKER.to_owned(), worker.to_owned())])
}

/// Whatever is of one of its pods.
pub(super) fn of_pod(worker: &str, uid: &str) -> HashMap<String, String> {
    let mut labels = of_worker(worker);
    labels.insert(POD_UID.to_owned(), uid.to_owned());
    labels
}

/// The labels of a pod.
pub(super) fn pod(worker: &str, pod: &PodSandbox) -> HashMap<String, String> {
    let mut labels = of_pod(worker, &pod.uid);
    labels.insert(POD_NAME.to_owned(), pod.name.clone());
    labels.insert(POD_NAMESPACE.to_owned(), pod.namespace.clone());
    labels
}

/// Those of one of its containers.
pub(super) fn container(of_pod: &HashMap<String, String>, name: &str) -> HashMap<String, String> {
    let mut labels = of_pod.clone();
    labels.insert(CONTAINER_NAME.to_owned(), name.to_owned());
    labels
}

/// The uid of the pod that something is of.
pub(super) fn uid(labels: &HashMap<String, String>) -> &str {
    labels.get(POD_UID).map(String::as_str).unwrap_or_default()
}

/// What a container is to remember.
pub(super) fn annotations(spec: &ContainerSpec) -> HashMap<String, String> {
    let policy = if spec.termination_message_from_log { FROM_LOG } else { "File" };
    HashMap::from([
        (IMAGE.to_owned(), serde_json::to_string(&spec.image).unwrap_or_default()),
        (RESTART_COUNT.to_owned(), spec.attempt.to_string()),
        (MESSAGE_POLICY.to_owned(), policy.to_owned()),
    ])
}

/// The image that a container runs. One that somebody has cleared of its annotations has only the daemon's word.
pub(super) fn image(status: &cri::ContainerStatus) -> ImageRef {
    let kept = status.annotations.get(IMAGE).and_then(|json| serde_json::from_str(json).ok());
    kept.unwrap_or_else(|| ImageRef {
        name: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        digest: status.image_ref.rsplit('@').next().unwrap_or_default().to_owned(),
        size_bytes: 0,
    })
}

/// Whether the end of its log stands for the message that a container did not leave.
pub(super) fn message_from_log(status: &cri::ContainerStatus) -> bool {
    status.annotations.get(MESSAGE_POLICY).is_some_and(|policy| policy == FROM_LOG)
}
