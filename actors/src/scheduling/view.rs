//! The planner's own view of a state: nodes with what is free on them, less what the plan gave away already.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use compact_str::CompactString;
use kontiki_hooks::{Defect, planted};

use super::{filter::Shape, group::Group, preempt::budgets::Budgets, topology::Topology};
use crate::{
    kind::Kind,
    object::{
        NodeDigest, Object, ObjectKey, PodAffinity, PodDigest, Resources, Scalars, add_scalars, take_scalars,
    },
    state::State,
};

/// Templates whose verdicts on all nodes are kept: enough for the templates of one plan, a bound on its memory.
const SHAPES_LIMIT: usize = 32;

/// Topologies that are made without asking whether any node has their label: more than usual pods name together.
const TOPOLOGIES_ASSUMED: usize = 16;

/// How much work a plan was, in steps that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Filters asked, per template or placement and node.
    pub filters: u64,
    /// Nodes scored.
    pub scores: u64,
    /// Topology cells looked at.
    pub cells: u64,
    /// Nodes and pods that constraints and terms of pods were held against.
    pub terms: u64,
}

impl Work {
    /// All of it.
    pub(super) fn steps(&self) -> u64 {
        self.filters + self.scores + self.cells + self.terms
    }
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
    /// What its pods take of scalar resources.
    taken: Option<&'a Scalars>,
    /// What this plan gave away of them or set aside.
    given: Scalars,
}

impl<'a> NodeView<'a> {
    /// A node as the state has it; none if the object is no node.
    pub(super) fn new(state: &'a State, object: &'a Object) -> Option<NodeView<'a>> {
        let digest = object.node()?;
        let usage = state.usage(&object.key.name);
        let (mut requested, running) = usage.map(|u| (u.requested, u.running)).unwrap_or_default();
        if planted(Defect::CapacityForgotten) {
            requested.cpu_milli = 0;
        }
        let free = digest.allocatable.minus(requested);
        let free_pods = digest.max_pods.saturating_sub(running);
        let taken = usage.map(|u| &u.scalars);
        Some(NodeView { object, digest, free, free_pods, taken, given: Scalars::new() })
    }

    /// How much of a scalar resource is free.
    pub(super) fn free_scalar(&self, name: &str) -> i64 {
        let of = |amounts: &Scalars| amounts.get(name).copied().unwrap_or(0);
        of(&self.digest.scalars).saturating_sub(self.taken.map_or(0, of)).saturating_sub(of(&self.given))
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
    /// The work so far, without that of terms.
    pub work: Work,
    looked: Cell<u64>,
    placed: Vec<(&'a Object, usize)>,
    /// What placed pods say of others, of one group together, and where they are.
    terms: Vec<(&'a PodAffinity, Vec<usize>)>,
    leaving: BTreeSet<&'a ObjectKey>,
    /// Who may leave without harm.
    pub(super) budgets: Budgets<'a>,
    /// What is set aside for pods for which room is being made: their node, and what they need.
    reserved: BTreeMap<&'a ObjectKey, (usize, &'a PodDigest)>,
    ports: BTreeMap<usize, Ports>,
    topologies: BTreeMap<CompactString, Rc<Topology>>,
    /// For all labels that no node has: pods may name so many that one for each would be too much.
    nowhere: Rc<Topology>,
    /// The labels that nodes have.
    labels: Option<BTreeSet<&'a CompactString>>,
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
            looked: Cell::new(0),
            placed: Vec::new(),
            terms: Vec::new(),
            leaving: BTreeSet::new(),
            budgets: Budgets::default(),
            reserved: BTreeMap::new(),
            ports: BTreeMap::new(),
            topologies: BTreeMap::new(),
            nowhere: Rc::default(),
            labels: None,
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
        add_scalars(&mut view.given, &pod.scalars);
        if !pod.host_ports.is_empty() {
            self.learn_ports(node);
            self.ports.entry(node).or_default().extend(pod.host_ports.iter().cloned());
        }
        self.placed.push((object, node));
        if let Some(affinity) = pod.pod_affinity.as_deref() {
            match self.terms.last_mut() {
                Some((last, nodes)) if std::ptr::eq(*last, affinity) => nodes.push(node),
                _ => self.terms.push((affinity, vec![node])),
            }
        }
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
        let wanted: BTreeMap<&'a ObjectKey, (usize, &'a PodDigest)> = nominated
            .filter(|object| !self.placed.iter().any(|(placed, _)| placed.key == object.key))
            .filter_map(|object| {
                let pod = object.pod()?;
                Some((&object.key, (self.node(pod.nominated.as_ref()?)?, pod)))
            })
            .collect();
        for (node, pod) in std::mem::take(&mut self.reserved).into_values() {
            let at = &mut self.nodes[node];
            at.free = at.free.plus(pod.requests);
            at.free_pods += 1;
            take_scalars(&mut at.given, &pod.scalars);
        }
        for (node, pod) in wanted.values() {
            let at = &mut self.nodes[*node];
            at.free = at.free.minus(pod.requests);
            at.free_pods -= 1;
            add_scalars(&mut at.given, &pod.scalars);
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

    /// What the pods that this plan has placed say of others, and where they are.
    pub(super) fn placed_with_terms(&self) -> &[(&'a PodAffinity, Vec<usize>)] {
        &self.terms
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

    /// Counts nodes or pods that a constraint or a term is held against.
    pub(super) fn look(&self, many: usize) {
        self.looked.set(self.looked.get().saturating_add(many as u64));
    }

    /// All the work so far.
    pub(super) fn work(&self) -> Work {
        Work { terms: self.looked.get(), ..self.work }
    }

    /// The domains of a label. No more are made than nodes have labels, but for a few.
    pub(super) fn topology(&mut self, key: &CompactString) -> Rc<Topology> {
        if let Some(topology) = self.topologies.get(key) {
            return topology.clone();
        }
        self.look(1);
        if self.topologies.len() >= TOPOLOGIES_ASSUMED && !self.any_node_has(key) {
            return self.nowhere.clone();
        }
        self.look(self.nodes.len());
        let topology = Rc::new(Topology::by_label(&self.nodes, key));
        self.topologies.insert(key.clone(), topology.clone());
        topology
    }

    fn any_node_has(&mut self, label: &CompactString) -> bool {
        let nodes = &self.nodes;
        let labels = || nodes.iter().flat_map(|node| node.object.meta.labels.keys()).collect();
        self.labels.get_or_insert_with(labels).contains(label)
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
