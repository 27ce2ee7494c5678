//! Counters per topology domain: how many pods of one kind each domain holds. Counted once per template, by the
//! index of its owner or its labels, and kept up while its pods are placed.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    filter::{Shape, Verdict},
    group::Group,
    topology::Topology,
    view::View,
};
use crate::object::{Object, Selector, SpreadConstraint};

/// Pods per domain of one topology.
pub(super) struct Counter {
    /// The domains.
    pub topology: Rc<Topology>,
    /// Whether the pods to be placed are of those that are counted.
    pub counts_itself: bool,
    /// What must hold; none for what is only wished for.
    pub hard: Option<Hard>,
    counts: Vec<i64>,
}

/// The rule of a hard constraint.
pub(super) struct Hard {
    /// The largest difference to the emptiest domain.
    pub max_skew: i64,
    selector: Selector,
    min_domains: usize,
    /// Domains with a node that the constraint counts: only they count as empty.
    open: Vec<bool>,
    /// How many open domains hold how many pods, so that the least is known at once.
    histogram: BTreeMap<i64, usize>,
}

impl Counter {
    /// How many a domain holds.
    pub(super) fn at(&self, domain: usize) -> i64 {
        self.counts[domain]
    }

    /// How many the emptiest open domain holds; 0 while there are fewer domains than asked for.
    pub(super) fn least(&self) -> i64 {
        let Some(hard) = &self.hard else { return 0 };
        let domains: usize = hard.histogram.values().sum();
        if domains < hard.min_domains {
            return 0;
        }
        hard.histogram.first_key_value().map_or(0, |(count, _)| *count)
    }

    /// How many of these pods of one node are counted by a hard constraint.
    pub(super) fn of_these(&self, group: &Group<'_>, pods: &[&Object]) -> i64 {
        let Some(hard) = &self.hard else { return 0 };
        let namespace = &group.pods[0].key.namespace;
        let counted = |object: &&&Object| {
            stays(object) && object.key.namespace == *namespace && hard.selector.matches(&object.meta.labels)
        };
        pods.iter().filter(counted).count() as i64
    }

    /// One of the pods to be placed went to a node.
    pub(super) fn placed(&mut self, node: usize) {
        if self.counts_itself {
            self.add(node);
        }
    }

    fn add(&mut self, node: usize) {
        let Some(domain) = self.topology.domain(node) else { return };
        let before = self.counts[domain];
        self.counts[domain] += 1;
        if let Some(hard) = self.hard.as_mut().filter(|hard| hard.open[domain]) {
            if let Some(domains) = hard.histogram.get_mut(&before) {
                *domains -= 1;
                if *domains == 0 {
                    hard.histogram.remove(&before);
                }
            }
            *hard.histogram.entry(before + 1).or_default() += 1;
        }
    }

    fn new(topology: Rc<Topology>, counts_itself: bool, hard: Option<Hard>) -> Counter {
        Counter { counts: vec![0; topology.count], topology, counts_itself, hard }
    }
}

impl Hard {
    fn new(constraint: &SpreadConstraint, topology: &Topology, eligible: &[bool]) -> Hard {
        let mut open = vec![false; topology.count];
        for domain in eligible.iter().enumerate().filter(|(_, e)| **e).filter_map(|(n, _)| topology.domain(n))
        {
            open[domain] = true;
        }
        let domains = open.iter().filter(|open| **open).count();
        let histogram = if domains > 0 { BTreeMap::from([(0, domains)]) } else { BTreeMap::new() };
        let min_domains = usize::try_from(constraint.min_domains.unwrap_or(0)).unwrap_or(0);
        Hard {
            max_skew: constraint.max_skew,
            selector: constraint.selector.clone(),
            min_domains,
            open,
            histogram,
        }
    }
}

