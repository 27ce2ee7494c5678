//! Strangers and mistaken addresses.

use kontiki_proto::raft::raft_client::RaftClient;
use kontiki_proto::raft::{BallotVote, ReadIndexRequest, Route, VoteRequest};
use kontiki_raft::{Limits, OpenError};
use tonic::Code;

use crate::harness::{CLUSTER, Cluster, dial, run};

fn route(cluster: &str, from: u64, to: u64) -> Option<Route> {
    Some(Route { cluster: cluster.into(), from, to })
}

#[test]
fn who_is_not_the_controller_it_says_it_is_is_refused() {
    run(async {
        let cluster = Cluster::of(1, Limits::default()).await;
        let address = cluster.member(1).address;
        let (_, term) = cluster.leader().await;
        let vote = Some(BallotVote { term: term + 100, node_id: 2, committed: false });
        // (certificate's cluster and id, route, what the refusal says)
        let cases = [
            ((CLUSTER, 2), route("other", 2, 1), "not of \"other\""),
            (("other", 2), route(CLUSTER, 2, 1), "is of cluster \"other\""),
            ((CLUSTER, 3), route(CLUSTER, 2, 1), "is not that of controller 2"),
            ((CLUSTER, 2), route(CLUSTER, 2, 7), "this is controller 1, not controller 7"),
            ((CLUSTER, 1), route(CLUSTER, 1, 1), "used twice"),
            ((CLUSTER, 2), None, "no route"),
        ];
        for ((certified, id), route, words) in cases {
            let mut client = RaftClient::new(dial(&address, certified, id));
            let request =
                VoteRequest { route: route.clone(), vote, last_log: None, leadership_transfer: true };
            let refused = client.vote(request).await.unwrap_err();
            assert!(refused.message().contains(words), "{words}: {refused:?}");
            let read = client.read_index(ReadIndexRequest { route }).await.unwrap_err();
            assert_eq!(read.code(), refused.code());
        }
        let anonymous = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let request =
            VoteRequest { route: route(CLUSTER, 2, 1), vote, last_log: None, leadership_transfer: true };
        let refused = RaftClient::new(anonymous.connect_lazy()).vote(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // None of it moved the term.
        assert_eq!(cluster.node(1).status().term, term);
    });
}

#[test]
fn a_data_directory_of_another_controller_is_refused() {
    run(async {
        let mut cluster = Cluster::of(1, Limits::default()).await;
        cluster.node(1).shutdown().await;
        cluster.kill(1);
        let place = cluster.place.path();
        std::fs::rename(place.join("c1"), place.join("c2")).unwrap();
        let error = cluster.try_start(2).await.unwrap_err();
        assert!(matches!(error, OpenError::ForeignIdentity { .. }), "{error}");
        assert!(error.to_string().contains("controller 1 of cluster \"test\""), "{error}");
    });
}

/// Its votes stood there: it must not vote again as if it never had.
#[test]
fn a_log_that_is_gone_is_no_new_beginning() {
    run(async {
        let mut cluster = Cluster::of(1, Limits::default()).await;
        cluster.node(1).shutdown().await;
        cluster.kill(1);
        let log = cluster.place.path().join("c1/raft.db");
        let aside = log.with_extension("aside");
        std::fs::rename(&log, &aside).unwrap();
        for _ in 0..2 {
            let error = cluster.try_start(1).await.unwrap_err();
            assert!(matches!(error, OpenError::Lost { .. }), "{error}");
            assert!(error.to_string().contains("join again with a new token"), "{error}");
        }
        // Put back, it goes on.
        std::fs::rename(&aside, &log).unwrap();
        assert!(cluster.try_start(1).await.is_ok());
    });
}

/// Who ends the process upon the error must not do so while the databases are in use.
#[test]
fn a_node_that_does_not_open_leaves_nothing_open() {
    run(async {
        let mut cluster = Cluster::of(1, Limits::default()).await;
        cluster.node(1).shutdown().await;
        cluster.kill(1);
        std::fs::write(cluster.place.path().join("c1/state/CURRENT"), "nowhere").unwrap();
        for _ in 0..10 {
            let error = cluster.try_open(1).await.err().unwrap();
            assert!(error.to_string().contains("it says \"nowhere\""), "{error}");
        }
    });
}
