//! What pods say of each other, worked out once per template, in pods per topology domain, and kept up while its pods are placed:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>. Pods on their
//! way out count until they are gone, as in Kubernetes.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use compact_str::CompactString;

use super::{group::Group, topology::Topology, view::View};
use crate::{
    kind::Kind,
    object::{Object, ObjectKey, PodAffinity, PodTerm},
    state::{Pull, StandingTerm, State},
};

/// Numbers per domain of one topology.
pub(super) struct Tally {
    /// The domains.
    pub topology: Rc<Topology>,
    /// The label that makes them.
    key: CompactString,
    /// What one more pod of the group adds to the domain that it goes to.
    grows: i64,
    counts: Vec<i64>,
}

/// The rules of one group.
#[derive(Default)]
pub(super) struct PodRules {
    /// Pods that all required terms select, per topology: some must be in the domain.
    pub wanted: Vec<Tally>,
    /// Nobody is selected anywhere yet, and the group's pods select themselves: the first of them may go wherever the labels are.
    pub first: bool,
    /// Pods that the group's own required anti-affinity selects: none may be in the domain.
    pub avoided: Vec<Tally>,
    /// Pods whose required anti-affinity selects those of the group: none may be in the domain.
    pub barred: Vec<Tally>,
    /// The sum of the weights that draw the group's pods into the domain.
    pub drawn: Vec<Tally>,
}

impl Tally {
    fn new(view: &mut View<'_>, key: &CompactString) -> Tally {
        let topology = view.topology(key);
        Tally { counts: vec![0; topology.count], topology, key: key.clone(), grows: 0 }
    }

    /// The number of a node's domain; none if it is in no domain.
    pub(super) fn at(&self, node: usize) -> Option<i64> {
        self.topology.domain(node).map(|domain| self.counts[domain])
    }

    fn add(&mut self, node: usize, amount: i64) {
        if let Some(domain) = self.topology.domain(node) {
            self.counts[domain] = self.counts[domain].saturating_add(amount);
        }
    }
}

impl PodRules {
    /// The rules of a group: what its pods say of those that have a place, and what those say of its pods.
    pub(super) fn new(view: &mut View<'_>, group: &Group<'_>) -> PodRules {
        let mut rules = PodRules::default();
        let example = group.pods[0];
        let mut draws = Tallies::default();
        if let Some(own) = &group.digest().pod_affinity {
            rules.wants(view, own, example);
            rules.avoids(view, own, example);
            draws = PodRules::wishes(view, own, example);
        }
        rules.is_borne_on(view, example, draws);
        view.look(rules.all().count().saturating_mul(view.nodes.len()));
        rules
    }

