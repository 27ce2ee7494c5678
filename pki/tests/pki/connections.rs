use std::net::{Ipv4Addr, SocketAddr};

use kontiki_pki::{Ca, DialOptions, Dialer, bind};
use kontiki_proto::cluster::Empty;
use kontiki_proto::cluster::cluster_client::ClusterClient;

use crate::stage::{self, Port};

#[tokio::test]
async fn grpc_and_http_on_one_port_both_know_the_caller() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::controller(&ca, 1)).await;
    for (caller, expected) in [
        (stage::controller(&ca, 2), "controller crew-2 (id 2)"),
        (stage::worker(&ca, "node-1"), "worker node-1"),
        (stage::user(&ca, "jane", &["crew"]), "user jane"),
    ] {
        let name = caller.controller_server_name(Some(1));
        let channel =
            Dialer::new(&caller).channel(&port.address.to_string(), name.clone(), DialOptions::default());
        let members = ClusterClient::new(channel).members(Empty {}).await.unwrap().into_inner().members;
        assert_eq!(members[0].name, expected);
        assert_eq!(port.who(caller.client_config(), name).await.unwrap(), expected);
    }
    port.close().await;
}

#[tokio::test]
async fn a_stranger_is_served_as_anonymous() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::controller(&ca, 1)).await;
    assert_eq!(port.who(stage::anonymous_client(&ca), stage::localhost()).await.unwrap(), "anonymous");
    port.close().await;
}

#[tokio::test]
async fn a_controller_answers_to_its_names_and_addresses_only() {
    let ca = Ca::create("pacific").unwrap();
    let identity = stage::controller(&ca, 1);
    let port = Port::open(&identity).await;
    let mut names = vec![identity.controller_server_name(None), identity.controller_server_name(Some(1))];
    for name in ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc", "10.1.2.3", "control.example"] {
        names.push(name.try_into().unwrap());
    }
    for name in names {
        assert!(port.who(identity.client_config(), name.clone()).await.is_ok(), "{name:?}");
    }
    let mut wrong =
        vec![identity.controller_server_name(Some(2)), identity.worker_server_name("crew-1").unwrap()];
    wrong.push(stage::controller(&Ca::create("atlantic").unwrap(), 1).controller_server_name(None));
    for name in wrong {
        let dialed = Dialer::new(&identity).tls(&port.address.to_string(), name.clone()).await;
        let refused = dialed.unwrap_err().to_string();
        assert!(
            refused.contains(&port.address.to_string()) && refused.contains("not valid for"),
            "{refused}"
        );
    }
    port.close().await;
}

#[tokio::test]
async fn a_worker_cannot_stand_in_for_a_controller() {
    let ca = Ca::create("pacific").unwrap();
    let port = Port::open(&stage::worker(&ca, "node-1")).await;
    let caller = stage::worker(&ca, "node-2");
    let dialer = Dialer::new(&caller);
    let address = port.address.to_string();
    dialer.tls(&address, caller.worker_server_name("node-1").unwrap()).await.unwrap();
    for name in [caller.controller_server_name(None), stage::localhost(), "127.0.0.1".try_into().unwrap()] {
        assert!(dialer.tls(&address, name).await.is_err());
    }
    port.close().await;
}

#[tokio::test]
async fn a_server_of_a_foreign_ca_is_not_trusted() {
    // Its names are all right, since it has named its cluster like ours.
    let (ours, theirs) = (Ca::create("pacific").unwrap(), Ca::create("pacific").unwrap());
    let port = Port::open(&stage::controller(&theirs, 1)).await;
    let caller = stage::worker(&ours, "node-1");
    let dialed =
        Dialer::new(&caller).tls(&port.address.to_string(), caller.controller_server_name(Some(1))).await;
    let refused = dialed.unwrap_err().to_string();
    assert!(refused.contains("cannot trust"), "{refused}");
    port.close().await;
}

#[tokio::test]
async fn a_channel_connects_once_its_controller_is_there() {
    let ca = Ca::create("pacific").unwrap();
    let caller = stage::worker(&ca, "node-1");
    let name = caller.controller_server_name(Some(1));
    let address = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false).unwrap().local_addr().unwrap();
    let channel = Dialer::new(&caller).channel(&address.to_string(), name, DialOptions::default());
    let mut client = ClusterClient::new(channel);
    for _ in 0..2 {
        let refused = client.members(Empty {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
        let port = Port::open_at(&stage::controller(&ca, 1), address).await;
        client.members(Empty {}).await.unwrap();
        port.close().await;
    }
}

#[tokio::test]
async fn controllers_of_one_machine_share_a_front_address() {
    let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true).unwrap();
    let address = first.local_addr().unwrap();
    bind(address, true).unwrap();
    let error = bind(address, false).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
