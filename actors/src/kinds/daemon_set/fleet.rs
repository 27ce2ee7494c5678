//! A daemon set's pods by the nodes that they are on, or are meant for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use compact_str::CompactString;

use super::nodes::{Verdict, verdict};
use crate::{
    kind::Kind,
    kinds::{claim, history},
    object::{DaemonSetDigest, Object, PodDigest},
    turn::Turn,
};

/// The label by which pods name the generation of the template that they are of.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";
/// Where a daemon set says which generation its template is.
pub(super) const GENERATION: &str = "deprecated.daemonset.template.generation";

/// What is wanted of a node, and the pods for it, the oldest first.
pub(super) struct Station {
    /// The wish.
    pub verdict: Verdict,
    /// The pods; those that leave and those that ended, too.
    pub pods: Vec<Arc<Object>>,
}

/// The pods of a daemon set by node.
pub(super) struct Fleet {
    /// Every node on which there is a pod or is to be one, by name.
    pub stations: BTreeMap<CompactString, Station>,
    /// Pods without a place that are meant for nodes that do not exist.
    pub stranded: Vec<Arc<Object>>,
    hash: String,
    generation: Option<String>,
}

impl Fleet {
    /// Sorts a set's pods; the hash is that of the present template.
    pub(super) fn new(
        turn: &Turn,
        me: &Object,
        spec: &DaemonSetDigest,
        hash: &str,
        pods: Vec<Arc<Object>>,
    ) -> Fleet {
        let mut by_node: BTreeMap<CompactString, Vec<Arc<Object>>> = BTreeMap::new();
        for pod in pods {
            // Who has ended and is only held by a finalizer is there no more.
            let over = pod.meta.deleting() && pod.pod().is_some_and(PodDigest::terminal);
            if let Some(node) = pod.pod().and_then(target).filter(|_| !over) {
                by_node.entry(node).or_default().push(pod);
            }
        }
        let mut stations = BTreeMap::new();
        for node in turn.state().list(Kind::NODE, None) {
            let verdict = verdict(spec, node);
            let mut pods = by_node.remove(&node.key.name).unwrap_or_default();
            if verdict.runs || !pods.is_empty() {
                let placed = |pod: &Arc<Object>| pod.pod().is_some_and(|digest| digest.node.is_some());
                pods.sort_by_cached_key(|pod| (!placed(pod), pod.meta.created_ms, pod.key.name.clone()));
                stations.insert(node.key.name.clone(), Station { verdict, pods });
            }
        }
        let waits = |pod: &Arc<Object>| pod.pod().is_some_and(|digest| digest.node.is_none());
        let stranded = by_node.into_values().flatten().filter(waits).collect();
        let generation = me.meta.annotations.get(GENERATION).cloned();
        Fleet { stations, stranded, hash: hash.into(), generation }
    }

    /// The same after something changed.
    pub(super) fn anew(self, turn: &Turn, me: &Object, spec: &DaemonSetDigest) -> Fleet {
        Fleet::new(turn, me, spec, &self.hash, claim::owned(turn, me, Kind::POD))
    }

    /// How many nodes are to run a pod.
    pub(super) fn wanted(&self) -> i64 {
        let wanted = self.stations.values().filter(|station| station.verdict.runs).count();
        i64::try_from(wanted).unwrap_or(i64::MAX)
    }

    /// Whether a pod is of the present template.
    pub(super) fn is_new(&self, pod: &Object) -> bool {
        let label = |key: &str| pod.meta.labels.get(key).map(CompactString::as_str);
        label(history::HASH_LABEL) == Some(&self.hash)
            || (self.generation.is_some() && label(GENERATION_LABEL) == self.generation.as_deref())
    }

    /// The hashes of all templates that a pod is of.
    pub(super) fn hashes(&self) -> BTreeSet<CompactString> {
        let pods = self.stations.values().flat_map(|station| &station.pods);
        pods.filter_map(|pod| pod.meta.labels.get(history::HASH_LABEL).cloned()).collect()
    }
}

/// The node that a pod is on, or is meant for.
pub(crate) fn target(pod: &PodDigest) -> Option<CompactString> {
    let named = || {
        let terms = pod.affinity.required.iter().flatten();
        let names = terms.flat_map(|term| &term.fields).filter(|r| r.key == "metadata.name");
        names.filter(|r| r.operator == "In").find_map(|r| match r.values.as_slice() {
            [name] => Some(name.clone()),
            _ => None,
        })
    };
    pod.node.clone().or_else(named)
}
