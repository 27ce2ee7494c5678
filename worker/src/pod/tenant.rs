//! A pod as who looks for room on the worker sees it.

use std::sync::Arc;
use std::time::Duration;

use super::document::Pod;
use super::observed::Observed;

/// A pod as who looks for room sees it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// What it is.
    pub pod: Arc<Pod>,
    /// It has ended, or is about to.
    pub ends: bool,
    /// Something of it is here.
    pub stays: bool,
}

impl Tenant {
    pub(super) fn of(pod: &Arc<Pod>, seen: &Observed) -> Tenant {
        let ends = seen.over_before || seen.stop_by_ms().is_some() || seen.outcome(pod).is_some();
        Tenant { pod: pod.clone(), ends, stays: seen.sandbox || seen.leftovers }
    }

    pub(super) fn is(&self, other: &Tenant) -> bool {
        Arc::ptr_eq(&self.pod, &other.pod) && (self.ends, self.stays) == (other.ends, other.stays)
    }
}

/// Why a pod was sent away whose room is wanted.
pub(crate) const EVICTED: &str = "Evicted";

/// The worker takes back the room of a pod, which counts as failed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The reason of its status.
    pub reason: String,
    /// Why, in Kubernetes' words.
    pub message: String,
    /// What its containers get to end.
    pub grace: Duration,
    /// It is no fault of the pod's: its conditions say so, and Jobs need not count it.
    pub disrupts: bool,
}
