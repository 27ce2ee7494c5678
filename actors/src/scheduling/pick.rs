//! Picking places for one group. Nodes stand in cells: those of one cell are equal but for what is counted per node,
//! so a pick compares the best of each cell and touches one node. What hard spread forbids is left out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use kontiki_hooks::{Defect, planted};

use super::{
    claims,
    filter::{self, Shape},
    group::Group,
    pod_affinity::PodRules,
    reasons::Reason,
    score::{self, Preference},
    spread::{self, Counter},
    view::{Ports, View},
};
use crate::object::{Object, PodDigest, Resources};

/// A node that may take one more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Candidate {
    /// How strongly pods on it draw the next one; the strongest come first.
    pull: Reverse<i64>,
    /// Pods of its like on it; the fewest come first.
    crowd: i64,
    /// Room left; the most comes first.
    room: Reverse<i64>,
    /// The node, in the order of the names.
    node: usize,
}

/// What the nodes of a cell share; in order, the most preferred come first.
type Place = (Reverse<Preference>, Vec<Option<usize>>);

/// Nodes with the same preference and the same domains.
struct Cell {
    preference: Preference,
    /// One per wide counter, then one per wide tally of the pod rules.
    domains: Vec<Option<usize>>,
    candidates: BTreeSet<Candidate>,
}

/// Picks places for the pods of a group.
pub(super) struct Picker<'a> {
    pod: &'a PodDigest,
    shape: Rc<Shape>,
    /// Why each node may not take them for their volumes; none if they have no claims.
    volumes: Option<Vec<Option<Reason>>>,
    /// Counters over domains of many nodes.
    wide: Vec<Counter>,
    /// Counters whose domains are single nodes.
    narrow: Vec<Counter>,
    /// What pods say of each other.
    rules: PodRules,
    /// The most preferred first.
    cells: Vec<Cell>,
}

