//! Whether this worker takes a pod that comes to it: not while it is under pressure, nor when its machine goes down. The scheduler
//! knows of both, but not at once, and not everybody asks it.
//!
//! Source: pkg/kubelet/eviction/eviction_manager.go, Admit, and pkg/kubelet/nodeshutdown.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pod::document::{Pod, Toleration};

const MEMORY_PRESSURE: &str = "MemoryPressure";
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// How it is with the worker.
#[derive(Debug, Default)]
pub struct Admission(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pressures: Vec<String>,
    leaves: bool,
}

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The reason of its status.
    pub(crate) reason: &'static str,
    /// For people, in the kubelet's words.
    pub(crate) message: String,
}

impl Admission {
    /// The pressures that it is under, by their conditions.
    pub(crate) fn press(&self, pressures: &[String]) {
        self.lock().pressures = pressures.to_vec();
    }

    /// Its machine goes down.
    pub(crate) fn leave(&self) {
        self.lock().leaves = true;
    }

    /// Whether its machine goes down.
    pub(crate) fn leaves(&self) -> bool {
        self.lock().leaves
    }

    /// Why a pod is not taken that has not been here before, if so.
    pub(crate) fn refusal(&self, pod: &Pod) -> Option<Refusal> {
        let state = self.lock();
        if state.leaves {
            let message = "Pod was rejected as the node is shutting down.".to_owned();
            return Some(Refusal { reason: "NodeShutdown", message });
        }
        let bears = match state.pressures.as_slice() {
            [] => true,
            _ if pod.is_critical() => true,
            // Whoever has asked for memory may have it.
            [only] if only == MEMORY_PRESSURE => {
                pod.status.qos_class.as_deref() != Some("BestEffort")
                    || pod.spec.tolerations.iter().any(bears_want_of_memory)
            }
            _ => false,
        };
        if bears {
            return None;
        }
        let message = format!("The node had condition: [{}]. ", state.pressures.join(" "));
        Some(Refusal { reason: "Evicted", message })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bears_want_of_memory(toleration: &Toleration) -> bool {
    let Toleration { key, operator, value, effect } = toleration;
    let of_effect = matches!(effect.as_str(), "" | "NoSchedule");
    let of_key = match operator.as_str() {
        "Exists" => key.is_empty() || key == MEMORY_TAINT,
        // The taint has no value.
        _ => key == MEMORY_TAINT && value.is_empty(),
    };
    of_effect && of_key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(spec: &str, class: &str) -> Pod {
        let json = format!(r#"{{"spec":{{{spec}}},"status":{{"qosClass":"{class}"}}}}"#);
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn told(admission: &Admission, pod: &Pod) -> Option<(&'static str, String)> {
        admission.refusal(pod).map(|it| (it.reason, it.message))
    }

    #[test]
    fn under_pressure_only_those_come_who_may() {
        let admission = Admission::default();
        let plain = pod("", "BestEffort");
        assert_eq!(told(&admission, &plain), None);
        admission.press(&["MemoryPressure".to_owned()]);
        let expected = ("Evicted", "The node had condition: [MemoryPressure]. ".to_owned());
        assert_eq!(told(&admission, &plain), Some(expected));
        let bears = pod(
            r#""tolerations":[{"key":"node.kubernetes.io/memory-pressure","operator":"Exists","effect":"NoSchedule"}]"#,
            "BestEffort",
        );
        let other = pod(r#""tolerations":[{"operator":"Exists","effect":"NoExecute"}]"#, "BestEffort");
        let critical = pod(r#""priority":2000001000"#, "BestEffort");
        assert_eq!(told(&admission, &bears), None);
        assert!(told(&admission, &other).is_some());
        for welcome in [&pod("", "Burstable"), &pod("", "Guaranteed"), &critical] {
            assert_eq!(told(&admission, welcome), None);
        }
        admission.press(&["DiskPressure".to_owned(), "MemoryPressure".to_owned()]);
        let expected = ("Evicted", "The node had condition: [DiskPressure MemoryPressure]. ".to_owned());
        assert_eq!(told(&admission, &bears), Some(expected));
        assert_eq!(told(&admission, &critical), None);
        admission.press(&[]);
        assert_eq!(told(&admission, &plain), None);
    }

    #[test]
    fn whose_machine_goes_down_takes_nobody() {
        let admission = Admission::default();
        admission.leave();
        let critical = pod(r#""priority":2000001000"#, "Guaranteed");
        assert_eq!(told(&admission, &critical).unwrap().0, "NodeShutdown");
    }
}