    /// All tallies, in a fixed order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Tally> {
        self.wanted.iter().chain(&self.avoided).chain(&self.barred).chain(&self.drawn)
    }

    /// One of the group's pods went to a node. Says whether nodes that were open to the first of them are closed to the others now.
    pub(super) fn placed(&mut self, node: usize) -> bool {
        let tallies = self.wanted.iter_mut().chain(&mut self.avoided).chain(&mut self.barred);
        tallies.chain(&mut self.drawn).for_each(|tally| tally.add(node, tally.grows));
        std::mem::take(&mut self.first)
    }

    /// Whether the rules let the next pod go to a node without some of the pods there.
    pub(super) fn admits_without(
        &self,
        view: &View<'_>,
        group: &Group<'_>,
        node: usize,
        away: &[&Object],
    ) -> bool {
        let (state, example) = (view.state, group.pods[0]);
        let own = group.digest().pod_affinity.as_deref();
        let left = |tally: &Tally, counted: &dyn Fn(&Object) -> usize| {
            let gone: usize = away.iter().map(|object| counted(object)).sum();
            tally.at(node).map(|count| count - gone as i64)
        };
        let selected = |terms: &[PodTerm], key: &str, object: &Object| {
            terms.iter().filter(|term| term.topology_key == key && selects(state, term, object)).count()
        };
        let followed = |object: &Object| {
            usize::from(own.is_some_and(|own| own.required.iter().all(|term| selects(state, term, object))))
        };
        let avoided = |key: &str, object: &Object| own.map_or(0, |own| selected(&own.anti, key, object));
        let barring = |key: &str, object: &Object| {
            let theirs = object.pod().and_then(|pod| pod.pod_affinity.as_deref());
            theirs.map_or(0, |theirs| selected(&theirs.anti, key, example))
        };
        self.wanted.iter().all(|tally| left(tally, &followed).is_some_and(|count| count > 0 || self.first))
            && self
                .avoided
                .iter()
                .all(|t| left(t, &|object| avoided(&t.key, object)).is_none_or(|count| count <= 0))
            && self
                .barred
                .iter()
                .all(|t| left(t, &|object| barring(&t.key, object)).is_none_or(|count| count <= 0))
    }

    fn wants(&mut self, view: &mut View<'_>, own: &PodAffinity, example: &Object) {
        let Some(rarest) = own.required.first() else { return };
        let all = |object: &Object| {
            view.look(own.required.len());
            own.required.iter().all(|term| selects(view.state, term, object))
        };
        let places: Vec<usize> =
            selected(view, rarest).filter(|(object, _)| all(object)).map(|(_, node)| node).collect();
        let itself = all(example);
        self.first = places.is_empty() && itself;
        // Terms of one topology count the same pods: those that all terms select.
        let keys: BTreeSet<&CompactString> = own.required.iter().map(|term| &term.topology_key).collect();
        for key in keys {
            let mut tally = Tally::new(view, key);
            places.iter().for_each(|node| tally.add(*node, 1));
            tally.grows = i64::from(itself);
            self.wanted.push(tally);
        }
    }

    fn avoids(&mut self, view: &mut View<'_>, own: &PodAffinity, example: &Object) {
        let mut tallies = Tallies::default();
        for term in &own.anti {
            let places: Vec<usize> = selected(view, term).map(|(_, node)| node).collect();
            let tally = tallies.of(view, &term.topology_key);
            places.iter().for_each(|node| tally.add(*node, 1));
            tally.grows += i64::from(selects(view.state, term, example));
        }
        self.avoided = tallies.some();
    }

    /// Where the group's own wishes draw it.
    fn wishes(view: &mut View<'_>, own: &PodAffinity, example: &Object) -> Tallies {
        let mut tallies = Tallies::default();
        for (weight, term) in &own.preferred {
            let places: Vec<usize> = selected(view, term).map(|(_, node)| node).collect();
            let tally = tallies.of(view, &term.topology_key);
            places.iter().for_each(|node| tally.add(*node, *weight));
            if selects(view.state, term, example) {
                tally.grows = tally.grows.saturating_add(*weight);
            }
        }
        tallies
    }

    /// What the terms of pods that have a place, or get one by this plan, say of the group's pods.
    fn is_borne_on(&mut self, view: &mut View<'_>, example: &Object, mut draws: Tallies) {
        let mut bars = Tallies::default();
        let state = view.state;
        view.look(state.standing_terms_count());
        for (standing, nodes) in state.standing_terms().filter(|(s, _)| selects(state, &s.term, example)) {
            let nodes: Vec<(usize, i64)> = nodes
                .filter_map(|(node, count)| {
                    Some((view.node(node)?, i64::try_from(count).unwrap_or(i64::MAX)))
                })
                .collect();
            view.look(nodes.len());
            let (tally, weight) = standing.tally(view, &mut bars, &mut draws);
            nodes.iter().for_each(|(node, count)| tally.add(*node, weight.saturating_mul(*count)));
        }
        for (affinity, nodes) in &view.placed_with_terms().to_vec() {
            view.look(count(affinity));
            for standing in StandingTerm::of(affinity).filter(|s| selects(state, &s.term, example)) {
                let (tally, weight) = standing.tally(view, &mut bars, &mut draws);
                nodes.iter().for_each(|node| tally.add(*node, weight));
            }
        }
        // The first of the group bear on those after them.
        if let Some(own) = example.pod().and_then(|pod| pod.pod_affinity.as_ref()) {
            for standing in StandingTerm::of(own).filter(|s| selects(state, &s.term, example)) {
                let (tally, weight) = standing.tally(view, &mut bars, &mut draws);
                tally.grows = tally.grows.saturating_add(weight);
            }
        }
        (self.barred, self.drawn) = (bars.some(), draws.some());
    }
}

