use kontiki_pki::{Ca, DialOptions, Dialer, JoinToken, Role};
use kontiki_proto::cluster::JoinRequest;
use kontiki_proto::cluster::cluster_client::ClusterClient;

use crate::stage::{self, Port};

fn token(ca: &Ca) -> JoinToken {
    JoinToken::generate(Role::Worker, ca.fingerprint()).unwrap()
}

#[tokio::test]
async fn a_newcomer_finds_the_cluster_of_its_token() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::controller(&ca, 1)).await;
    let dialer = Dialer::joining(&token(&ca)).unwrap();
    let channel =
        dialer.channel(&port.address.to_string(), Dialer::joining_server_name(), DialOptions::default());
    let answer = ClusterClient::new(channel).join(JoinRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().cluster_id, "anonymous");
    port.close().await;
}

#[tokio::test]
async fn a_newcomer_trusts_no_other_ca() {
    let (ours, theirs) = (Ca::create("pacific").unwrap(), Ca::create("pacific").unwrap());
    let port = Port::open(&stage::controller(&theirs, 1)).await;
    let dialer = Dialer::joining(&token(&ours)).unwrap();
    let dialed = dialer.tls(&port.address.to_string(), Dialer::joining_server_name()).await;
    let refused = dialed.unwrap_err().to_string();
    assert!(refused.contains("does not belong to the cluster of the join token"), "{refused}");
    port.close().await;
}

#[tokio::test]
async fn a_worker_cannot_collect_join_tokens() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::worker(&ca, "node-1")).await;
    let dialer = Dialer::joining(&token(&ca)).unwrap();
    let dialed = dialer.tls(&port.address.to_string(), Dialer::joining_server_name()).await;
    let refused = dialed.unwrap_err().to_string();
    assert!(refused.contains("worker node-1") && refused.contains("only a controller"), "{refused}");
    port.close().await;
}
