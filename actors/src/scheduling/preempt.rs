//! Preemption: a pod that finds no place may have pods of lower priority sent away for it, as few and as unimportant ones as
//! possible: <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>. It then waits for them to be gone,
//! with what it needs on that node set aside. Disruption budgets are minded where anybody else could leave instead.

pub(super) mod budgets;

use std::cmp::Reverse;

use compact_str::CompactString;

use self::budgets::Budgets;
use super::{
    group::Group,
    pick::Picker,
    pod_affinity::wants,
    view::{Ports, View},
};
use crate::object::{Object, ObjectKey, PodDigest, Resources, Scalars, add_scalars};

/// Nodes on which victims are chosen before the best of them is taken, as kube-scheduler looks at some of many: those come first where
/// the least important pods would do.
const CANDIDATES: usize = 100;
/// As long as all of them would violate a disruption budget, it is looked at so many.
const CANDIDATES_LIMIT: usize = 4 * CANDIDATES;

/// Room that is being made for a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Preemption {
    /// Where.
    pub node: CompactString,
    /// Who has to leave; nobody, if all that is needed are pods that leave already.
    pub victims: Vec<ObjectKey>,
}

/// How bad it is to make room on a node, the least bad first: how many victims violate a disruption budget, the highest priority among
/// them, the sum of their priorities, how many they are, how long the most important ones have been there, the node.
type Harm = (usize, Option<i32>, i64, usize, Reverse<i64>, usize);

/// Who would have to leave a node.
struct Victims<'a> {
    pods: Vec<&'a Object>,
    /// So many of them violate a disruption budget.
    violations: usize,
}

/// Whether others may have to leave for such a pod at all.
pub(super) fn may(view: &View<'_>, pod: &PodDigest) -> bool {
    pod.preempts && view.state.lowest_priority().is_some_and(|lowest| lowest < pod.priority)
}

/// Makes room for a pod of a group that finds no place and for which others [`may`] have to leave, and sets it aside in the view.
pub(super) fn preempt<'a>(
    view: &mut View<'a>,
    picker: &mut Picker<'a>,
    group: &Group<'a>,
    object: &'a Object,
) -> Option<Preemption> {
    let pod = group.digest();
    let mut best: Option<(Harm, Victims<'a>)> = None;
    let mut tried = 0;
    let mut budgets = std::mem::take(&mut view.budgets);
    for node in prospects(view, picker, pod) {
        let Some(victims) = victims(view, picker, group, node, &mut budgets) else { continue };
        let harm = harm(&victims, node);
        if best.as_ref().is_none_or(|(least, _)| harm < *least) {
            best = Some((harm, victims));
        }
        tried += 1;
        let harmless = best.as_ref().is_some_and(|(_, victims)| victims.violations == 0);
        if tried == CANDIDATES_LIMIT || (tried >= CANDIDATES && harmless) {
            break;
        }
    }
    view.budgets = budgets;
    let ((.., node), Victims { pods: victims, .. }) = best?;
    view.leave(&victims);
    view.budgets.spend(view.state, &victims);
    picker.take(view, object, node);
    let victims = victims.iter().map(|victim| victim.key.clone()).collect();
    Some(Preemption { node: view.nodes[node].name().clone(), victims })
}

/// The room that is being made for a pod already, if nobody more has to leave for it: it goes on waiting for that. One node is asked,
/// so those that wait keep no others from having room made for them.
pub(super) fn awaited<'a>(
    view: &mut View<'a>,
    picker: &mut Picker<'a>,
    group: &Group<'a>,
    object: &'a Object,
) -> Option<Preemption> {
    let node = view.node(object.pod()?.nominated.as_ref()?).filter(|node| picker.may_ever(*node))?;
    let mut budgets = std::mem::take(&mut view.budgets);
    let victims = victims(view, picker, group, node, &mut budgets);
    view.budgets = budgets;
    victims.filter(|victims| victims.pods.is_empty())?;
    picker.take(view, object, node);
    Some(Preemption { node: view.nodes[node].name().clone(), victims: Vec::new() })
}

