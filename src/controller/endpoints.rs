//! Where the controllers are reached, as clients look it up: the Endpoints of the Service `kubernetes`. Whoever leads keeps them in line
//! with the members of the consensus. A member that is away stays among them: it mostly comes back, and clients try another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix::Addr;
use kontiki_actors::{Document, Input, Kind, ObjectKey};
use kontiki_raft::Node;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    replica::Replica,
    stage::{Stage, Submit},
};

/// How often it is looked whether they are right, as Kubernetes' API servers do.
const PAUSE: Duration = Duration::from_secs(10);
/// An entry is committed within this time, or it is looked again.
const COMMIT: Duration = Duration::from_secs(5);

/// Keeps them, in this term.
pub(super) async fn keep(term: u64, node: Node, replica: Arc<Replica>, stage: Addr<Stage>) {
    let key = ObjectKey::new(Kind::ENDPOINTS, "default", "kubernetes");
    loop {
        let members = node.status().members;
        let wanted = subsets(members.iter().map(|member| member.info.address.as_str()));
        let there = replica.view().get(&key).map(|object| object.document.rest_value()["subsets"].take());
        if there.as_ref() != Some(&wanted) {
            let metadata = json!({"name": key.name, "namespace": key.namespace});
            let document = Document::from_value(json!({"metadata": metadata, "subsets": wanted}));
            let (reply, answer) = oneshot::channel();
            let input = Input::Bootstrap(vec![(key.clone(), document)]);
            let submit = Submit { input, request: None, term: Some(term), trace: None, reply: Some(reply) };
            if stage.try_send(submit).is_ok() {
                // Whatever came of it is seen the next time.
                timeout(COMMIT, answer).await.ok();
            }
        }
        sleep(PAUSE).await;
    }
}

/// One for each port. Names of hosts are no addresses: whoever is known by one is not among them.
fn subsets<'a>(members: impl Iterator<Item = &'a str>) -> Value {
    let mut ports: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    for member in members.filter_map(|address| address.parse::<SocketAddr>().ok()) {
        ports.entry(member.port()).or_default().insert(member.ip());
    }
    let subset = |(port, addresses): (u16, BTreeSet<IpAddr>)| {
        let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
        json!({"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
    };
    ports.into_iter().map(subset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_one_port_are_together() {
        let of = |members: &[&str]| subsets(members.iter().copied());
        let subset = |addresses: Value, port: u16| {
            let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
            json!({"addresses": addresses, "ports": ports})
        };
        assert_eq!(
            of(&["10.0.0.2:6443", "10.0.0.1:6443", "[2001:db8::1]:7443", "c4.example.com:6443"]),
            json!([
                subset(json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]), 6443),
                subset(json!([{"ip": "2001:db8::1"}]), 7443),
            ])
        );
        assert_eq!(of(&["c1.example.com:6443"]), json!([]));
    }
}
