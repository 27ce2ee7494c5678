//! Services get addresses that nobody else has, and keep them.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{collections::BTreeSet, net::IpAddr};

use driver::{Cluster, key};
use kontiki_actors::{Document, Input, Kind, Outcome, Request, input::Part, kinds::service_cidr};
use serde_json::{Value, json};

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn create(cluster: &mut Cluster, name: &str, spec: Value) -> Result<String, String> {
    let document = Document::from_value(service(name, spec));
    let key = key(Kind::SERVICE, name);
    let request = Request::Create { key, generate_name: None, document, dry_run: false };
    told(cluster, name, request)
}

fn replace(cluster: &mut Cluster, name: &str, spec: Value) -> Result<String, String> {
    let document = Document::from_value(service(name, spec));
    let key = key(Kind::SERVICE, name);
    let request =
        Request::Update { key, document, part: Part::Main, revision: None, uid: None, dry_run: false };
    told(cluster, name, request)
}

/// The address that a write gave, or why it was refused.
fn told(cluster: &mut Cluster, name: &str, request: Request) -> Result<String, String> {
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection.to_string()),
        _ => Ok(address(cluster, name)),
    }
}

fn address(cluster: &Cluster, name: &str) -> String {
    let spec = cluster.get(Kind::SERVICE, name).document.spec_value();
    let address = spec["clusterIP"].as_str().unwrap_or_default();
    assert!(address.is_empty() || spec["clusterIPs"] == json!([address]), "{spec}");
    address.to_string()
}

fn named(address: &str) -> Value {
    json!({"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address]})
}

/// Two ranges of 14 addresses, and 2.
fn ranges(cluster: &mut Cluster) {
    for (name, cidr) in [("a", "10.9.0.0/28"), ("b", "10.9.1.0/30")] {
        cluster.create(Kind::SERVICE_CIDR, json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}}));
    }
}

#[test]
fn services_of_types_that_have_one_get_an_address() {
    let mut cluster = Cluster::new(0);
    for kind in ["ClusterIP", "NodePort", "LoadBalancer"] {
        let given = create(&mut cluster, &kind.to_lowercase(), json!({"type": kind})).unwrap();
        let given: IpAddr = given.parse().unwrap();
        let IpAddr::V4(four) = given else { panic!("{given}") };
        assert!(four.octets()[0] == 10 && (96..112).contains(&four.octets()[1]), "of 10.96.0.0/12: {four}");
        let owner = cluster.state.service_of(given);
        assert_eq!(owner, Some(&key(Kind::SERVICE, &kind.to_lowercase())));
    }
    assert_eq!(create(&mut cluster, "headless", named("None")).unwrap(), "None");
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    assert_eq!(create(&mut cluster, "external", external).unwrap(), "");
}

#[test]
fn no_two_have_the_same_until_the_ranges_are_full() {
    let mut cluster = Cluster::new(0);
    ranges(&mut cluster);
    let mut all = BTreeSet::new();
    for number in 0..16 {
        let given = create(&mut cluster, &format!("s-{number}"), json!({"type": "ClusterIP"})).unwrap();
        assert!(all.insert(given.clone()), "{given} was given twice");
    }
    assert!(all.contains("10.9.0.1") && all.contains("10.9.0.14"), "{all:?}");
    assert!(all.contains("10.9.1.1") && all.contains("10.9.1.2"), "{all:?}");
    let why = create(&mut cluster, "late", json!({"type": "ClusterIP"})).unwrap_err();
    assert!(why.ends_with("failed to allocate a serviceIP: range is full"), "{why}");

    let free = address(&cluster, "s-3");
    cluster.delete(Kind::SERVICE, "s-3", None);
    assert_eq!(create(&mut cluster, "late", json!({"type": "ClusterIP"})).unwrap(), free);
    cluster.assert_replicas_agree();
    let owner = |state: &kontiki_actors::State| state.service_of(free.parse().unwrap()).cloned();
    assert_eq!(owner(&cluster.state), Some(key(Kind::SERVICE, "late")));
    assert_eq!(owner(&cluster.follower), owner(&cluster.state), "a follower that leads next knows the same");
}

#[test]
fn an_address_that_is_named_must_be_free_and_of_a_range() {
    let mut cluster = Cluster::new(0);
    ranges(&mut cluster);
    assert_eq!(create(&mut cluster, "one", named("10.9.0.7")).unwrap(), "10.9.0.7");
    let why = create(&mut cluster, "two", named("10.9.0.7")).unwrap_err();
    let words =
        r#"Invalid value: ["10.9.0.7"]: failed to allocate IP 10.9.0.7: provided IP is already allocated"#;
    assert!(why.ends_with(&format!("spec.clusterIPs: {words}")), "{why}");
    let why = create(&mut cluster, "two", named("10.9.0.77")).unwrap_err();
    let words = "the provided IP (10.9.0.77) is not in the valid range. The range of valid IPs is 10.9.0.0/28,10.9.1.0/30";
    assert!(why.ends_with(words), "{why}");
}

