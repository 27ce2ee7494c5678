//! A disk that fills up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki_raft::{Limits, ProposeError, Room};

use crate::harness::{Cluster, PATIENCE, run};

#[test]
fn a_full_leader_hands_over_and_loses_nothing() {
    run(async {
        let cluster = Cluster::of(3, Limits::default()).await;
        let before = cluster.write("before").await;
        let (full, term) = cluster.leader().await;
        let reserve = cluster.limits.reserve_bytes;

        // Below the reserve: it says so and gives the leadership away; what the others write still reaches it.
        cluster.nodes[&full].free.store(reserve * 3 / 4, Ordering::Relaxed);
        let mut leadership = cluster.node(full).leadership();
        let handed = leadership.wait_for(|now| !now.leading && now.leader.is_some());
        tokio::time::timeout(PATIENCE, handed).await.unwrap().unwrap();
        let refused = cluster.node(full).propose(b"refused"[..].into(), term).await;
        assert_eq!(refused, Err(ProposeError::StorageFull));
        assert_eq!(cluster.node(full).status().room, Room::Low);
        let during = cluster.write("while it is low").await;
        cluster.settled(during).await;

        // Nothing left: it stores nothing more, the others go on.
        cluster.nodes[&full].free.store(0, Ordering::Relaxed);
        while cluster.node(full).status().room != Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (leader, _) = cluster.leader().await;
        assert_ne!(leader, full);
        let missed = cluster.write("while it is full").await;
        assert!(cluster.node(full).wait_applied(missed.index, Duration::from_millis(300)).await.is_err());

        // Space returns.
        cluster.nodes[&full].free.store(u64::MAX, Ordering::Relaxed);
        // Before it noticed, waiting for it would be refused.
        while cluster.node(full).status().room == Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.settled(missed).await;
        assert!(before < missed);
        let member = cluster.node(leader).transfer_leader(Some(full)).await.unwrap();
        assert_eq!(member.id, full);
        cluster.leader_is(full).await;
        let last = cluster.write("after").await;
        cluster.settled(last).await;
        assert_eq!(cluster.fold(full).values().len(), 4);
    });
}

/// Alone, it cannot hand over: it keeps serving reads and refuses writes until there is room.
#[test]
fn a_full_single_controller_refuses_and_recovers() {
    run(async {
        let cluster = Cluster::of(1, Limits::default()).await;
        cluster.write("before").await;
        let (_, term) = cluster.leader().await;
        cluster.nodes[&1].free.store(0, Ordering::Relaxed);
        while cluster.node(1).status().room != Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cluster.node(1).propose(b"no"[..].into(), term).await, Err(ProposeError::StorageFull));
        assert!(cluster.node(1).read_index().await.is_ok());
        cluster.nodes[&1].free.store(u64::MAX, Ordering::Relaxed);
        while cluster.node(1).status().room != Room::Ample {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.write("after").await;
        assert_eq!(cluster.fold(1).values().len(), 2);
    });
}
