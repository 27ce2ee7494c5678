//! Losing the leader.

use std::time::Instant;

use kontiki_raft::{Limits, ProposeError};

use crate::harness::{Cluster, PATIENCE, run};

#[test]
fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        let mut written = Vec::new();
        for round in 0..3 {
            for number in 0..20 {
                let text = format!("{round}-{number}");
                cluster.write(&text).await;
                written.push(text.into_bytes());
            }
            let (leader, term) = cluster.leader().await;
            let killed = Instant::now();
            cluster.kill(leader);
            let text = format!("after {round}");
            let last = cluster.write(&text).await;
            written.push(text.into_bytes());
            println!(
                "killed the leader of term {term}: the next write was acknowledged after {:?}",
                killed.elapsed()
            );
            assert!(last.term > term);
            // It comes back, as a follower, and catches up.
            cluster.start(leader).await;
            cluster.settled(last).await;
        }
        for id in 1..=3 {
            assert_eq!(cluster.fold(id).values(), written, "controller {id}");
        }
    });
}

#[test]
fn all_killed_at_once_come_back_with_everything() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        let mut last = cluster.write("first").await;
        for number in 0..50 {
            last = cluster.write(&number.to_string()).await;
        }
        for id in 1..=3 {
            cluster.kill(id);
        }
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let next = cluster.write("last").await;
        assert!(next.index > last.index);
        cluster.settled(next).await;
        assert_eq!(cluster.fold(1).values().len(), 52);
    });
}

#[test]
fn proposals_keep_the_order_of_the_calls_and_a_past_term_is_refused() {
    run(async {
        let cluster = Cluster::of(3, Limits::default()).await;
        let (leader, term) = cluster.leader().await;
        let node = cluster.node(leader);
        let proposals: Vec<_> =
            (0..500u32).map(|number| node.propose(number.to_be_bytes().to_vec().into(), term)).collect();
        let mut last = None;
        for proposal in proposals {
            let position = proposal.await.unwrap();
            assert!(Some(position) > last);
            last = Some(position);
        }
        let expected: Vec<Vec<u8>> = (0..500u32).map(|number| number.to_be_bytes().to_vec()).collect();
        assert_eq!(cluster.fold(leader).values(), expected);
        let work = node.status().work;
        assert!(work.syncs < work.entries, "{work:?}");

        let stale = node.propose(b"late"[..].into(), term - 1).await;
        assert!(matches!(stale, Err(ProposeError::NotLeader { .. })), "{stale:?}");
        let follower = (1..=3).find(|id| *id != leader).unwrap();
        let other = cluster.node(follower).propose(b"elsewhere"[..].into(), term).await;
        match other {
            Err(ProposeError::NotLeader { leader: Some(named) }) => assert_eq!(named.id, leader),
            other => panic!("{other:?}"),
        }
        let limit = Limits::default().payload_bytes;
        let large = node.propose(vec![0; limit + 1].into(), term).await;
        assert!(matches!(large, Err(ProposeError::TooLarge { .. })));
    });
}

#[test]
fn every_controller_reads_what_was_acknowledged_before() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        for number in 0..10 {
            let written = cluster.write(&number.to_string()).await;
            for id in 1..=3 {
                let index = cluster.node(id).read_index().await.unwrap();
                assert!(index >= written.index);
                cluster.node(id).wait_applied(index, PATIENCE).await.unwrap();
                assert_eq!(cluster.fold(id).values().last().unwrap(), number.to_string().as_bytes());
            }
        }
        // Across a failover too, and never without a quorum.
        let (leader, _) = cluster.leader().await;
        cluster.kill(leader);
        let left: Vec<u64> = cluster.nodes.keys().copied().collect();
        cluster.write("after").await;
        assert!(cluster.node(left[0]).read_index().await.is_ok());
        cluster.kill(left[1]);
        assert!(cluster.node(left[0]).read_index().await.is_err());
    });
}

/// The consensus takes no proposals once it was told to hand over, whether or not anybody hears of it: who still called it the leader
/// would wait for it, and keep the others from electing one by asking them whether they follow it.
#[test]
fn who_hands_over_leads_no_more_though_nobody_hears_of_it() {
    run(async {
        let cluster = Cluster::relayed(3, Limits::default()).await;
        let (leader, term) = cluster.leader().await;
        let (old, successor) = (cluster.node(leader).clone(), leader % 3 + 1);
        let relays = cluster.relays();
        relays.hold_questions_of(leader, true);
        relays.hold_questions_to(cluster.address(leader), true);
        let mut leadership = old.leadership();
        let handing_over = tokio::spawn(async move { old.transfer_leader(Some(successor)).await });
        let stopped = leadership.wait_for(|now| !now.leading);
        let stopped = tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap().clone();
        assert_eq!((stopped.term, stopped.leader.map(|leader| leader.id)), (term, Some(leader)));

        let next = cluster.leader_after(term).await;
        relays.hold_questions_of(leader, false);
        relays.hold_questions_to(cluster.address(leader), false);
        let written = cluster.write_at(next, "after").await;
        cluster.settled(written).await;
        let _ = handing_over.await.unwrap();
    });
}
