//! Followers that fell too far behind, and newcomers.

use kontiki_raft::{Limits, OpenError};

use crate::harness::{Cluster, PATIENCE, run};

fn limits() -> Limits {
    Limits { snapshot_entries: 50, kept_entries: 10, ..Limits::default() }
}

async fn write_many(cluster: &Cluster, count: u32) -> kontiki_raft::LogPosition {
    let (leader, term) = cluster.leader().await;
    let node = cluster.node(leader);
    let payload = |number: u32| format!("{number}-{}", "x".repeat(1000)).into_bytes();
    let proposals: Vec<_> = (0..count).map(|number| node.propose(payload(number).into(), term)).collect();
    let mut last = None;
    for proposal in proposals {
        last = Some(proposal.await.unwrap());
    }
    last.unwrap()
}

#[test]
fn a_follower_that_missed_the_purged_log_is_sent_a_snapshot() {
    run(async {
        let mut cluster = Cluster::of(3, limits()).await;
        let before = write_many(&cluster, 10).await;
        cluster.settled(before).await;
        let (leader, _) = cluster.leader().await;
        let follower = (1..=3).find(|id| *id != leader).unwrap();
        cluster.kill(follower);
        let mut last = write_many(&cluster, 100).await;
        // Until the entries that it needs are gone.
        while cluster.node(cluster.leader().await.0).status().purged < Some(before.index + 1) {
            last = write_many(&cluster, 60).await;
        }
        cluster.start(follower).await;
        last = write_many(&cluster, 5).await.max(last);
        cluster.settled(last).await;
        let status = cluster.node(follower).status();
        assert!(status.durable.is_some() && status.snapshot > Some(before.index), "{status:?}");

        // What it was sent survives a crash, and the next entries come from the log.
        cluster.kill(follower);
        let last = write_many(&cluster, 5).await;
        cluster.start(follower).await;
        cluster.settled(last).await;
    });
}

/// What the log purged is in the state only: without it, a controller must not begin from nothing.
#[test]
fn a_state_that_ends_before_its_log_begins_refuses() {
    run(async {
        let mut cluster = Cluster::of(1, limits()).await;
        while cluster.node(1).status().purged < Some(20) {
            write_many(&cluster, 60).await;
        }
        cluster.node(1).shutdown().await;
        cluster.kill(1);
        let state = cluster.place.path().join("c1/state");
        std::fs::remove_dir_all(&state).unwrap();
        let error = cluster.try_start(1).await.err().unwrap();
        assert!(matches!(&error, OpenError::Corrupt { directory, .. } if *directory == state), "{error}");
    });
}

#[test]
fn no_controller_purges_what_its_state_does_not_hold() {
    run(async {
        let mut cluster = Cluster::of(3, limits()).await;
        for _ in 0..6 {
            let last = write_many(&cluster, 60).await;
            cluster.settled(last).await;
            for id in 1..=3 {
                let status = cluster.node(id).status();
                assert!(status.purged <= status.durable, "{status:?}");
            }
        }
        for id in 1..=3 {
            cluster.kill(id);
        }
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let last = cluster.write("after").await;
        cluster.settled(last).await;
        assert_eq!(cluster.fold(2).values().len(), 361);
    });
}

#[test]
fn a_newcomer_starts_from_a_snapshot() {
    run(async {
        let mut cluster = Cluster::of(1, limits()).await;
        while cluster.node(1).status().purged < Some(20) {
            write_many(&cluster, 60).await;
        }
        cluster.start(2).await;
        cluster.node(1).add_learner(cluster.member(2)).await.unwrap();
        cluster.node(1).promote(2).await.unwrap();
        let last = cluster.write("with two").await;
        cluster.settled(last).await;
        cluster.node(2).wait_applied(last.index, PATIENCE).await.unwrap();
    });
}
