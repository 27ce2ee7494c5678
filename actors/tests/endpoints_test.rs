//! Endpoints of Services without a selector are mirrored in EndpointSlices.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::{Document, Input, Kind};
use serde_json::{Value, json};

fn service(cluster: &mut Cluster, spec: Value) {
    cluster.create(Kind::SERVICE, json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}));
}

fn endpoints(cluster: &mut Cluster, subsets: Value) {
    let metadata = json!({
        "name": "web", "namespace": "default", "labels": {"app": "web"},
        "annotations": {"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    });
    cluster.create(Kind::ENDPOINTS, json!({"metadata": metadata, "subsets": subsets}));
}

fn subset(addresses: &[&str], port: u16) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"addresses": addresses, "ports": [{"port": port, "protocol": "TCP"}]})
}

fn slices(cluster: &Cluster) -> Vec<Value> {
    cluster.state.list(Kind::ENDPOINT_SLICE, None).map(|slice| slice.document.to_value()).collect()
}

/// Family, port and addresses of each slice.
fn mirrored(cluster: &Cluster) -> Vec<(String, u64, Vec<String>)> {
    let mut all: Vec<_> = slices(cluster)
        .iter()
        .map(|slice| {
            let endpoints = slice["endpoints"].as_array().unwrap().iter();
            let addresses = endpoints.map(|e| e["addresses"][0].as_str().unwrap().to_owned()).collect();
            let family = slice["addressType"].as_str().unwrap().to_owned();
            (family, slice["ports"][0]["port"].as_u64().unwrap(), addresses)
        })
        .collect();
    all.sort();
    all
}

fn told(list: &[(&str, u64, &[&str])]) -> Vec<(String, u64, Vec<String>)> {
    list.iter().map(|(f, p, a)| ((*f).to_owned(), *p, a.iter().map(|a| (*a).to_owned()).collect())).collect()
}

#[test]
fn they_are_mirrored_by_family_and_ports() {
    let mut cluster = Cluster::new(0);
    service(&mut cluster, json!({"ports": [{"port": 80}]}));
    let mut first = subset(&["10.1.2.3", "2001:db8::1"], 80);
    first["notReadyAddresses"] = json!([{"ip": "10.1.2.4", "nodeName": "node-0"}]);
    endpoints(&mut cluster, json!([first, subset(&["10.1.2.3"], 81), subset(&["10.1.2.5"], 80)]));
    let all = told(&[
        ("IPv4", 80, &["10.1.2.3", "10.1.2.4", "10.1.2.5"]),
        ("IPv4", 81, &["10.1.2.3"]),
        ("IPv6", 80, &["2001:db8::1"]),
    ]);
    assert_eq!(mirrored(&cluster), all);
    let slice = slices(&cluster).into_iter().find(|s| s["endpoints"].as_array().unwrap().len() == 3).unwrap();
    let endpoints = slice["endpoints"].as_array().unwrap();
    assert_eq!(endpoints[1]["conditions"], json!({"ready": false}));
    assert_eq!(
        (&endpoints[0]["conditions"], &endpoints[1]["nodeName"]),
        (&json!({"ready": true}), &json!("node-0"))
    );
    assert_eq!(slice["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    let labels = json!({
        "app": "web", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    });
    assert_eq!(
        (&slice["metadata"]["labels"], &slice["metadata"]["annotations"]),
        (&labels, &json!({"note": "x"}))
    );
    cluster.assert_replicas_agree();
}

