//! What do workers' reports cost? Each worker says of its 30 pods that they are not ready and then that they are, in a turn of its own, 2 ms after
//! the one before; the pods are of all ReplicaSets, whose counters have to follow. It should grow with the reports, and not with the pods that
//! the owners have.

use std::{hint::black_box, sync::Arc};

use kontiki_actors::{Input, Kind, Object, State};

use crate::{
    Operation,
    crowd::{PODS_PER_NODE, one_after_another, report, with_pods},
    fixture::NAMESPACE,
    grouped,
};

const NODES: [usize; 3] = [30, 90, 300];
/// Between two reports.
const APART_MS: i64 = 2;

pub(crate) fn operations() -> Vec<Operation> {
    let of = |nodes: usize| {
        let reports = 2 * nodes * PODS_PER_NODE;
        let what =
            format!("take in {} reports of {} workers", grouped(reports as u64), grouped(nodes as u64));
        Operation::new("reports", format!("of-{nodes}"), what, reports, move || {
            let state = with_pods(nodes);
            let inputs = inputs(&state);
            assert_eq!(inputs.len(), 2 * nodes);
            Box::new(move || drop(black_box(one_after_another(state.clone(), black_box(&inputs), APART_MS))))
        })
    };
    NODES.into_iter().map(of).collect()
}

/// Of each node that its pods are not ready, then of each that they are.
fn inputs(state: &State) -> Vec<Input> {
    let mut pods: Vec<_> = state.list(Kind::POD, Some(NAMESPACE)).cloned().collect();
    pods.sort_by_key(|pod| pod.pod().and_then(|digest| digest.node.clone()));
    let of_node = |a: &Arc<Object>, b: &Arc<Object>| a.pod().map(|p| &p.node) == b.pod().map(|p| &p.node);
    [false, true]
        .into_iter()
        .flat_map(|ready| {
            pods.chunk_by(of_node)
                .map(move |own| Input::Reports(own.iter().map(|pod| report(pod, ready)).collect()))
        })
        .collect()
}
