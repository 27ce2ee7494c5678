//! Joining, leaving and handing over.

use kontiki_raft::{ChangeError, Limits, Node, Role};

use crate::harness::{Cluster, PATIENCE, run};

fn refusal(result: Result<(), ChangeError>) -> String {
    match result {
        Err(ChangeError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_controller_learns_votes_leads_and_leaves() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        cluster.write("three").await;
        cluster.start(4).await;
        let member = cluster.member(4);
        cluster.node(1).add_learner(member.clone()).await.unwrap();
        cluster.node(1).add_learner(member.clone()).await.unwrap();
        let learner =
            cluster.node(1).status().members.into_iter().find(|member| member.info.id == 4).unwrap();
        assert!(!learner.voter);
        assert!(
            refusal(cluster.node(1).transfer_leader(Some(4)).await.map(drop)).contains("promote it first")
        );
        cluster.node(1).promote(4).await.unwrap();
        assert!(cluster.node(1).advice().iter().any(|text| text.starts_with("4 voting controllers")));

        let leader = cluster.node(1).transfer_leader(Some(4)).await.unwrap();
        assert_eq!(leader, member);
        cluster.leader_is(4).await;
        assert_eq!(cluster.node(4).status().role, Role::Leader);
        cluster.write("led by the fourth").await;

        // The old leader goes for good; only the leader may say so.
        let elsewhere = cluster.node(2).remove(1).await;
        assert!(matches!(elsewhere, Err(ChangeError::NotLeader { .. })), "{elsewhere:?}");
        cluster.node(4).remove(1).await.unwrap();
        cluster.kill(1);
        assert!(cluster.node(4).advice().is_empty());

        // A leader that removes itself hands over.
        cluster.node(4).remove(4).await.unwrap();
        let mut leadership = cluster.node(2).leadership();
        let moved = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != 4));
        tokio::time::timeout(PATIENCE, moved).await.unwrap().unwrap();
        cluster.kill(4);
        let last = cluster.write("two are left").await;
        cluster.settled(last).await;
        assert_eq!(cluster.fold(2).values().len(), 3);
    });
}

#[test]
fn nothing_is_done_that_would_cost_the_quorum() {
    run(async {
        let mut cluster = Cluster::of(3, Limits::default()).await;
        let (leader, _) = cluster.leader().await;
        let dead = (1..=3).find(|id| *id != leader).unwrap();
        cluster.kill(dead);
        let known = |node: &Node| {
            node.status().members.iter().any(|m| m.info.id == dead && m.reachable == Some(false))
        };
        let other = |node: &Node| (1..=3).find(|id| *id != dead && *id != node.status().id).unwrap();
        let refused = cluster.changed(async |node| {
            // Until who leads knows that it is silent; the leadership may move meanwhile, and then another one is asked.
            while node.leadership().borrow().leading && !known(node) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            node.remove(other(node)).await
        });
        let text = refusal(refused.await);
        assert!(text.contains("too few for a majority") && text.contains(&format!("c{dead}")), "{text}");
        // The dead one can go, and another takes its place under a new number.
        cluster.changed(async |node| node.remove(dead).await).await.unwrap();
        let mut twin = cluster.member(leader);
        twin.id = 9;
        let twice = cluster.changed(async |node| node.add_learner(twin.clone()).await).await;
        assert!(refusal(twice).contains("already"));
        cluster.start(4).await;
        let fourth = cluster.member(4);
        cluster.changed(async |node| node.add_learner(fourth.clone()).await).await.unwrap();
        cluster.changed(async |node| node.promote(4).await).await.unwrap();
        let last = cluster.write("replaced").await;
        cluster.settled(last).await;
        let nobody = cluster.changed(async |node| node.promote(77).await).await;
        assert!(refusal(nobody).contains("no controller 77"));
    });
}

#[test]
fn the_last_controller_stays() {
    run(async {
        let cluster = Cluster::of(1, Limits::default()).await;
        assert!(refusal(cluster.node(1).remove(1).await).contains("last voting controller"));
        assert!(cluster.node(1).advice()[0].starts_with("one controller"));
        assert!(cluster.node(1).initialize().await.is_err());
        assert!(cluster.node(1).status().quorum_ok);
    });
}
