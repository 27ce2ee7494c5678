//! What workers say, and what is not believed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, replica_set, running};
use kontiki_actors::Kind;
use serde_json::json;

#[test]
fn what_has_ended_does_not_come_back() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 2));
    cluster.work_out();
    let ended = cluster.active()[0].clone();
    cluster.report(std::slice::from_ref(&ended), |_| (json!({"phase": "Failed"}), false));
    // Its place is another's now: a worker that says that it runs after all would have the set delete a pod that does.
    let active = cluster.active();
    assert_eq!(active.len(), 2);
    cluster.report(std::slice::from_ref(&ended), |_| (running(true, "2026-01-01T00:00:00Z"), false));
    let names = |pods: &[std::sync::Arc<kontiki_actors::Object>]| -> Vec<_> {
        pods.iter().map(|pod| pod.key.clone()).collect()
    };
    assert_eq!(names(&cluster.active()), names(&active));
    assert!(cluster.state.get(&ended.key).unwrap().pod().unwrap().terminal());
}
