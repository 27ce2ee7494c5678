//! A turn that is full leaves work to the next ones, and forgets none of it: every pod that it made, and every one that waits while
//! capacity came free, is tried without anybody else having to change something.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment};
use kontiki_actors::{Kind, input::Life};

/// More than a turn makes, or places.
const PODS: usize = 2000;
const LOST: [&str; 4] = ["node-0", "node-3", "node-6", "node-9"];

#[test]
fn pods_of_full_turns_are_placed_with_no_help_from_outside() {
    let mut cluster = Cluster::new(12);
    cluster.create(Kind::DEPLOYMENT, deployment("web", PODS as i64));
    cluster.advance(5);
    assert_eq!(cluster.state.list(Kind::POD, None).count(), PODS);
    assert_eq!(cluster.state.unplaced().count(), 0, "nobody tries them any more");
}

#[test]
fn pods_of_a_lost_zone_are_all_placed_elsewhere() {
    let mut cluster = Cluster::new(12);
    cluster.create(Kind::DEPLOYMENT, deployment("web", PODS as i64));
    cluster.advance(5);
    cluster.verdicts(&LOST, Life::Down);
    cluster.advance(5);
    assert_eq!(cluster.state.unplaced().count(), 0, "nobody tries them any more");
    let placed = cluster.state.list(Kind::POD, None).filter_map(|pod| pod.pod()?.node.clone());
    assert_eq!(placed.filter(|node| !LOST.contains(&&**node)).count(), PODS);
}
