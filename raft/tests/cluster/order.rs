//! What was decided on a refused proposal is refused, too.

use std::time::Duration;

use kontiki_raft::{Limits, ProposeError};

use crate::harness::{Cluster, run};

/// Longer than a leader's lease, shorter than a proposal waits for a majority that is away.
const MOMENT: Duration = Duration::from_millis(50);

#[test]
fn a_leader_whose_majority_comes_back_takes_nothing_that_was_decided_on_what_it_refused() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        cluster.write("before").await;
        let (leader, term) = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        others.iter().for_each(|id| cluster.kill(*id));
        let propose = |text: &'static str| cluster.node(leader).propose_next(text.into(), term);
        // Without a majority it takes proposals until its lease has run out.
        loop {
            match tokio::time::timeout(MOMENT, propose("refused")).await {
                Ok(Err(ProposeError::NotLeader { .. })) => break,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        for id in others {
            cluster.start(id).await;
        }
        // It leads again in the same term, or another one leads: either way nobody takes this.
        let last = cluster.write("after").await;
        let gap = cluster.node(leader).propose_next("decided on what was refused".into(), term).await;
        assert!(matches!(gap, Err(ProposeError::NotLeader { .. })), "{gap:?}");
        cluster.settled(last).await;
        // Once its proposer has begun again, it takes what is decided from then on, if it still leads.
        cluster.node(leader).begin_again();
        let anew = cluster.node(leader).propose_next("anew".into(), term).await;
        assert!(anew.is_ok() || cluster.leader().await.1 > term, "{anew:?}");
        for id in 1..=3 {
            let values = cluster.fold(id).values();
            assert!(!values.contains(&b"decided on what was refused".to_vec()), "controller {id}");
        }
    });
}
