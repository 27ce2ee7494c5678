//! The indexes, kept by each change: uids, dependents by owner, active pods by owner, pods that ended, pods by node with what they take, pods
//! by label, pods without a place.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::{OrdMap, OrdSet};
use kontiki_hooks::{Defect, planted};

use super::{Id, State};
use crate::object::{Object, ObjectKey, PodDigest, Resources, Scalars, Selector, add_scalars, take_scalars};

/// A uid as a key: a third of its length. Nobody finds two with the same.
pub(super) type UidHash = [u8; 16];

fn uid_hash(uid: &str) -> UidHash {
    let mut half = UidHash::default();
    half.copy_from_slice(&blake3::hash(uid.as_bytes()).as_bytes()[..16]);
    half
}

/// What a node carries.
#[derive(Clone, Default, Debug)]
pub struct NodeUsage {
    /// The sum of the requests of pods that have not ended.
    pub requested: Resources,
    /// The same of scalar resources.
    pub scalars: Scalars,
    /// How many of them there are.
    pub running: i64,
    by_priority: OrdMap<i32, Share>,
    pods: OrdSet<ObjectKey>,
}

/// What the pods of one priority take of a node.
#[derive(Clone, Default, Debug)]
pub struct Share {
    /// The sum of their requests.
    pub requested: Resources,
    /// The same of scalar resources.
    pub scalars: Scalars,
    /// How many they are.
    pub pods: i64,
}

/// The uids of an object's owners.
fn owners(object: Option<&Object>) -> impl Iterator<Item = &str> {
    object.into_iter().flat_map(|object| &object.meta.owners).map(|owner| owner.uid.as_str())
}

/// What a pod takes of its node until it has ended.
#[derive(PartialEq)]
struct Taken<'a> {
    priority: i32,
    requests: Resources,
    scalars: &'a Scalars,
}

/// The node that a pod is on, and what it takes there.
fn place(object: &Object) -> Option<(CompactString, Option<Taken<'_>>)> {
    let pod = object.pod()?;
    let node = pod.node.clone()?;
    let taken = Taken { priority: pod.priority, requests: pod.requests, scalars: &pod.scalars };
    Some((node, (!pod.terminal()).then_some(taken)))
}

/// Namespace, label key, label value.
pub(super) type Label = (CompactString, CompactString, CompactString);

impl NodeUsage {
    /// What its pods take that have not ended, the lowest priority first.
    pub fn by_priority(&self) -> impl Iterator<Item = (i32, &Share)> {
        self.by_priority.iter().map(|(priority, share)| (*priority, share))
    }

    fn take(&mut self, taken: &Taken<'_>) {
        self.requested = self.requested.plus(taken.requests);
        add_scalars(&mut self.scalars, taken.scalars);
        self.running += 1;
        let share = self.by_priority.entry(taken.priority).or_default();
        share.requested = share.requested.plus(taken.requests);
        add_scalars(&mut share.scalars, taken.scalars);
        share.pods += 1;
    }

    fn give_back(&mut self, taken: &Taken<'_>, counted: bool) {
        self.requested = self.requested.minus(taken.requests);
        take_scalars(&mut self.scalars, taken.scalars);
        self.running -= i64::from(counted);
        let Some(share) = self.by_priority.get_mut(&taken.priority) else { return };
        share.requested = share.requested.minus(taken.requests);
        take_scalars(&mut share.scalars, taken.scalars);
        share.pods -= 1;
        if share.pods == 0 {
            self.by_priority.remove(&taken.priority);
        }
    }

    /// All pods placed there, ended ones too.
    pub fn pods(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pods.iter()
    }
}

impl State {
    pub(super) fn key_of(&self, uid: &str) -> Option<&ObjectKey> {
        self.by_uid.get(&uid_hash(uid))
    }

