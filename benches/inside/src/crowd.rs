//! A cluster of ReplicaSets of 500 pods, of which each node carries some of each, and its turns as a leader does them one after another.

use kontiki_actors::{
    Context, Input, Kind, Object, State, decide, input::PodReport, scheduling::SchedulingQueue,
};
use serde_json::json;

use crate::fixture::{NAMESPACE, NOW_MS, asks, create, with_nodes, workload};

/// Pods on each node.
pub(crate) const PODS_PER_NODE: usize = 30;
/// Of one ReplicaSet.
const REPLICAS: usize = 500;
/// Of one turn, as the leader hands them out.
const WAKES: usize = 256;
/// Wake-ups until then belong to it.
const SOON_MS: i64 = 1000;
/// Not among those of the nodes.
pub(crate) const SEED: usize = 1_000_000;

/// Nodes with 30 running pods each.
pub(crate) fn with_pods(nodes: usize) -> State {
    let mut state = with_nodes(nodes);
    for n in 0..(nodes * PODS_PER_NODE).div_ceil(REPLICAS) {
        let replicas = REPLICAS.min(nodes * PODS_PER_NODE - n * REPLICAS);
        let set = workload(Kind::REPLICA_SET, &format!("set-{n}"), replicas, asks("10m"));
        let input = create(&state, Kind::REPLICA_SET, set);
        state = quiet(state, &input, SEED * (n + 2));
    }
    let pods: Vec<_> = state.list(Kind::POD, Some(NAMESPACE)).cloned().collect();
    for some in pods.chunks(REPLICAS) {
        let reports = some.iter().map(|pod| report(pod, true)).collect();
        state = quiet(state, &Input::Reports(reports), SEED);
    }
    state
}

/// What a worker says of a pod that runs and is ready, or not yet.
pub(crate) fn report(pod: &Object, ready: bool) -> PodReport {
    let said = if ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": said}],
        "containerStatuses": [{"name": "main", "ready": ready, "restartCount": 0, "state": {"running": {}}}]});
    PodReport {
        node: pod.pod().and_then(|p| p.node.clone()).unwrap_or_default(),
        uid: pod.meta.uid.clone(),
        namespace: pod.key.namespace.clone(),
        name: pod.key.name.clone(),
        status: status.to_string().into(),
        gone: false,
        events: Vec::new(),
    }
}

/// The state when nothing is left to do for a while. Each turn has a seed of its own.
pub(crate) fn quiet(mut state: State, input: &Input, mut seed: usize) -> State {
    let (mut queue, mut now, mut next) = (SchedulingQueue::default(), NOW_MS, Some(input.clone()));
    while let Some(input) = next {
        let decision = decide(&state, &input, Context::new(now, seed as u64));
        queue.add(&decision.state, &decision.to_place);
        state = decision.state;
        seed += 1;
        next = queue.next(&state).or_else(|| {
            // Owners of many pods gather news of them before they look.
            now = state.next_wake_ms().filter(|at| *at < NOW_MS + SOON_MS).map_or(now, |at| at.max(now));
            let due = state.due(now, WAKES);
            (!due.is_empty()).then_some(Input::Wake(due))
        });
    }
    state
}

/// The state after these inputs, which come so many milliseconds after one another, with what is to be done meanwhile.
pub(crate) fn one_after_another(mut state: State, inputs: &[Input], apart_ms: i64) -> State {
    for (n, input) in (1_i64..).zip(inputs) {
        let (now, mut next) = (NOW_MS + SOON_MS + n * apart_ms, Some(input.clone()));
        while let Some(input) = next {
            state = decide(&state, &input, Context::new(now, n as u64)).state;
            let due = state.due(now, WAKES);
            next = (!due.is_empty()).then_some(Input::Wake(due));
        }
    }
    state
}
