//! The domains that a node label cuts the nodes into.

use std::collections::BTreeMap;

use super::view::NodeView;

/// The label whose values are zones.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// Which domain each node is in; by default, no node is in any.
#[derive(Debug, Default)]
pub(super) struct Topology {
    domains: Vec<Option<usize>>,
    /// How many domains there are.
    pub count: usize,
    /// Every domain is one node, as for a host name: counted with the nodes, not as a cell.
    pub per_node: bool,
}

impl Topology {
    /// By a label; nodes without it are in no domain.
    pub(super) fn by_label(nodes: &[NodeView<'_>], key: &str) -> Topology {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let domains: Vec<Option<usize>> = nodes
            .iter()
            .map(|node| {
                let value = node.object.meta.labels.get(key)?;
                let next = known.len();
                Some(*known.entry(value).or_insert(next))
            })
            .collect();
        let labelled = domains.iter().flatten().count();
        Topology { count: known.len(), per_node: labelled > 1 && known.len() == labelled, domains }
    }

    /// By zone, for the even spread that nobody asked for: nodes without a zone are one zone more.
    pub(super) fn by_zone(nodes: &[NodeView<'_>]) -> Topology {
        let Topology { mut domains, mut count, per_node } = Topology::by_label(nodes, ZONE);
        if domains.iter().any(Option::is_none) {
            domains.iter_mut().for_each(|domain| *domain = domain.or(Some(count)));
            count += 1;
        }
        // A zone stays a cell even when it has but one node, so that zones weigh more than nodes.
        let per_node = per_node && count == nodes.len();
        Topology { domains, count, per_node }
    }

    /// Every node on its own.
    pub(super) fn by_node(nodes: &[NodeView<'_>]) -> Topology {
        Topology { domains: (0..nodes.len()).map(Some).collect(), count: nodes.len(), per_node: true }
    }

    /// The domain of a node.
    pub(super) fn domain(&self, node: usize) -> Option<usize> {
        self.domains.get(node).copied().flatten()
    }
}