impl<'a> Picker<'a> {
    /// Prepares a group: asks the filters for every node and sorts those that fit into cells.
    pub(super) fn new(view: &mut View<'a>, group: &Group<'a>) -> Picker<'a> {
        let pod = group.digest();
        let shape = view.shape(pod);
        let counters = spread::counters(view, group, &shape);
        let (narrow, wide) = counters.into_iter().partition(|counter| counter.topology.per_node);
        let rules = PodRules::new(view, group);
        // Pods of one group name the same claims.
        let volumes = claims::refusals(view, group.pods[0]);
        let mut picker = Picker { pod, shape, volumes, wide, narrow, rules, cells: Vec::new() };
        let mut cells: BTreeMap<Place, Vec<Candidate>> = BTreeMap::new();
        let mut at: Place = (Reverse(Preference::default()), Vec::with_capacity(picker.wide.len()));
        for node in 0..view.nodes.len() {
            let verdict = &picker.shape.verdicts[node];
            if verdict.refusal.is_some() || picker.unlabelled(node) || picker.no_volume(node).is_some() {
                continue;
            }
            if !pod.host_ports.is_empty() {
                view.learn_ports(node);
            }
            if let Some(candidate) = picker.candidate(view, node) {
                at.0 = Reverse(verdict.preference);
                at.1.clear();
                at.1.extend(picker.wide.iter().map(|counter| counter.topology.domain(node)));
                let tallies = picker.rules.all().filter(|tally| !tally.topology.per_node);
                at.1.extend(tallies.map(|tally| tally.topology.domain(node)));
                match cells.get_mut(&at) {
                    Some(candidates) => candidates.push(candidate),
                    None => drop(cells.insert(at.clone(), vec![candidate])),
                }
            }
        }
        // A candidate changes only when it is picked, so no more of a cell than there are pods is ever asked for,
        // unless a rule over single nodes may pass some over.
        let passes_over = picker.narrow.iter().any(|counter| counter.hard.is_some());
        let cell = |((Reverse(preference), domains), mut candidates): (_, Vec<Candidate>)| {
            if !passes_over && candidates.len() > group.pods.len() {
                candidates.select_nth_unstable(group.pods.len());
                candidates.truncate(group.pods.len());
            }
            Cell { preference, domains, candidates: candidates.into_iter().collect() }
        };
        picker.cells = cells.into_iter().map(cell).collect();
        picker
    }

    /// The best node for the next pod, which it is given to; none if no node may take it.
    pub(super) fn next(&mut self, view: &mut View<'a>, object: &'a Object) -> Option<usize> {
        let (cell, candidate) = self.best(view)?;
        let node = candidate.node;
        self.cells[cell].candidates.remove(&candidate);
        self.take(view, object, node);
        if let Some(candidate) = self.candidate(view, node) {
            self.cells[cell].candidates.insert(candidate);
        }
        Some(node)
    }

    /// Gives a node to a pod.
    pub(super) fn take(&mut self, view: &mut View<'a>, object: &'a Object, node: usize) {
        view.place(object, self.pod, node);
        self.wide.iter_mut().chain(&mut self.narrow).for_each(|counter| counter.placed(node));
        if self.rules.placed(node) {
            let rules = &self.rules;
            let open = |candidate: &Candidate| filter::pod_affinity::refuses(rules, candidate.node).is_none();
            self.cells.iter_mut().for_each(|cell| cell.candidates.retain(open));
        }
    }

    /// Whether a node may take the group's pods if others make room: what else it lacks, nobody's leaving brings.
    pub(super) fn may_ever(&self, node: usize) -> bool {
        self.shape.verdicts[node].refusal.is_none()
            && !self.unlabelled(node)
            && self.no_volume(node).is_none()
    }

    /// Why its volumes keep the pod from a node, if they do.
    fn no_volume(&self, node: usize) -> Option<&Reason> {
        self.volumes.as_ref()?.get(node)?.as_ref()
    }

    /// Whether a node may take the next pod without these of its pods, when these host ports are still taken.
    pub(super) fn admits_without(
        &self,
        view: &View<'_>,
        group: &Group<'_>,
        node: usize,
        away: &[&Object],
        ports: &Ports,
    ) -> bool {
        let freed = away.iter().filter_map(|object| object.pod()).map(|pod| pod.requests);
        let (pods, freed) = (away.len() as i64, freed.fold(Resources::default(), Resources::plus));
        let at = &view.nodes[node];
        let freed_scalar = |name: &str| -> i64 {
            let theirs = away.iter().filter_map(|object| object.pod()?.scalars.get(name));
            theirs.fold(0, |sum, amount| sum.saturating_add(*amount))
        };
        let enough =
            |name: &str, wanted: i64| wanted <= at.free_scalar(name).saturating_add(freed_scalar(name));
        self.pod.requests.fits_in(at.free.plus(freed))
            && self.pod.scalars.iter().all(|(name, wanted)| enough(name, *wanted))
            && at.free_pods.saturating_add(pods) >= 1
            && filter::ports::refuses(self.pod, ports).is_none()
            && self
                .counters()
                .all(|counter| filter::spread::allows_without(counter, node, counter.of_these(group, away)))
            && self.rules.admits_without(view, group, node, away)
    }

    /// Why a node may not take the next pod; empty if it may.
    pub(super) fn reasons(&self, view: &View<'_>, node: usize) -> Vec<Reason> {
        if let Some(reason) = &self.shape.verdicts[node].refusal {
            return vec![reason.clone()];
        }
        let none = Ports::new();
        let missing = filter::room(self.pod, &view.nodes[node], view.ports(node).unwrap_or(&none));
        if !missing.is_empty() {
            return missing;
        }
        if self.unlabelled(node) {
            return vec![Reason::SpreadLabel];
        }
        if let Some(reason) = self.no_volume(node) {
            return vec![reason.clone()];
        }
        let allows = |counter: &Counter| filter::spread::allows(counter, counter.topology.domain(node));
        if !self.counters().all(allows) {
            return vec![Reason::Spread];
        }
        filter::pod_affinity::refuses(&self.rules, node).into_iter().collect()
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.wide.iter().chain(&self.narrow)
    }

    /// Whether it lacks the label of a hard constraint.
    fn unlabelled(&self, node: usize) -> bool {
        self.counters().any(|counter| counter.hard.is_some() && counter.topology.domain(node).is_none())
    }

    fn candidate(&self, view: &mut View<'_>, node: usize) -> Option<Candidate> {
        view.work.filters += 1;
        if !filter::has_room(self.pod, &view.nodes[node], view.ports(node))
            || filter::pod_affinity::refuses(&self.rules, node).is_some()
        {
            return None;
        }
        view.work.scores += 1;
        let places = self.narrow.iter().map(|counter| (counter, counter.topology.domain(node)));
        let drawn = self.rules.drawn.iter().filter(|tally| tally.topology.per_node);
        Some(Candidate {
            pull: Reverse(score::pod_affinity::pull(drawn, node)),
            crowd: score::spread::crowd(places),
            room: Reverse(score::allocation(self.pod, &view.nodes[node])),
            node,
        })
    }

    /// The best candidate of the best cell: the most preferred, then the most strongly drawn, then the least crowded, then the one
    /// with the most room.
    fn best(&self, view: &mut View<'_>) -> Option<(usize, Candidate)> {
        type Rank = (Reverse<i64>, i64, i64, Reverse<i64>, usize);
        let mut best: Option<(Rank, usize, Candidate)> = None;
        for (index, cell) in self.cells.iter().enumerate() {
            if best.is_some_and(|(_, found, _)| self.cells[found].preference > cell.preference) {
                break;
            }
            view.work.cells += 1;
            // Any of them stands for the domains that they share.
            let Some(Candidate { node, .. }) = cell.candidates.first().copied() else { continue };
            let places = || self.wide.iter().zip(cell.domains.iter().copied());
            if filter::pod_affinity::closed(&self.rules, node)
                || !places().all(|(counter, domain)| filter::spread::allows(counter, domain))
            {
                continue;
            }
            let Some(candidate) = self.first_allowed(cell) else { continue };
            let drawn = self.rules.drawn.iter().filter(|tally| !tally.topology.per_node);
            let pull = score::pod_affinity::pull(drawn, node).saturating_add(candidate.pull.0);
            let crowd = score::spread::crowd(places());
            let rank = (Reverse(pull), crowd, candidate.crowd, candidate.room, candidate.node);
            if best.is_none_or(|(least, _, _)| rank < least) {
                best = Some((rank, index, candidate));
            }
        }
        best.map(|(_, cell, candidate)| (cell, candidate))
    }

    /// The best candidate of a cell that no hard constraint over single nodes forbids.
    fn first_allowed(&self, cell: &Cell) -> Option<Candidate> {
        let allowed = |candidate: &&Candidate| {
            let mut counters = self.narrow.iter();
            counters.all(|counter| filter::spread::allows(counter, counter.topology.domain(candidate.node)))
        };
        if planted(Defect::PlacementByHash) {
            let candidates: std::collections::HashSet<Candidate> = cell.candidates.iter().copied().collect();
            return candidates.into_iter().next();
        }
        match self.narrow.as_slice() {
            // Candidates come in the order of the only counter: when it forbids the first, it forbids all.
            [_] if self.rules.drawn.is_empty() => cell.candidates.first().filter(allowed),
            _ => cell.candidates.iter().find(allowed),
        }
        .copied()
    }
}
