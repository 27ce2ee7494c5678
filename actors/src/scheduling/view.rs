//! The planner's own view of a state: nodes with what is free on them, less what the plan gave away already.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use compact_str::CompactString;
use kontiki_hooks::{Defect, planted};

use super::{filter::Shape, group::Group, preempt::budgets::Budgets, topology::Topology};
use crate::{
    kind::Kind,
    object::{NodeDigest, Object, ObjectKey, PodAffinity, PodDigest, Resources},
    state::State,
};

/// Templates whose verdicts on all nodes are kept: enough for the templates of one plan, a bound on its memory.
const SHAPES_LIMIT: usize = 32;

/// How much work a plan was, in steps that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Filters asked, per template or placement and node.
    pub filters: u64,
    /// Nodes scored.
    pub scores: u64,
    /// Topology cells looked at.
    pub cells: u64,
}

/// Host ports in use: protocol and number.
pub(super) type Ports = BTreeSet<(CompactString, u16)>;

/// A node and what is free on it.
#[derive(Debug)]
pub(super) struct NodeView<'a> {
    /// The node.
    pub object: &'a Object,
    /// Its digest.
    pub digest: &'a NodeDigest,
    /// What is free of its resources.
    pub free: Resources,
    /// How many pods more it may hold.
    pub free_pods: i64,
}

