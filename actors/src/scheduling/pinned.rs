//! Pods that name the one node that they may run on, as those of daemon sets do: no other node is asked, so that a pod for each of n
//! nodes takes n steps, not n².

use std::iter;

use compact_str::CompactString;

use super::{
    Placement, filter,
    group::Group,
    preempt,
    reasons::{self, Reason},
    view::{Ports, View},
};
use crate::object::PodDigest;

/// Places a group's pods if they name their node and no other pod matters to that. False if it is not such a group, or if pods would
/// have to leave for one.
pub(super) fn place<'a>(view: &mut View<'a>, group: &Group<'a>, placements: &mut Vec<Placement>) -> bool {
    let pod = group.digest();
    let Some(name) = node_of(pod) else { return false };
    // Those with claims are few, and planned like any other pods.
    if !pod.spread.is_empty()
        || pod.pod_affinity.is_some()
        || !pod.claims.is_empty()
        || !view.no_terms_stand()
    {
        return false;
    }
    let Some(node) = view.node(name) else { return false };
    let mut placed = Vec::with_capacity(group.pods.len());
    for object in &group.pods {
        let reasons = refusals(view, pod, node);
        if !reasons.is_empty() && preempt::may(view, pod) {
            // What was placed here stays placed in the view, so it is told, and the rest is planned like any other pods.
            if placed.is_empty() {
                return false;
            }
            break;
        }
        let others = iter::repeat_n(Reason::Affinity, view.nodes.len() - 1);
        let node = if reasons.is_empty() {
            view.place(object, pod, node);
            Ok(name.clone())
        } else {
            Err(reasons::message(view.nodes.len(), reasons.into_iter().chain(others)))
        };
        placed.push(Placement { pod: object.key.clone(), node, preemption: None });
    }
    placements.extend(placed);
    true
}

fn refusals(view: &mut View<'_>, pod: &PodDigest, node: usize) -> Vec<Reason> {
    view.work.filters += 1;
    if let Some(reason) = filter::fixed(pod, &view.nodes[node]) {
        return vec![reason];
    }
    if !pod.host_ports.is_empty() {
        view.learn_ports(node);
    }
    filter::room(pod, &view.nodes[node], view.ports(node).unwrap_or(&Ports::new()))
}

/// The one node that a pod's required affinity names.
fn node_of(pod: &PodDigest) -> Option<&CompactString> {
    let [term] = pod.affinity.required.as_deref()? else { return None };
    let named = term.fields.iter().filter(|r| r.key == "metadata.name" && r.operator == "In");
    named
        .filter_map(|r| match r.values.as_slice() {
            [name] => Some(name),
            _ => None,
        })
        .next()
}
