//! Workers' reports on their pods.

use kontiki_hooks::{Defect, planted};
use serde_json::{Value, json};

use super::Turn;
use crate::{
    input::PodReport,
    kind::Kind,
    kinds::storage,
    object::{Object, ObjectKey},
};

/// Conditions that the cluster writes, not the worker: a report does not take them away.
const KEPT_CONDITIONS: [&str; 2] = ["PodScheduled", "DisruptionTarget"];
/// Status fields that the cluster writes.
const KEPT_FIELDS: [&str; 2] = ["qosClass", "nominatedNodeName"];

impl Turn {
    /// Takes a report in. One about a pod that is not (or no longer) this node's is not listened to.
    pub(super) fn report(&mut self, report: &PodReport) {
        if report.namespace.is_empty() {
            return storage::folder_gone(self, report);
        }
        let key = ObjectKey::new(Kind::POD, &report.namespace, &report.name);
        let Some(pod) = self.state.get(&key).cloned() else { return };
        let own = pod.pod().is_some_and(|p| p.node.as_ref() == Some(&report.node));
        if pod.meta.uid != report.uid || !(own || planted(Defect::ReportOfAnother)) {
            return;
        }
        for note in &report.events {
            self.note(&pod, note, "kubelet", &report.node);
        }
        if !report.status.is_empty()
            && let Ok(status) = serde_json::from_slice::<Value>(&report.status)
            && status.is_object()
        {
            // What has ended does not come back: its room may be another's by now.
            let ended = pod.pod().is_some_and(|p| p.terminal());
            if !ended || matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
                let status = merge(&pod, status);
                self.put_status(&pod, status);
            }
        }
        if report.gone && pod.meta.deleting() {
            let pod = self.state.get(&key).cloned().unwrap_or(pod);
            self.pod_gone(&pod);
        }
    }
}

fn merge(pod: &Object, mut status: Value) -> Value {
    let old = pod.document.status_value();
    for field in KEPT_FIELDS {
        if let Some(value) = old.get(field)
            && status.get(field).is_none()
        {
            status[field] = value.clone();
        }
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(list) = status["conditions"].as_array_mut() {
        for kept in old["conditions"].as_array().into_iter().flatten() {
            if KEPT_CONDITIONS.iter().any(|t| kept["type"] == *t) {
                list.retain(|c| c["type"] != kept["type"]);
                list.push(kept.clone());
            }
        }
    }
    status
}
