//! A leader that was cut off and hears late answers takes them for what they are.

use kontiki_raft::Limits;

use crate::harness::{Cluster, PATIENCE, run};

/// Writes of the old leader that the others store, and whose answers are held.
const WRITES: u64 = 20;

#[test]
fn late_answers_are_no_word_that_it_leads_still() {
    run(async {
        let cluster = Cluster::relayed(3, Limits::default()).await;
        let (leader, term) = cluster.leader().await;
        let old = cluster.node(leader);
        let relays = cluster.relays();
        relays.hold_answers_to(leader, true);
        relays.hold_questions_to(cluster.address(leader), true);
        // Each is sent by itself: the next comes when the others have it.
        let last = old.status().last_log.unwrap();
        let mut waiting = Vec::new();
        for n in 1..=WRITES {
            waiting.push(old.propose(format!("held {n}").into_bytes().into(), term));
            cluster.followers_have(leader, term, last + n).await;
        }
        relays.hold_questions_of(leader, true);
        let next = cluster.leader_after(term).await;
        let written = cluster.write_at(next, "new").await;

        let reader = old.clone();
        let reading = tokio::spawn(async move { reader.read_index().await });
        // The read is to be under way when the answers come; if it is not, this test proves nothing, and fails nothing.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        relays.hold_answers_to(leader, false);
        let read = tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        if let Ok(index) = read {
            assert!(
                index >= written.index,
                "it read at {index}, and {} was acknowledged before",
                written.index
            );
        }
        relays.hold_questions_of(leader, false);
        relays.hold_questions_to(cluster.address(leader), false);
        drop(waiting);
        cluster.settled(written).await;
    });
}