/// Tallies by the label of their topology.
#[derive(Default)]
struct Tallies(BTreeMap<CompactString, Tally>);

impl Tallies {
    fn of(&mut self, view: &mut View<'_>, key: &CompactString) -> &mut Tally {
        self.0.entry(key.clone()).or_insert_with(|| Tally::new(view, key))
    }

    /// Those that say something, or will.
    fn some(self) -> Vec<Tally> {
        self.0
            .into_values()
            .filter(|tally| tally.topology.count > 0)
            .filter(|tally| tally.grows != 0 || tally.counts.iter().any(|n| *n != 0))
            .collect()
    }
}

impl StandingTerm {
    /// Where it is to be added up, and by how much.
    fn tally<'t>(
        &self,
        view: &mut View<'_>,
        bars: &'t mut Tallies,
        draws: &'t mut Tallies,
    ) -> (&'t mut Tally, i64) {
        match self.pull {
            Pull::Bars => (bars.of(view, &self.term.topology_key), 1),
            Pull::Draws(weight) => (draws.of(view, &self.term.topology_key), weight),
        }
    }
}

/// How many terms a pod has.
fn count(affinity: &PodAffinity) -> usize {
    affinity.required.len() + affinity.anti.len() + affinity.preferred.len()
}

fn namespace<'a>(state: &'a State, name: &str) -> Option<&'a Object> {
    state.get(&ObjectKey::new(Kind::NAMESPACE, "", name)).map(|namespace| &**namespace)
}

/// Whether a pod must be near pods like this other one: when that gets a place, it may find one, too.
pub fn wants(state: &State, pod: &Object, other: &Object) -> bool {
    let affinity = pod.pod().and_then(|pod| pod.pod_affinity.as_ref());
    affinity.is_some_and(|affinity| affinity.required.iter().any(|term| selects(state, term, other)))
}

fn selects(state: &State, term: &PodTerm, object: &Object) -> bool {
    let own = &object.key.namespace;
    term.matches(own, &object.meta.labels, || namespace(state, own).map(|namespace| &namespace.meta.labels))
}

/// The pods that a term selects and that hold a place, or get one by this plan, with their nodes.
fn selected<'v>(view: &'v View<'_>, term: &'v PodTerm) -> impl Iterator<Item = (&'v Object, usize)> {
    let by_label = term.namespace_selector.as_ref().into_iter().flat_map(|selector| {
        let namespaces = view.state.list(Kind::NAMESPACE, None);
        namespaces
            .inspect(|_| view.look(1))
            .filter(|namespace| selector.matches(&namespace.meta.labels))
            .map(|namespace| namespace.key.name.as_str())
    });
    let mut namespaces: Vec<&str> =
        term.namespaces.iter().map(CompactString::as_str).chain(by_label).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let standing =
        namespaces.into_iter().flat_map(|namespace| view.state.pods_to_match(namespace, &term.selector));
    let standing = standing.inspect(|_| view.look(1)).filter_map(|object| {
        let node = object.pod().filter(|pod| !pod.terminal())?.node.as_ref()?;
        if !term.selector.matches(&object.meta.labels) {
            return None;
        }
        Some((&**object, view.node(node)?))
    });
    let given = view.placed().inspect(|_| view.look(1));
    standing.chain(given.filter(|(object, _)| selects(view.state, term, object)))
}

#[cfg(test)]
mod tests;
