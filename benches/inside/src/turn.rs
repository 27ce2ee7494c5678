//! How long does a turn take? The leader decides one turn after the other, so this is what bounds the writes per second. A create should
//! take the same on a large state as on a small one; a pod that is placed looks at every node; a Deployment's first turn makes and
//! places 250 pods, and is among the longest that others wait for.

use std::hint::black_box;

use kontiki_actors::{Input, Kind, State};

use crate::{
    Action, Operation,
    fixture::{asks, config_map, create, placed, pod, with_config_maps, with_nodes, workload},
    grouped,
};

const OBJECTS: [usize; 3] = [1000, 15_000, 150_000];
const NODES: [usize; 3] = [100, 500, 5000];
const REPLICAS: usize = 1000;
/// Not among those of the objects that are there.
const SEED: usize = 1_000_000;

pub(crate) fn operations() -> Vec<Operation> {
    let config_maps = OBJECTS.map(|objects| {
        let what =
            format!("decide the create of a 1 KiB ConfigMap among {} objects", grouped(objects as u64));
        Operation::new("turn", format!("config-map-{objects}"), what, 1, move || {
            let state = with_config_maps(objects);
            let input = create(&state, Kind::CONFIG_MAP, config_map("new"));
            turn(state, input)
        })
    });
    let pods = NODES.map(|nodes| {
        let what = format!("decide the create of a pod and its place on {} nodes", grouped(nodes as u64));
        Operation::new("turn", format!("pod-{nodes}"), what, 1, move || {
            let state = with_nodes(nodes);
            let input = create(&state, Kind::POD, pod("new", asks("10m")));
            turn(state, input)
        })
    });
    let what = format!(
        "decide the first turn of a Deployment of {} replicas on 100 nodes",
        grouped(REPLICAS as u64)
    );
    let deployment = Operation::new("turn", "deployment-1000", what, 1, || {
        let state = with_nodes(100);
        let input =
            create(&state, Kind::DEPLOYMENT, workload(Kind::DEPLOYMENT, "new", REPLICAS, asks("10m")));
        turn(state, input)
    });
    config_maps.into_iter().chain(pods).chain([deployment]).collect()
}

/// The turn and that which places its pods, to dropping the state that they made: what the turn made new of it goes, what it shares with the one before stays.
fn turn(state: State, input: Input) -> Action {
    Box::new(move || drop(black_box(placed(&state, black_box(&input), SEED))))
}
