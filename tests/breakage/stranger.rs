//! Certificates: who has none of this cluster gets nowhere, and who has one does only what is its own.

use http::Method;
use kontiki_chaos_tests::{Client, exchange};
use kontiki_pki::{Ca, DEFAULT_LIFETIME, DialOptions, Dialer, Identity, Subject};
use kontiki_proto::{
    cluster::{CreateTokenRequest, Empty, RemoveRequest, SubmitRequest, cluster_client::ClusterClient},
    raft::{BallotVote, Route, VoteRequest, raft_client::RaftClient},
    worker::{FromWorker, Hello, from_worker, sessions_client::SessionsClient},
};
use serde_json::{Value, json};
use tonic::{Code, Request, Status, transport::Channel};

use crate::stage::{MAPS, Stage, run};

#[test]
fn a_worker_writes_its_own_node_and_pods_only() {
    let stage = Stage::of(1, 2);
    let (own, address) = (stage.identity_of("w1"), stage.address());
    let admin = stage.admin();
    for node in ["w1", "w2"] {
        let pod = json!({"metadata": {"name": node}, "spec": {"nodeName": node, "containers": [
            {"name": "sleep", "image": "kontiki.local/web:1", "command": ["/bin/sh", "-c", "sleep 1000"]}]}});
        run(async {
            let client = Client::connect(&admin, &address).await.unwrap();
            client.expect(Method::POST, PODS, Some(&pod)).await.unwrap();
        });
    }
    let status = json!({"status": {"message": "w1 was here"}});
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let tier = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/tier": "a"}}});
    let map = json!({"metadata": {"name": "a"}});
    let pod = |name: &str| format!("{PODS}/{name}");
    // (allowed, method, path, body)
    let cases: Vec<(bool, Method, String, Option<Value>)> = vec![
        (true, Method::GET, "/api/v1/nodes/w1".into(), None),
        (true, Method::PATCH, "/api/v1/nodes/w1/status".into(), Some(json!({}))),
        (true, Method::GET, pod("w1"), None),
        (true, Method::PATCH, format!("{}/status", pod("w1")), Some(status.clone())),
        (true, Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName%3Dw1".into(), None),
        (true, Method::PATCH, "/api/v1/nodes/w1".into(), Some(label.clone())),
        (false, Method::PATCH, "/api/v1/nodes/w1".into(), Some(tier)),
        (false, Method::GET, "/api/v1/nodes/w2".into(), None),
        (false, Method::PATCH, "/api/v1/nodes/w2".into(), Some(label.clone())),
        (false, Method::PATCH, "/api/v1/nodes/w2/status".into(), Some(status.clone())),
        (false, Method::DELETE, "/api/v1/nodes/w2".into(), None),
        (false, Method::GET, pod("w2"), None),
        (false, Method::PATCH, format!("{}/status", pod("w2")), Some(status.clone())),
        (false, Method::PATCH, pod("w1"), Some(label.clone())),
        (false, Method::DELETE, pod("w2"), None),
        (false, Method::POST, format!("{}/eviction", pod("w2")), Some(json!({}))),
        (false, Method::POST, format!("{}/binding", pod("w2")), Some(json!({"target": {"name": "w1"}}))),
        (false, Method::GET, "/api/v1/pods".into(), None),
        (false, Method::GET, "/api/v1/pods?fieldSelector=spec.nodeName%3Dw2".into(), None),
        (false, Method::GET, "/api/v1/namespaces/kube-system/secrets".into(), None),
        (false, Method::GET, MAPS.into(), None),
        (false, Method::POST, MAPS.into(), Some(map.clone())),
        (false, Method::POST, PODS.into(), Some(map.clone())),
        (false, Method::POST, "/api/v1/nodes".into(), Some(json!({"metadata": {"name": "w9"}}))),
        (false, Method::GET, "/metrics".into(), None),
    ];
    run(async {
        let client = Client::connect(&own, &address).await.unwrap();
        for (allowed, method, path, body) in cases {
            let answer = client.send(method.clone(), &path, body.as_ref()).await.unwrap();
            let context = format!("{method} {path}: {answer:?}");
            if allowed {
                assert!(answer.code < 300, "{context}");
            } else {
                assert_eq!(
                    (answer.code, answer.body["reason"].as_str()),
                    (403, Some("Forbidden")),
                    "{context}"
                );
            }
        }
        calls_of_a_worker(&own, &stage.address_of("c1")).await;
    });
    stage.logs("c1", "a session was refused: the certificate is another's");
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// What a worker may call is Members and Status, and its own session.
async fn calls_of_a_worker(own: &Identity, address: &str) {
    let channel = dial(own, address);
    let mut cluster = ClusterClient::new(channel.clone());
    cluster.members(Empty {}).await.unwrap();
    let refused = [
        code(cluster.create_token(CreateTokenRequest { role: 1, ttl_seconds: 60 }).await),
        code(cluster.remove(RemoveRequest { id: 1 }).await),
        code(cluster.submit(SubmitRequest::default()).await),
        code(RaftClient::new(channel.clone()).vote(ballot(own.cluster_id(), 2)).await),
    ];
    assert_eq!(refused, [Some(Code::PermissionDenied); 4]);
    let hello = Hello { node: "w2".into(), ..Hello::default() };
    let hello = FromWorker { what: Some(from_worker::What::Hello(hello)) };
    let session = SessionsClient::new(channel).session(tokio_stream::iter([hello])).await;
    let Err(refused) = session else { panic!("w1 must not speak for w2") };
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("worker w1 may not speak for node \"w2\""), "{refused:?}");
}

#[test]
fn certificates_of_strangers_are_refused_everywhere() {
    let stage = Stage::of(1, 0);
    let address = stage.address();
    let ours = stage.identity_of("c1");
    let cluster = ours.cluster_id().to_owned();
    // Another cluster, and an impostor that gave its own CA our cluster's name.
    let others =
        [("elsewhere", Ca::create("elsewhere").unwrap()), ("impostor", Ca::create(&cluster).unwrap())];
    for (name, ca) in &others {
        let admin = Subject::User { name: format!("admin-{name}"), groups: vec!["system:masters".into()] };
        let controller = Subject::Controller { id: 1, name: format!("c-{name}"), addresses: vec![] };
        for subject in [admin, controller, Subject::Worker { name: format!("w-{name}") }] {
            let pair = ca.issue(&subject, DEFAULT_LIFETIME).unwrap();
            // It trusts us, so that it is us who refuse.
            let config =
                kontiki_chaos_tests::stranger(ours.ca_cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
            run(async {
                let answer = exchange(config, &ours, &address, &format!("GET {MAPS} HTTP/1.1"), b"").await;
                let error = answer.expect_err("no connection for a stranger");
                assert!(format!("{error:#}").to_lowercase().contains("alert"), "{error:#}");
            });
        }
    }
    for who in ["admin-elsewhere", "c-elsewhere", "w-elsewhere", "admin-impostor", "c-impostor", "w-impostor"]
    {
        stage.logs("c1", who);
    }
    stage.logs("c1", "is signed by a foreign CA");

    // And the other way round: a certificate of ours does not trust another cluster's controller.
    run(async {
        let pair =
            others[0].1.issue(&Subject::User { name: "u".into(), groups: vec![] }, DEFAULT_LIFETIME).unwrap();
        let foreign = Identity::new(others[0].1.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
        let error =
            Client::connect(&foreign, &address).await.err().expect("our server is not of its cluster");
        assert!(format!("{error:#}").contains("cannot trust"), "{error:#}");
        let gone = RaftClient::new(dial(&foreign, &address)).vote(ballot("elsewhere", 1)).await.unwrap_err();
        assert_eq!(gone.code(), Code::Unavailable);
        as_a_peer(&ours, &address).await;
    });
    stage.logs("c1", "refused a controller's request");
}

/// With a good certificate, but as somebody else, or for somebody else.
async fn as_a_peer(ours: &Identity, address: &str) {
    let mut raft = RaftClient::new(dial(ours, address));
    for (cluster, from, to, words) in [
        ("elsewhere", 2, 1, "not of \"elsewhere\""),
        (ours.cluster_id(), 2, 1, "is not that of controller 2"),
        (ours.cluster_id(), 2, 7, "not controller 7"),
    ] {
        let mut ballot = ballot(cluster, to);
        ballot.get_mut().route.as_mut().unwrap().from = from;
        let refused = raft.vote(ballot).await.unwrap_err();
        assert!(refused.message().contains(words), "{refused:?}");
    }
}

fn ballot(cluster: &str, to: u64) -> Request<VoteRequest> {
    let to = if to == 2 { 1 } else { to };
    Request::new(VoteRequest {
        route: Some(Route { cluster: cluster.into(), from: 2, to }),
        vote: Some(BallotVote { term: 1000, node_id: 2, committed: false }),
        last_log: None,
        leadership_transfer: true,
    })
}

fn dial(identity: &Identity, address: &str) -> Channel {
    Dialer::new(identity).channel(address, identity.controller_server_name(None), DialOptions::default())
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}