#[test]
fn addresses_are_kept_and_given_back() {
    let mut cluster = Cluster::new(0);
    let given = create(&mut cluster, "web", json!({"type": "ClusterIP"})).unwrap();
    // The range changes: what was given stays.
    ranges(&mut cluster);
    let mut spec = named(&given);
    spec["selector"] = json!({"app": "web"});
    assert_eq!(replace(&mut cluster, "web", spec).unwrap(), given);
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    assert_eq!(replace(&mut cluster, "web", external).unwrap(), "");
    assert_eq!(cluster.state.service_of(given.parse().unwrap()), None, "given back");
    let again = replace(&mut cluster, "web", json!({"type": "ClusterIP"})).unwrap();
    assert!(again.starts_with("10.9."), "{again}");
}

#[test]
fn a_range_stays_until_its_addresses_are_of_others() {
    let mut cluster = Cluster::new(0);
    cluster.decide(Input::Bootstrap(vec![service_cidr::default_range()]));
    let ready = |cluster: &Cluster, name: &str| cluster.condition(Kind::SERVICE_CIDR, name, "Ready");
    let says = |value: &str, reason: &str| Some((value.to_owned(), reason.to_owned()));
    assert_eq!(ready(&cluster, "kubernetes"), says("True", ""));
    ranges(&mut cluster);
    assert_eq!(ready(&cluster, "a"), says("True", ""));
    assert_eq!(create(&mut cluster, "web", named("10.9.0.7")).unwrap(), "10.9.0.7");

    // One that nobody needs goes at once.
    cluster.delete(Kind::SERVICE_CIDR, "b", None);
    assert!(cluster.find(Kind::SERVICE_CIDR, "b").is_none());
    // Another one gives no addresses any more.
    cluster.delete(Kind::SERVICE_CIDR, "a", None);
    assert_eq!(ready(&cluster, "a"), says("False", "Terminating"));
    let why = create(&mut cluster, "late", named("10.9.0.8")).unwrap_err();
    assert!(why.ends_with("The range of valid IPs is 10.96.0.0/12"), "{why}");
    // Others that come and go with it change nothing.
    create(&mut cluster, "other", json!({"type": "ClusterIP"})).unwrap();
    cluster.delete(Kind::SERVICE, "other", None);
    assert!(cluster.find(Kind::SERVICE_CIDR, "a").is_some());
    // It goes with the last address.
    cluster.delete(Kind::SERVICE, "web", None);
    assert!(cluster.find(Kind::SERVICE_CIDR, "a").is_none());

    // Or when another range holds them.
    ranges(&mut cluster);
    create(&mut cluster, "web", named("10.9.0.7")).unwrap();
    cluster.delete(Kind::SERVICE_CIDR, "a", None);
    let wide = json!({"metadata": {"name": "wide"}, "spec": {"cidrs": ["10.9.0.0/16"]}});
    cluster.create(Kind::SERVICE_CIDR, wide);
    assert!(cluster.find(Kind::SERVICE_CIDR, "a").is_none());
    cluster.assert_replicas_agree();
}

#[test]
fn every_cluster_has_the_default_range() {
    let mut cluster = Cluster::new(0);
    cluster.decide(Input::Bootstrap(vec![service_cidr::default_range()]));
    let before = cluster.get(Kind::SERVICE_CIDR, "kubernetes");
    assert_eq!(before.document.spec_value(), json!({"cidrs": ["10.96.0.0/12"]}));
    let required = &before.document.status_value()["conditions"][0];
    assert_eq!(required["reason"], "", "{required}");
    cluster.delete(Kind::SERVICE_CIDR, "kubernetes", None);
    let after = cluster.get(Kind::SERVICE_CIDR, "kubernetes");
    assert_ne!(after.meta.uid, before.meta.uid);
    assert!(!after.meta.deleting());
    // Without another one it waits for its Services.
    let given = create(&mut cluster, "web", json!({"type": "ClusterIP"})).unwrap();
    assert!(given.starts_with("10."), "{given}");
    cluster.delete(Kind::SERVICE_CIDR, "kubernetes", None);
    let why = create(&mut cluster, "late", json!({"type": "ClusterIP"})).unwrap_err();
    assert!(why.ends_with("range is full"), "{why}");
    cluster.delete(Kind::SERVICE, "web", None);
    assert!(!cluster.get(Kind::SERVICE_CIDR, "kubernetes").meta.deleting());
    create(&mut cluster, "late", json!({"type": "ClusterIP"})).unwrap();
}