impl<'a> NodeView<'a> {
    /// A node as the state has it; none if the object is no node.
    pub(super) fn new(state: &State, object: &'a Object) -> Option<NodeView<'a>> {
        let digest = object.node()?;
        let (mut requested, running) =
            state.usage(&object.key.name).map(|u| (u.requested, u.running)).unwrap_or_default();
        if planted(Defect::CapacityForgotten) {
            requested.cpu_milli = 0;
        }
        let free = digest.allocatable.minus(requested);
        Some(NodeView { object, digest, free, free_pods: digest.max_pods.saturating_sub(running) })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'a CompactString {
        &self.object.key.name
    }
}

/// The view.
pub(super) struct View<'a> {
    /// The state it started from.
    pub state: &'a State,
    /// Every node, by name.
    pub nodes: Vec<NodeView<'a>>,
    /// The work so far.
    pub work: Work,
    placed: Vec<(&'a Object, usize)>,
    terms: Vec<(&'a PodAffinity, usize)>,
    leaving: BTreeSet<&'a ObjectKey>,
    /// Who may leave without harm.
    pub(super) budgets: Budgets<'a>,
    /// What is set aside for pods for which room is being made: their node, and what they need.
    reserved: BTreeMap<&'a ObjectKey, (usize, Resources)>,
    ports: BTreeMap<usize, Ports>,
    topologies: BTreeMap<CompactString, Rc<Topology>>,
    zones: Option<Rc<Topology>>,
    each: Option<Rc<Topology>>,
    shapes: Vec<Rc<Shape>>,
}

impl<'a> View<'a> {
    /// The view of a state.
    pub(super) fn new(state: &'a State) -> View<'a> {
        let nodes = state.list(Kind::NODE, None).filter_map(|node| NodeView::new(state, node)).collect();
        View {
            state,
            nodes,
            work: Work::default(),
            placed: Vec::new(),
            terms: Vec::new(),
            leaving: BTreeSet::new(),
            budgets: Budgets::default(),
            reserved: BTreeMap::new(),
            ports: BTreeMap::new(),
            topologies: BTreeMap::new(),
            zones: None,
            each: None,
            shapes: Vec::new(),
        }
    }

    /// The node of a name.
    pub(super) fn node(&self, name: &str) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.name().as_str().cmp(name)).ok()
    }

    /// Gives a place to a pod.
    pub(super) fn place(&mut self, object: &'a Object, pod: &'a PodDigest, node: usize) {
        let view = &mut self.nodes[node];
        view.free = view.free.minus(pod.requests);
        view.free_pods -= 1;
        if !pod.host_ports.is_empty() {
            self.learn_ports(node);
            self.ports.entry(node).or_default().extend(pod.host_ports.iter().cloned());
        }
        self.placed.push((object, node));
        self.terms.extend(pod.pod_affinity.as_deref().map(|affinity| (affinity, node)));
    }

    /// Sets aside what is needed by pods for which room is being made, for those of lower priority or the same; what a group itself
    /// needs it may have.
    pub(super) fn reserve_for(&mut self, group: &Group<'a>) {
        let before = |object: &Object| {
            let priority = object.pod().map_or(0, |pod| pod.priority);
            priority >= group.digest().priority && !group.pods.iter().any(|own| own.key == object.key)
        };
        let state = self.state;
        let nominated = state.nominated().filter_map(|key| state.get(key)).filter(|object| before(object));
        let wanted: BTreeMap<&'a ObjectKey, (usize, Resources)> = nominated
            .filter(|object| !self.placed.iter().any(|(placed, _)| placed.key == object.key))
            .filter_map(|object| {
                let pod = object.pod()?;
                Some((&object.key, (self.node(pod.nominated.as_ref()?)?, pod.requests)))
            })
            .collect();
        for (node, requests) in std::mem::take(&mut self.reserved).into_values() {
            self.nodes[node].free = self.nodes[node].free.plus(requests);
            self.nodes[node].free_pods += 1;
        }
        for (node, requests) in wanted.values() {
            self.nodes[*node].free = self.nodes[*node].free.minus(*requests);
            self.nodes[*node].free_pods -= 1;
        }
        self.reserved = wanted;
    }

    /// These pods are sent away by this plan; what they have is not free before they are gone.
    pub(super) fn leave(&mut self, pods: &[&'a Object]) {
        self.leaving.extend(pods.iter().map(|pod| &pod.key));
    }

    /// Whether a pod is on its way out, by this plan or before.
    pub(super) fn leaves(&self, pod: &Object) -> bool {
        pod.meta.deleting() || self.leaving.contains(&pod.key)
    }

    /// Pods that this plan has placed so far, and where.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&'a Object, usize)> {
        self.placed.iter().copied()
    }

    /// What the pods that this plan has placed say of others, and where.
    pub(super) fn placed_with_terms(&self) -> impl Iterator<Item = (&'a PodAffinity, usize)> {
        self.terms.iter().copied()
    }

    /// Whether any pod with a place may bear on those that come.
    pub(super) fn no_terms_stand(&self) -> bool {
        self.state.no_terms_stand() && self.terms.is_empty()
    }

    /// Learns which host ports a node's pods use; asked for by templates that want some, so by few.
    pub(super) fn learn_ports(&mut self, node: usize) {
        if !self.ports.contains_key(&node) {
            self.ports.insert(node, ports_on(self.state, self.nodes[node].name()));
        }
    }

    /// The host ports in use on a node, if they were learnt.
    pub(super) fn ports(&self, node: usize) -> Option<&Ports> {
        self.ports.get(&node)
    }

    /// The domains of a label.
    pub(super) fn topology(&mut self, key: &CompactString) -> Rc<Topology> {
        let nodes = &self.nodes;
        let make = || Rc::new(Topology::by_label(nodes, key));
        self.topologies.entry(key.clone()).or_insert_with(make).clone()
    }

    /// The zones.
    pub(super) fn zones(&mut self) -> Rc<Topology> {
        self.zones.get_or_insert_with(|| Rc::new(Topology::by_zone(&self.nodes))).clone()
    }

    /// Every node on its own.
    pub(super) fn each_node(&mut self) -> Rc<Topology> {
        self.each.get_or_insert_with(|| Rc::new(Topology::by_node(&self.nodes))).clone()
    }

    /// What a template's selectors and tolerations say of every node, worked out once for all who share them.
    pub(super) fn shape(&mut self, pod: &PodDigest) -> Rc<Shape> {
        if let Some(shape) = self.shapes.iter().find(|shape| shape.is_of(pod)) {
            return shape.clone();
        }
        self.work.filters += self.nodes.len() as u64;
        let shape = Rc::new(Shape::new(pod, &self.nodes));
        if self.shapes.len() == SHAPES_LIMIT {
            self.shapes.remove(0);
        }
        self.shapes.push(shape.clone());
        shape
    }
}

/// The host ports that a node's pods use.
pub(super) fn ports_on(state: &State, node: &str) -> Ports {
    let pods = state.pods_on(node).filter_map(|object| object.pod()).filter(|pod| !pod.terminal());
    pods.flat_map(|pod| pod.host_ports.iter().cloned()).collect()
}