#[test]
fn slices_follow_them() {
    let mut cluster = Cluster::new(0);
    service(&mut cluster, json!({"ports": [{"port": 80}]}));
    endpoints(&mut cluster, json!([subset(&["10.1.2.3"], 80), subset(&["10.1.2.3"], 81)]));
    let name = |cluster: &Cluster| {
        let slice = slices(cluster).into_iter().find(|slice| slice["ports"][0]["port"] == 80).unwrap();
        (slice["metadata"]["name"].clone(), slice["metadata"]["generation"].clone())
    };
    let before = name(&cluster);
    cluster.edit(Kind::ENDPOINTS, "web", |value| value["subsets"] = json!([subset(&["10.2.3.4"], 80)]));
    assert_eq!(mirrored(&cluster), told(&[("IPv4", 80, &["10.2.3.4"])]));
    assert_eq!(name(&cluster), (before.0, json!(2)), "the same slice");
    // One that somebody takes away comes again.
    let (taken, _) = name(&cluster);
    cluster.delete(Kind::ENDPOINT_SLICE, taken.as_str().unwrap(), None);
    assert_eq!(mirrored(&cluster), told(&[("IPv4", 80, &["10.2.3.4"])]));
    cluster.delete(Kind::ENDPOINTS, "web", None);
    cluster.settle();
    assert!(mirrored(&cluster).is_empty());
}

#[test]
fn what_is_not_of_a_service_without_selector_is_not_mirrored() {
    let mut cluster = Cluster::new(0);
    endpoints(&mut cluster, json!([subset(&["10.1.2.3"], 80)]));
    assert!(mirrored(&cluster).is_empty(), "there is no Service");
    service(&mut cluster, json!({"ports": [{"port": 80}]}));
    assert_eq!(mirrored(&cluster).len(), 1, "now there is");
    cluster.edit(Kind::SERVICE, "web", |value| value["spec"]["selector"] = json!({"app": "web"}));
    assert!(mirrored(&cluster).is_empty(), "others look after those of selectors");
    cluster
        .edit(Kind::SERVICE, "web", |value| drop(value["spec"].as_object_mut().unwrap().remove("selector")));
    assert_eq!(mirrored(&cluster).len(), 1);
    let skip = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    cluster.edit(Kind::ENDPOINTS, "web", |value| value["metadata"]["labels"] = skip);
    assert!(mirrored(&cluster).is_empty(), "they say so");
    cluster.edit(Kind::ENDPOINTS, "web", |value| value["metadata"]["labels"] = json!({}));
    let election = json!({"control-plane.alpha.kubernetes.io/leader": "{}"});
    cluster.edit(Kind::ENDPOINTS, "web", |value| value["metadata"]["annotations"] = election);
    assert!(mirrored(&cluster).is_empty(), "a leader is elected by them");
}

#[test]
fn of_a_subset_no_more_is_mirrored_than_a_slice_may_have() {
    let mut cluster = Cluster::new(0);
    service(&mut cluster, json!({"ports": [{"port": 80}]}));
    let many: Vec<String> = (0..1005).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    endpoints(&mut cluster, json!([subset(&many, 80)]));
    assert_eq!(mirrored(&cluster)[0].2.len(), 1000);
    let said = cluster.events("TooManyAddressesToMirror");
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("5 addresses were skipped"), "{}", said[0]);
    cluster.decide(Input::Bootstrap(Vec::new()));
    assert_eq!(cluster.events("TooManyAddressesToMirror").len(), 1);
}

#[test]
fn a_leader_says_anew_where_the_controllers_are() {
    let mut cluster = Cluster::new(0);
    let tell = |cluster: &mut Cluster, address: &str| {
        let metadata = json!({"name": "web", "namespace": "default"});
        let value = json!({"metadata": metadata, "subsets": [subset(&[address], 6443)]});
        let told = (key(Kind::ENDPOINTS, "web"), Document::from_value(value));
        cluster.decide(Input::Bootstrap(vec![told]));
    };
    service(&mut cluster, json!({"clusterIP": "None", "ports": [{"port": 443}]}));
    tell(&mut cluster, "10.0.0.1");
    let uid = cluster.get(Kind::ENDPOINTS, "web").meta.uid.clone();
    cluster.edit(Kind::ENDPOINTS, "web", |value| value["metadata"]["labels"] = json!({"a": "b"}));
    tell(&mut cluster, "10.0.0.2");
    let after = cluster.get(Kind::ENDPOINTS, "web");
    assert_eq!((after.meta.uid.clone(), after.meta.labels.contains_key("a")), (uid, true), "the same object");
    assert_eq!(mirrored(&cluster), told(&[("IPv4", 6443, &["10.0.0.2"])]));
}
