//! Groups: pods of one template ask the same of a node, so they are planned together and the filters are asked once.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::object::{Object, PodDigest, Uid};

/// Pods of one template.
pub(super) struct Group<'a> {
    /// In the order in which they get places; never empty.
    pub pods: Vec<&'a Object>,
    digest: &'a PodDigest,
}

impl<'a> Group<'a> {
    /// What each of them asks for.
    pub(super) fn digest(&self) -> &'a PodDigest {
        self.digest
    }

    /// The uid of their managing owner.
    pub(super) fn owner(&self) -> Option<&'a Uid> {
        self.pods[0].meta.controller().map(|owner| &owner.uid)
    }

    fn takes(&self, object: &Object, digest: &PodDigest, by_labels: bool) -> bool {
        let (a, b) = (self.digest, digest);
        a.requests == b.requests
            && a.scalars == b.scalars
            && a.claims == b.claims
            && a.host_ports == b.host_ports
            && a.node_selector == b.node_selector
            && a.affinity == b.affinity
            && a.tolerations == b.tolerations
            && a.spread == b.spread
            && a.pod_affinity == b.pod_affinity
            // What others say of a pod goes by its labels.
            && (!by_labels || self.pods[0].meta.labels == object.meta.labels)
            // Pods of one owner may differ in labels; what matters is whether they count themselves.
            && a.spread.iter().all(|constraint| {
                constraint.selector.matches(&self.pods[0].meta.labels) == constraint.selector.matches(&object.meta.labels)
            })
    }
}

/// Groups pods by priority and template. The greatest priority comes first, then the group with the oldest pod; age
/// and name decide, not the order in which the pods are handed over. With `by_labels`, pods of one group have the same labels:
/// needed when pods that have a place bear on those that come.
pub(super) fn groups(mut pods: Vec<&Object>, by_labels: bool) -> Vec<Group<'_>> {
    let by_labels =
        by_labels || pods.iter().any(|object| object.pod().is_some_and(|pod| pod.pod_affinity.is_some()));
    let priority = |object: &Object| object.pod().map_or(0, |pod| pod.priority);
    pods.sort_by_cached_key(|object| (Reverse(priority(object)), object.meta.created_ms, object.key.clone()));
    pods.dedup_by(|a, b| a.key == b.key);
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: BTreeMap<(i32, &str, &str), Vec<usize>> = BTreeMap::new();
    for object in pods {
        let Some(digest) = object.pod() else { continue };
        let owner = object.meta.controller().map_or("", |owner| owner.uid.as_str());
        let alike = known.entry((digest.priority, &object.key.namespace, owner)).or_default();
        match alike.iter().find(|group| groups[**group].takes(object, digest, by_labels)) {
            Some(group) => groups[*group].pods.push(object),
            None => {
                alike.push(groups.len());
                groups.push(Group { pods: vec![object], digest });
            }
        }
    }
    groups
}