/// The counters of a group: those of its own constraints; without any, its owner's pods are spread over zones. Unless
/// a constraint of its own is about single nodes, its owner's pods are spread over nodes besides.
pub(super) fn counters(view: &mut View<'_>, group: &Group<'_>, shape: &Shape) -> Vec<Counter> {
    let pod = group.digest();
    let keys: Vec<Rc<Topology>> = pod.spread.iter().map(|c| view.topology(&c.topology_key)).collect();
    let required: Vec<&Rc<Topology>> =
        pod.spread.iter().zip(&keys).filter(|(constraint, _)| constraint.hard).map(|(_, key)| key).collect();
    let labelled: Vec<bool> =
        (0..view.nodes.len()).map(|node| required.iter().all(|key| key.domain(node).is_some())).collect();
    let mut counters = Vec::new();
    for (constraint, topology) in pod.spread.iter().zip(&keys) {
        // Where no node has the label, a wish is the same for all of them.
        if topology.count == 0 && !constraint.hard {
            continue;
        }
        view.look(view.nodes.len());
        let eligible: Vec<bool> = labelled
            .iter()
            .zip(&shape.verdicts)
            .map(|(labelled, verdict)| *labelled && includes(constraint, verdict))
            .collect();
        let hard = constraint.hard.then(|| Hard::new(constraint, topology, &eligible));
        let counts_itself = constraint.selector.matches(&group.pods[0].meta.labels);
        let mut counter = Counter::new(topology.clone(), counts_itself, hard);
        if topology.count > 0 {
            for node in selected_places(view, group, constraint).into_iter().filter(|node| eligible[*node]) {
                counter.add(node);
            }
        }
        counters.push(counter);
    }
    let Some(owner) = group.owner() else { return counters };
    let mut defaults = Vec::new();
    if pod.spread.is_empty() {
        defaults.push(view.zones());
    }
    if !counters.iter().any(|counter: &Counter| counter.topology.per_node) {
        defaults.push(view.each_node());
    }
    if !defaults.is_empty() {
        let places = owned_places(view, owner);
        for topology in defaults {
            let mut counter = Counter::new(topology, true, None);
            places.iter().for_each(|node| counter.add(*node));
            counters.push(counter);
        }
    }
    counters
}

/// Whether a constraint counts a node, by its policies for affinity and taints.
fn includes(constraint: &SpreadConstraint, verdict: &Verdict) -> bool {
    (constraint.ignores_affinity || verdict.selected) && !(constraint.honors_taints && verdict.tainted)
}

/// A pod that holds a place for good: not one that ended or is on its way out.
fn stays(object: &Object) -> bool {
    !object.meta.deleting() && object.pod().is_some_and(|pod| !pod.terminal())
}

fn place_of(view: &View<'_>, object: &Object) -> Option<usize> {
    let node = object.pod()?.node.as_ref().filter(|_| stays(object))?;
    view.node(node)
}

fn selected_places(view: &View<'_>, group: &Group<'_>, constraint: &SpreadConstraint) -> Vec<usize> {
    let namespace = &group.pods[0].key.namespace;
    let standing = view.state.pods_to_match(namespace, &constraint.selector);
    let given = view.placed().inspect(|_| view.look(1)).filter(|(object, _)| {
        object.key.namespace == *namespace && constraint.selector.matches(&object.meta.labels)
    });
    let standing =
        standing.inspect(|_| view.look(1)).filter(|object| constraint.selector.matches(&object.meta.labels));
    let standing = standing.filter_map(|object| place_of(view, object));
    standing.chain(given.map(|(_, node)| node)).collect()
}

fn owned_places(view: &View<'_>, owner: &str) -> Vec<usize> {
    let owned = |object: &Object| object.meta.controller().is_some_and(|reference| reference.uid == owner);
    let standing = view.state.dependents(owner).filter(|object| owned(object));
    let given = view.placed().filter(|(object, _)| owned(object));
    standing.filter_map(|object| place_of(view, object)).chain(given.map(|(_, node)| node)).collect()
}
