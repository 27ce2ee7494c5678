//! Services get ports on all nodes that nobody else has, and keep them until they are of another type.
#![allow(clippy::unwrap_used)]

mod driver;

use std::collections::BTreeSet;

use driver::{Cluster, key};
use kontiki_actors::{Document, Input, Kind, Outcome, Request, input::Part};
use serde_json::{Value, json};

fn document(name: &str, spec: Value) -> Document {
    Document::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
}

fn create(cluster: &mut Cluster, name: &str, spec: Value) -> Result<Vec<u64>, String> {
    let document = document(name, spec);
    let key = key(Kind::SERVICE, name);
    told(cluster, name, Request::Create { key, generate_name: None, document, dry_run: false })
}

fn replace(cluster: &mut Cluster, name: &str, spec: Value) -> Result<Vec<u64>, String> {
    let document = document(name, spec);
    let key = key(Kind::SERVICE, name);
    let part = Part::Main;
    told(cluster, name, Request::Update { key, document, part, revision: None, uid: None, dry_run: false })
}

/// The ports that a write left, or why it was refused.
fn told(cluster: &mut Cluster, name: &str, request: Request) -> Result<Vec<u64>, String> {
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection.to_string()),
        _ => {
            let spec = cluster.get(Kind::SERVICE, name).document.spec_value();
            let ports = spec["ports"].as_array().unwrap().iter();
            Ok(ports.map(|port| port["nodePort"].as_u64().unwrap_or(0)).collect())
        }
    }
}

fn port(number: u16) -> Value {
    json!({"port": number, "protocol": "TCP", "name": format!("p{number}")})
}

fn asked(number: u16, node_port: i64) -> Value {
    json!({"port": number, "protocol": "TCP", "name": format!("p{number}"), "nodePort": node_port})
}

fn of_type(kind: &str, ports: &[Value]) -> Value {
    json!({"type": kind, "ports": ports})
}

#[test]
fn those_that_have_some_get_a_port_for_each_of_theirs() {
    let mut cluster = Cluster::new(0);
    let mut all = BTreeSet::new();
    for (name, kind) in [("a", "NodePort"), ("b", "LoadBalancer"), ("c", "NodePort")] {
        let given = create(&mut cluster, name, of_type(kind, &[port(80), port(443)])).unwrap();
        for port in given {
            assert!(
                (30_086..=32_767).contains(&port),
                "the lower ones are for those who name theirs: {port}"
            );
            assert!(all.insert(port), "{port} was given twice");
            assert_eq!(cluster.state.service_at(port.try_into().unwrap()), Some(&key(Kind::SERVICE, name)));
        }
    }
    assert_eq!(create(&mut cluster, "in", of_type("ClusterIP", &[port(80)])).unwrap(), [0]);
    let mut without = of_type("LoadBalancer", &[port(80)]);
    without["allocateLoadBalancerNodePorts"] = false.into();
    assert_eq!(create(&mut cluster, "without", without).unwrap(), [0]);
    // The same port by two protocols has one number.
    let udp = json!({"port": 53, "protocol": "UDP", "name": "udp"});
    let given = create(&mut cluster, "dns", of_type("NodePort", &[port(53), udp])).unwrap();
    assert_eq!(given[0], given[1]);
    cluster.assert_replicas_agree();
    for port in all {
        let port = port.try_into().unwrap();
        assert_eq!(cluster.follower.service_at(port), cluster.state.service_at(port));
    }
}

#[test]
fn one_that_is_named_must_be_free_and_of_the_range() {
    let mut cluster = Cluster::new(0);
    assert_eq!(create(&mut cluster, "one", of_type("NodePort", &[asked(80, 30_001)])).unwrap(), [30_001]);
    let why = create(&mut cluster, "two", of_type("NodePort", &[asked(80, 30_001)])).unwrap_err();
    let words = "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated";
    assert!(why.ends_with(words), "{why}");
    for wrong in [80, 29_999, 32_768, 70_000, -1] {
        let why =
            create(&mut cluster, "two", of_type("NodePort", &[port(80), asked(81, wrong)])).unwrap_err();
        let words = format!(
            "spec.ports[1].nodePort: Invalid value: {wrong}: provided port is not in the valid range. The range of valid ports is \
             30000-32767"
        );
        assert!(why.ends_with(&words), "{why}");
    }
    // What it has it may name, and another one, too.
    let both = of_type("NodePort", &[asked(80, 30_001), asked(81, 30_002)]);
    assert_eq!(replace(&mut cluster, "one", both).unwrap(), [30_001, 30_002]);
    assert_eq!(replace(&mut cluster, "one", of_type("NodePort", &[asked(80, 30_003)])).unwrap(), [30_003]);
    assert_eq!(create(&mut cluster, "two", of_type("NodePort", &[asked(80, 30_002)])).unwrap(), [30_002]);
}

#[test]
fn they_are_given_back() {
    let mut cluster = Cluster::new(0);
    create(&mut cluster, "one", of_type("NodePort", &[asked(80, 30_001), asked(81, 30_002)])).unwrap();
    assert_eq!(replace(&mut cluster, "one", of_type("ClusterIP", &[port(80), port(81)])).unwrap(), [0, 0]);
    assert_eq!(cluster.state.service_at(30_001), None);
    create(&mut cluster, "two", of_type("NodePort", &[asked(80, 30_001)])).unwrap();
    cluster.delete(Kind::SERVICE, "two", None);
    assert_eq!(cluster.state.service_at(30_001), None);
    assert_eq!(replace(&mut cluster, "one", of_type("NodePort", &[asked(80, 30_001)])).unwrap(), [30_001]);
}

#[test]
fn balancers_that_ask_for_local_pods_have_a_port_to_ask_at() {
    let mut cluster = Cluster::new(0);
    let mut spec = of_type("LoadBalancer", &[port(80)]);
    spec["externalTrafficPolicy"] = "Local".into();
    create(&mut cluster, "one", spec).unwrap();
    let spec = cluster.get(Kind::SERVICE, "one").document.spec_value();
    let health = u16::try_from(spec["healthCheckNodePort"].as_u64().unwrap()).unwrap();
    assert_eq!(cluster.state.service_at(health), Some(&key(Kind::SERVICE, "one")));
    assert_ne!(spec["ports"][0]["nodePort"], health);
}

#[test]
fn the_range_ends() {
    let mut cluster = Cluster::new(0);
    // 2,768 ports: eleven Services of 250, and one of the rest.
    let ports: Vec<Value> = (1..=250).map(port).collect();
    for n in 0..11 {
        create(&mut cluster, &format!("s{n}"), of_type("NodePort", &ports)).unwrap();
    }
    let given = create(&mut cluster, "rest", of_type("NodePort", &ports[..18])).unwrap();
    assert!(given.iter().all(|port| (30_000..=32_767).contains(port)));
    let why = create(&mut cluster, "late", of_type("NodePort", &[port(80)])).unwrap_err();
    assert!(why.ends_with("failed to allocate a nodePort: range is full"), "{why}");
    assert!(cluster.find(Kind::SERVICE, "late").is_none());
}
