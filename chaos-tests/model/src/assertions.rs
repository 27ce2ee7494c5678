//! What is asserted while a run goes on, after each entry.

use std::panic::AssertUnwindSafe;

use kontiki_actors::{
    Change, Decision, Entry, Kind, Object, ObjectKey, State, object::Resources, scheduling::tolerated,
};

/// Decides, and catches a panic.
pub(crate) fn no_panic(decide: impl FnOnce() -> Decision) -> Result<Decision, String> {
    std::panic::catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_owned()
    })
}

/// The same input, state, time and seed give the same decision.
pub(crate) fn same(once: &Decision, again: &Decision) -> Option<String> {
    if once.outcome != again.outcome {
        return Some(format!("decided twice: {:?}, then {:?}", once.outcome, again.outcome));
    }
    let differs = once.changes.iter().zip(&again.changes).find(|(a, b)| a != b);
    if let Some((a, b)) = differs {
        return Some(format!("decided twice: {a:?}, then {b:?}"));
    }
    (once.changes.len() != again.changes.len()).then(|| "decided twice: more the second time".to_owned())
}

/// Where the state that was decided on and the folded one are apart in what this entry changed.
pub(crate) fn apart(decided: &State, folded: &State, entry: &Entry) -> Option<String> {
    if decided.revision() != folded.revision() {
        let (was, is) = (decided.revision(), folded.revision());
        return Some(format!("decided on revision {was}, folded to {is}"));
    }
    let form = |state: &State, key: &ObjectKey| {
        let object = state.get(key).map(|o| (o.revision, o.document.whole()));
        (object, state.wake_of(key), state.is_unplaced(key))
    };
    entry
        .turns
        .iter()
        .flat_map(|turn| &turn.changes)
        .filter_map(Change::key)
        .find(|key| form(decided, key) != form(folded, key))
        .map(|key| format!("{key} was decided to be something else than what is folded"))
}

/// E1, E9: the nodes that got a pod by this entry hold it, and wanted it.
pub(crate) fn placements(state: &State, entry: &Entry) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    let mut nodes: Vec<&Object> = Vec::new();
    for change in entry.turns.iter().flat_map(|turn| &turn.changes) {
        let Change::Put { key, spec: Some(_), .. } = change else { continue };
        if key.kind != Kind::POD {
            continue;
        }
        let Some(pod) = state.get(key) else { continue };
        let Some(node) = pod.pod().and_then(|p| p.node.as_deref()) else { continue };
        let Some(node) = state.get(&ObjectKey::new(Kind::NODE, "", node)) else { continue };
        if !nodes.iter().any(|known| known.key == node.key) {
            nodes.push(node);
        }
    }
    for node in nodes {
        let Some(digest) = node.node() else { continue };
        let (mut taken, mut count) = (Resources::default(), 0);
        for pod in state.pods_on(&node.key.name).filter_map(|o| o.pod()).filter(|p| !p.terminal()) {
            taken = taken.plus(pod.requests);
            count += 1;
        }
        let has = digest.allocatable;
        if taken.cpu_milli > has.cpu_milli || taken.memory > has.memory || count > digest.max_pods {
            let words = format!("node {} has {has:?} and carries {count} pods with {taken:?}", node.key.name);
            broken.push(("E1", words));
        }
    }
    broken
}

/// Whether a pod could be placed on a node, told from the documents alone.
pub(crate) fn would_fit(state: &State, pod: &Object, node: &Object) -> bool {
    let (Some(pod), Some(digest)) = (pod.pod(), node.node()) else { return false };
    let (mut taken, mut count) = (Resources::default(), 0);
    for other in state.pods_on(&node.key.name).filter_map(|o| o.pod()).filter(|p| !p.terminal()) {
        taken = taken.plus(other.requests);
        count += 1;
    }
    let free = digest.allocatable.minus(taken);
    let keeps_away = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
    digest.ready == "True"
        && !digest.unschedulable
        && !node.meta.deleting()
        && count < digest.max_pods
        && pod.requests.cpu_milli <= free.cpu_milli
        && pod.requests.memory <= free.memory
        && digest.taints.iter().filter(|t| keeps_away(&t.effect)).all(|t| tolerated(&pod.tolerations, t))
}