    pub(super) fn replace_references(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let key = match old.or(new) {
            Some(object) => &object.key,
            None => return,
        };
        if old.map(|o| &o.meta.uid) != new.map(|o| &o.meta.uid) {
            if let Some(old) = old {
                self.by_uid.remove(&uid_hash(&old.meta.uid));
            }
            if let Some(new) = new {
                self.by_uid.insert(uid_hash(&new.meta.uid), key.clone());
            }
        }
        if owners(old).eq(owners(new)) {
            return;
        }
        for owner in owners(old) {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(key);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        for owner in owners(new) {
            self.dependents.entry(Id::from(owner)).or_default().insert(key.clone());
        }
    }

    pub(super) fn replace_pod(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let (before, after) = (old.and_then(place), new.and_then(place));
        if before != after {
            for (place, change) in [(&before, -1), (&after, 1)] {
                if let Some((_, Some(taken))) = place {
                    self.count_priority(taken.priority, change);
                }
            }
            if let (Some((node, taken)), Some(old)) = (before, old)
                && let Some(usage) = self.usage.get_mut(&node)
            {
                usage.pods.remove(&old.key);
                if let Some(taken) = taken {
                    usage.give_back(&taken, new.is_some() || !planted(Defect::UsageDrift));
                }
                if usage.pods.is_empty() {
                    self.usage.remove(&node);
                }
            }
            if let (Some((node, taken)), Some(new)) = (after, new) {
                let usage = self.usage.entry(node).or_default();
                usage.pods.insert(new.key.clone());
                if let Some(taken) = taken {
                    usage.take(&taken);
                }
            }
        }
        let counts_for = |o: &Object| {
            o.is_active_pod().then(|| o.meta.controller().map(|owner| Id::from(owner.uid.as_str()))).flatten()
        };
        let (before, after) = (old.and_then(counts_for), new.and_then(counts_for));
        if before != after {
            if let Some(owner) = before
                && let Some(count) = self.active_pods.get_mut(&owner)
            {
                *count -= 1;
                if *count == 0 {
                    self.active_pods.remove(&owner);
                }
            }
            if let Some(owner) = after {
                *self.active_pods.entry(owner).or_default() += 1;
            }
        }
        let ended = |o: &Object| {
            let over = !o.meta.deleting() && o.pod().is_some_and(PodDigest::terminal);
            over.then(|| (o.meta.created_ms, o.key.clone()))
        };
        let (before, after) = (old.and_then(ended), new.and_then(ended));
        if before != after {
            if let Some(pod) = before {
                self.ended.remove(&pod);
            }
            if let Some(pod) = after {
                self.ended.insert(pod);
            }
        }
        let waits = |o: &Object| {
            o.pod().is_some_and(|p| {
                p.node.is_none()
                    && !p.terminal()
                    && !p.gated
                    && p.scheduler == "default-scheduler"
                    && !o.meta.deleting()
            })
        };
        if let Some(new) = new.filter(|o| waits(o)) {
            self.unplaced.insert(new.key.clone());
            let wants = new.pod().is_some_and(PodDigest::wants_others);
            let nominated = new.pod().is_some_and(|pod| pod.nominated.is_some());
            for (set, is_in) in [(&mut self.wanting, wants), (&mut self.nominated, nominated)] {
                if is_in {
                    set.insert(new.key.clone());
                } else if set.contains(&new.key) {
                    set.remove(&new.key);
                }
            }
        } else if let Some(object) = old.or(new).filter(|o| self.unplaced.contains(&o.key)) {
            self.unplaced.remove(&object.key);
            self.wanting.remove(&object.key);
            self.nominated.remove(&object.key);
        }
        if old.map(|o| &o.meta.labels) != new.map(|o| &o.meta.labels) {
            let labels = |o: &Object| -> Vec<Label> {
                let namespace = &o.key.namespace;
                o.meta.labels.iter().map(|(k, v)| (namespace.clone(), k.clone(), v.clone())).collect()
            };
            if let Some(old) = old {
                for label in labels(old) {
                    if let Some(set) = self.labelled.get_mut(&label) {
                        set.remove(&old.key);
                        if set.is_empty() {
                            self.labelled.remove(&label);
                        }
                    }
                }
            }
            if let Some(new) = new {
                for label in labels(new) {
                    self.labelled.entry(Arc::new(label)).or_default().insert(new.key.clone());
                }
            }
        }
    }

    fn count_priority(&mut self, priority: i32, change: i64) {
        let count = self.priorities.entry(priority).or_default();
        *count += change;
        if *count == 0 {
            self.priorities.remove(&priority);
        }
    }

    /// The lowest priority of the pods that hold a place.
    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.get_min().map(|(priority, _)| *priority)
    }

    /// The pods of a namespace that a selector matches: by the rarest of its labels, not by looking at all pods.
    /// A selector without an `In` requirement of one value looks at the namespace's pods.
    pub fn pods_matching<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Selector,
    ) -> impl Iterator<Item = &'a Arc<Object>> + Send + 'a {
        self.pods_to_match(namespace, selector).filter(move |pod| selector.matches(&pod.meta.labels))
    }

    /// The pods that [`State::pods_matching`] looks at.
    pub fn pods_to_match<'a>(
        &'a self,
        namespace: &'a str,
        selector: &Selector,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + Send + 'a> {
        let mut rarest: Option<&OrdSet<ObjectKey>> = None;
        for requirement in selector.requirements() {
            if let ("In", [value]) = (requirement.operator.as_str(), requirement.values.as_slice()) {
                let label = (namespace.into(), requirement.key.clone(), value.clone());
                let Some(set) = self.labelled.get(&label) else { return Box::new(std::iter::empty()) };
                if rarest.is_none_or(|r| set.len() < r.len()) {
                    rarest = Some(set);
                }
            }
        }
        match rarest {
            Some(set) => Box::new(set.iter().filter_map(|key| self.get(key))),
            None => Box::new(self.list(crate::kind::Kind::POD, Some(namespace))),
        }
    }
}
