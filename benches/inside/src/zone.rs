//! What does it cost to replace all pods of a zone that falls silent? Everything until all of them have a place elsewhere, turn by turn as
//! the leader does it: the verdicts, the pods that leave, the ReplicaSets that make others, and the plans. It should grow with the pods
//! that move and not with those that stay.

use std::hint::black_box;

use kontiki_actors::{
    Input, Kind, Object,
    input::{Life, Verdict},
};

use crate::{
    Operation,
    crowd::{PODS_PER_NODE, SEED, quiet, with_pods},
    grouped,
};

const NODES: [usize; 3] = [30, 90, 300];

pub(crate) fn operations() -> Vec<Operation> {
    let of = |nodes: usize| {
        let moving = nodes / 3 * PODS_PER_NODE;
        let what = format!(
            "replace the {} pods of a lost zone of {} nodes, of {} pods in all",
            grouped(moving as u64),
            grouped(nodes as u64 / 3),
            grouped((nodes * PODS_PER_NODE) as u64)
        );
        Operation::new("zone", format!("lost-{nodes}"), what, moving, move || {
            let state = with_pods(nodes);
            let verdicts = Input::Verdicts(lost_zone(nodes));
            // Nobody can tell that the old ones are gone: they have their places still.
            let placed = quiet(state.clone(), &verdicts, SEED)
                .list(Kind::POD, None)
                .filter(|pod| has_place(pod))
                .count();
            assert_eq!(placed, nodes * PODS_PER_NODE + moving);
            Box::new(move || drop(black_box(quiet(state.clone(), black_box(&verdicts), SEED))))
        })
    };
    NODES.into_iter().map(of).collect()
}

/// Every third node.
fn lost_zone(nodes: usize) -> Vec<Verdict> {
    let name = |n: usize| compact_str::format_compact!("node-{n}");
    let lost = |n| Verdict { node: name(n), life: Life::Down, reason: "not heard for 3.0 s".into() };
    (0..nodes).step_by(3).map(lost).collect()
}

fn has_place(pod: &Object) -> bool {
    pod.pod().is_some_and(|digest| digest.node.is_some())
}
