//! Placement: which node each waiting pod goes to. Pure and deterministic: the same state and pods give the same
//! places, whatever the order the pods are handed over in. Integers only, so no machine rounds differently.
//!
//! ```text
//!   pods --group--> templates, by priority and age
//!        each: --filter--> nodes that may take one    (selectors, taints, once per template and node)
//!              --spread--> counters of the topology it is to be spread over, and of pods that want it near or far
//!              --pick----> a heap of nodes per topology cell; the best goes out, comes back scored anew
//!              --preempt-> for who finds none: pods of lower priority that would have to leave
//! ```
//!
//! Not for writing anything down: the turn turns placements into changes.

mod claims;
mod filter;
#[cfg(test)]
mod fixture;
mod group;
mod pick;
mod pinned;
mod pod_affinity;
mod preempt;
#[cfg(test)]
mod properties;
mod queue;
mod reasons;
mod rejected;
mod score;
mod spread;
#[cfg(test)]
mod tests;
mod topology;
mod view;

use compact_str::CompactString;
pub use filter::{affinity::selects, taints::tolerated};
pub use pod_affinity::wants;
pub use preempt::Preemption;
pub use queue::{SchedulingQueue, ToPlace};
pub use reasons::Reason;
pub use rejected::{Rejected, rejected};
pub use view::Work;

use self::{group::Group, pick::Picker, view::View};
use crate::{
    object::{Object, ObjectKey},
    state::State,
};

/// Pods that are planned at once.
pub const PLAN_LIMIT: usize = 500;
/// Pods for which a plan looks for room that others could make: on 5,000 full nodes that takes as long as placing a hundred.
const PREEMPTIONS_LIMIT: usize = 16;

/// A plan that took so many steps leaves the rest of its pods to the next one, so that writes come in between, whatever pods ask for:
/// more than 500 templates without terms take on 5,000 nodes.
const WORK_LIMIT: u64 = 10_000_000;

/// What was decided for one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The pod.
    pub pod: ObjectKey,
    /// The node, or why there is none, in Kubernetes' words: `0/3 nodes are available: ...`.
    pub node: Result<CompactString, String>,
    /// Whom it may have sent away, if there is no node for it as things are.
    pub preemption: Option<Preemption>,
}

/// Plans these pods: the highest priority first, then the oldest, each seeing the places of those before it. Pods of
/// one template are planned together, at the place of the first of them. Pods that are gone or placed already are
/// left out, and so are those for whose sake others would have to leave, after the first sixteen, and
/// the rest of a plan that takes too long: they are for the next plan. The time is part of every decision's context; no rule depends on
/// it yet.
pub fn plan(state: &State, pods: &[ObjectKey], _now_ms: i64) -> Vec<Placement> {
    plan_measured(state, pods).0
}

/// As [`plan`], with the work that it took, for benchmarks and for tests of its bounds.
pub fn plan_measured(state: &State, pods: &[ObjectKey]) -> (Vec<Placement>, Work) {
    plan_within(state, pods, WORK_LIMIT)
}

/// Of pods that it does not leave out, it decides one at least, whatever the limit: so all are decided by some plan.
fn plan_within(state: &State, pods: &[ObjectKey], limit: u64) -> (Vec<Placement>, Work) {
    let mut waiting: Vec<&Object> = pods
        .iter()
        .filter_map(|key| state.get(key))
        .filter(|object| object.pod().is_some_and(|pod| pod.node.is_none()))
        .map(|object| &**object)
        .collect();
    if waiting.is_empty() {
        return (Vec::new(), Work::default());
    }
    let mut view = View::new(state);
    let mut placements = Vec::with_capacity(waiting.len());
    waiting.retain(|pod| match claims::waits(&view, pod) {
        Some(placement) => {
            placements.push(placement);
            false
        }
        None => true,
    });
    let later = claims::for_later(state, &waiting);
    waiting.retain(|pod| !later.contains(&pod.key));
    let mut preemptions_left = PREEMPTIONS_LIMIT;
    for group in group::groups(waiting, !view.no_terms_stand()) {
        if !placements.is_empty() && view.work().steps() >= limit {
            break;
        }
        view.reserve_for(&group);
        if pinned::place(&mut view, &group, &mut placements) {
            continue;
        }
        place(&mut view, &group, limit, &mut preemptions_left, &mut placements);
    }
    let work = view.work();
    (placements, work)
}

fn place<'a>(
    view: &mut View<'a>,
    group: &Group<'a>,
    limit: u64,
    preemptions_left: &mut usize,
    placements: &mut Vec<Placement>,
) {
    let mut picker = Picker::new(view, group);
    // What it took is paid for all of the group.
    let paid = view.work().steps();
    let mut refusal: Option<Refusal> = None;
    for object in &group.pods {
        // One that finds no place leaves everything as it was, so its like find none either.
        if refusal.is_none() {
            if view.work().steps() - paid >= limit {
                return;
            }
            if let Some(node) = picker.next(view, object) {
                let node = Ok(view.nodes[node].name().clone());
                placements.push(Placement { pod: object.key.clone(), node, preemption: None });
                continue;
            }
            let counts = (0..view.nodes.len()).flat_map(|node| picker.reasons(view, node));
            let message = reasons::message(view.nodes.len(), counts);
            refusal = Some(Refusal { message, hopeless: false });
        }
        let Some(refusal) = &mut refusal else { continue };
        let mut preemption = None;
        if !refusal.hopeless && preempt::may(view, group.digest()) {
            preemption = preempt::awaited(view, &mut picker, group, object);
            if preemption.is_none() {
                if *preemptions_left == 0 {
                    return;
                }
                *preemptions_left -= 1;
                preemption = preempt::preempt(view, &mut picker, group, object);
            }
        }
        refusal.hopeless = preemption.is_none();
        let node = Err(refusal.message.clone());
        placements.push(Placement { pod: object.key.clone(), node, preemption });
    }
}

/// Why the next pods of a group find no place.
struct Refusal {
    message: String,
    /// Nobody's leaving would help.
    hopeless: bool,
}

/// Why each node may or may not take a pod as the state stands: no reasons means that it may. Nothing for a pod that
/// does not exist.
pub fn explain(state: &State, pod: &ObjectKey) -> Vec<(CompactString, Vec<Reason>)> {
    let Some(object) = state.get(pod) else { return Vec::new() };
    let mut view = View::new(state);
    let Some(group) = group::groups(vec![object], true).pop() else { return Vec::new() };
    view.reserve_for(&group);
    let picker = Picker::new(&mut view, &group);
    (0..view.nodes.len()).map(|node| (view.nodes[node].name().clone(), picker.reasons(&view, node))).collect()
}

/// Whether a node may take a pod beside what it carries, topology spread and pod affinity apart: they are no properties of one node.
/// The planner asks the same filters.
pub fn fits(state: &State, pod: &Object, node: &Object) -> Result<(), Vec<Reason>> {
    let (Some(digest), Some(node)) = (pod.pod(), view::NodeView::new(state, node)) else {
        return Err(vec![Reason::Unschedulable]);
    };
    let reasons = match filter::fixed(digest, &node) {
        Some(reason) => vec![reason],
        None => filter::room(digest, &node, &view::ports_on(state, node.name())),
    };
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}