/// The nodes that would have the resources without pods of lower priority; first those where pods of the lowest would do.
fn prospects(view: &View<'_>, picker: &Picker<'_>, pod: &PodDigest) -> Vec<usize> {
    let prospect = |node: usize| {
        if !picker.may_ever(node) {
            return None;
        }
        let at = &view.nodes[node];
        let (mut free, mut room) = (at.free, at.free_pods);
        let mut freed = Scalars::new();
        let enough = |free: Resources, room: i64, freed: &Scalars| {
            let freed = |name: &str| freed.get(name).copied().unwrap_or(0);
            let has = |name: &str, wanted: i64| wanted <= at.free_scalar(name).saturating_add(freed(name));
            room >= 1
                && pod.requests.fits_in(free)
                && pod.scalars.iter().all(|(name, wanted)| has(name, *wanted))
        };
        let usage = view.state.usage(at.name())?;
        let mut level = i32::MIN;
        for (priority, theirs) in usage.by_priority().take_while(|(priority, _)| *priority < pod.priority) {
            if enough(free, room, &freed) {
                break;
            }
            level = priority;
            (free, room) = (free.plus(theirs.requested), room.saturating_add(theirs.pods));
            if !pod.scalars.is_empty() {
                add_scalars(&mut freed, &theirs.scalars);
            }
        }
        enough(free, room, &freed).then_some((level, node))
    };
    let mut found: Vec<(i32, usize)> = (0..view.nodes.len()).filter_map(prospect).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, node)| node).collect()
}

/// Who would have to leave a node; none if that would not help.
fn victims<'a>(
    view: &View<'a>,
    picker: &Picker<'a>,
    group: &Group<'a>,
    node: usize,
    budgets: &mut Budgets<'a>,
) -> Option<Victims<'a>> {
    let pod = group.digest();
    let name = view.nodes[node].name();
    // Whom the pod wants near is no victim: kube-scheduler gives up where such a one is less important.
    let lower = |object: &&&'a Object| {
        let less = object.pod().is_some_and(|theirs| !theirs.terminal() && theirs.priority < pod.priority);
        less && !wants(view.state, group.pods[0], object)
    };
    let all: Vec<&'a Object> = view.state.pods_on(name).map(|object| &**object).collect();
    let (leaving, mut others): (Vec<&Object>, Vec<&Object>) =
        all.iter().copied().filter(|object| lower(&object)).partition(|object| view.leaves(object));
    others.sort_by_key(|object| (Reverse(priority(object)), object.meta.created_ms, &object.key));
    let mut away: Vec<&'a Object> = leaving.iter().chain(&others).copied().collect();
    // Those that this plan placed before are here to stay.
    let given = || {
        let here = view.placed().filter(|(_, at)| *at == node);
        here.filter_map(|(object, _)| object.pod())
    };
    let fits = |away: &[&'a Object]| {
        let gone = |object: &Object| away.iter().any(|other| other.key == object.key);
        let ports: Ports = match pod.host_ports.is_empty() {
            true => Ports::new(),
            false => {
                let staying = all.iter().filter(|object| !gone(object)).filter_map(|object| object.pod());
                staying
                    .filter(|theirs| !theirs.terminal())
                    .chain(given())
                    .flat_map(|theirs| theirs.host_ports.iter().cloned())
                    .collect()
            }
        };
        picker.admits_without(view, group, node, away, &ports)
    };
    if !fits(&away) {
        return None;
    }
    // Spared first are those that no budget has room for, of these and of the others the most important ones.
    let violating = budgets.violated_by(view.state, &others);
    let (first, then): (Vec<&Object>, Vec<&Object>) =
        others.into_iter().partition(|object| violating.contains(&object.key));
    let mut victims = Victims { pods: Vec::new(), violations: 0 };
    for object in first.into_iter().chain(then) {
        let at = away.iter().position(|other| other.key == object.key)?;
        away.remove(at);
        if !fits(&away) {
            away.push(object);
            victims.violations += usize::from(violating.contains(&object.key));
            victims.pods.push(object);
        }
    }
    Some(victims)
}

fn priority(object: &Object) -> i32 {
    object.pod().map_or(0, |pod| pod.priority)
}

fn harm(victims: &Victims<'_>, node: usize) -> Harm {
    let Victims { pods, violations } = victims;
    let highest = pods.iter().map(|victim| priority(victim)).max();
    // Counted from the lowest priority there is, so that each victim makes the sum greater.
    let sum = pods.iter().map(|victim| i64::from(priority(victim)) - i64::from(i32::MIN)).sum();
    let most_important = pods.iter().filter(|victim| Some(priority(victim)) == highest);
    let since = most_important.map(|victim| victim.meta.created_ms).min().unwrap_or(i64::MAX);
    (*violations, highest, sum, pods.len(), Reverse(since), node)
}

#[cfg(test)]
mod tests;
