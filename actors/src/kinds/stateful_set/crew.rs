//! The pods of a set by ordinal.

use std::{collections::BTreeMap, sync::Arc};

use super::identity::{in_range, ordinal};
use crate::{
    kinds::history::HASH_LABEL,
    object::{Object, StatefulSetDigest},
};

/// The pods of a set.
pub(super) struct Crew {
    /// Those that the set has, by ordinal; those that leave are there until they are gone.
    pub members: BTreeMap<i64, Arc<Object>>,
    /// Those beyond its size, the highest ordinal first.
    pub condemned: Vec<(i64, Arc<Object>)>,
}

impl Crew {
    /// Sorts a set's pods.
    pub(super) fn new(me: &Object, spec: &StatefulSetDigest, pods: Vec<Arc<Object>>) -> Crew {
        let mut crew = Crew { members: BTreeMap::new(), condemned: Vec::new() };
        for pod in pods {
            match ordinal(me, &pod) {
                Some(ordinal) if in_range(spec, ordinal) => drop(crew.members.insert(ordinal, pod)),
                Some(ordinal) => crew.condemned.push((ordinal, pod)),
                None => {}
            }
        }
        crew.condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        crew
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.members.values().chain(self.condemned.iter().map(|(_, pod)| pod))
    }
}

/// The name of the revision that a pod is of.
pub(super) fn revision(pod: &Object) -> &str {
    pod.meta.labels.get(HASH_LABEL).map_or("", |label| label.as_str())
}

/// Whether a pod runs and is ready.
pub(super) fn ready(pod: &Object) -> bool {
    pod.pod().is_some_and(|digest| digest.phase == "Running" && digest.ready)
}

/// Whether a pod has been ready for long enough.
pub(super) fn available(pod: &Object, spec: &StatefulSetDigest, now_ms: i64) -> bool {
    ready(pod) && pod.pod().is_some_and(|digest| digest.available(spec.min_ready_s, now_ms))
}

/// Whether a pod is available and stays.
pub(super) fn healthy(pod: &Object, spec: &StatefulSetDigest, now_ms: i64) -> bool {
    !pod.meta.deleting() && available(pod, spec, now_ms)
}
