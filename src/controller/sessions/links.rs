//! What workers are told of Services: those of the namespaces of their pods, for the environment of containers that start
//! (`enableServiceLinks`). They go along with the pods, and alone when they change; no pod is news for that.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_actors::{Kind, Object, ObjectKey, State};
use kontiki_proto::worker::{LinkPort, ServiceLink, ServiceLinks};
use serde_json::Value;

/// Ports of one namespace that are told of. Each makes five variables or more, and a program cannot be started with more than 2 MiB of them.
const PORTS_MAX: usize = 4096;
/// The Service of the API, of which all pods are told: its namespace and name.
const API: (&str, &str) = ("default", "kubernetes");

/// What stands for all Services of a namespace where it is noted who is to hear of an object.
pub(super) fn services_of(namespace: &str) -> ObjectKey {
    ObjectKey::new(Kind::SERVICE, namespace, "")
}

/// Whose changes a pod's worker hears of for the sake of its links.
pub(super) fn watched(pod: &Object) -> [ObjectKey; 2] {
    [services_of(&pod.key.namespace), ObjectKey::new(Kind::SERVICE, API.0, API.1)]
}

/// The namespaces in which something changed when this object did, of those that somebody watches.
pub(super) fn concerned(
    changed: &ObjectKey,
    watched: &BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
) -> BTreeSet<String> {
    if changed.kind != Kind::SERVICE {
        return BTreeSet::new();
    }
    let of_all = (&*changed.namespace, &*changed.name) == API;
    let services = watched.keys().filter(|key| key.kind == Kind::SERVICE && key.name.is_empty());
    let namespaces = services.map(|key| key.namespace.to_string());
    namespaces.filter(|namespace| of_all || *namespace == *changed.namespace).collect()
}

/// Whether a change of a Service is news for those who are told of it.
pub(super) fn is_news(old: Option<&Object>, new: Option<&Object>) -> bool {
    old.and_then(link) != new.and_then(link)
}

/// The links of each of these namespaces.
pub(super) fn links<'a>(state: &State, namespaces: impl IntoIterator<Item = &'a str>) -> Vec<ServiceLinks> {
    let namespaces: BTreeSet<&str> = namespaces.into_iter().collect();
    namespaces.into_iter().map(|namespace| of_namespace(state, namespace)).collect()
}

fn of_namespace(state: &State, namespace: &str) -> ServiceLinks {
    let api = state.get(&ObjectKey::new(Kind::SERVICE, API.0, API.1));
    let of_api = api.and_then(|service| link(service)).map(|link| ServiceLink { always: true, ..link });
    let own = state.list(Kind::SERVICE, Some(namespace));
    let own = own.filter(|service| (&*service.key.namespace, &*service.key.name) != API);
    let (mut services, mut ports, mut left_out) = (Vec::new(), 0_usize, 0);
    for link in of_api.into_iter().chain(own.filter_map(|service| link(service))) {
        ports = ports.saturating_add(link.ports.len());
        if ports <= PORTS_MAX {
            services.push(link);
        } else {
            left_out += 1;
        }
    }
    ServiceLinks { namespace: namespace.to_owned(), services, left_out }
}

/// A Service as pods are told of it; none without an address.
fn link(service: &Object) -> Option<ServiceLink> {
    let spec = service.document.spec_value();
    let address = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None")?;
    let port = |port: &Value| {
        Some(LinkPort {
            name: port["name"].as_str().unwrap_or_default().to_owned(),
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
            port: port["port"].as_u64().and_then(|number| u32::try_from(number).ok())?,
        })
    };
    Some(ServiceLink {
        name: service.key.name.to_string(),
        address: address.to_owned(),
        ports: spec["ports"].as_array().into_iter().flatten().filter_map(port).collect(),
        always: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::Document;
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, ip: &str, ports: usize) -> Object {
        let ports: Vec<Value> = (0..ports).map(|n| json!({"port": 80 + n, "protocol": "TCP"})).collect();
        let document = Document::from_value(json!({
            "metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": ports},
        }));
        Object::new(ObjectKey::new(Kind::SERVICE, namespace, name), 1, document)
    }

    fn state(services: Vec<Object>) -> State {
        let mut state = State::default();
        services.into_iter().for_each(|service| state.restore(service));
        state
    }

    fn names(links: &ServiceLinks) -> Vec<(&str, bool)> {
        links.services.iter().map(|service| (service.name.as_str(), service.always)).collect()
    }

    #[test]
    fn a_namespace_is_told_of_its_services_that_have_an_address_and_of_the_api() {
        let mut state = state(vec![
            service("shop", "web", "10.96.0.7", 1),
            service("shop", "db", "None", 1),
            service("shop", "elsewhere", "", 0),
            service("shop", "kubernetes", "10.96.0.8", 1),
            service("other", "db", "10.96.0.9", 1),
            service("default", "kubernetes", "None", 1),
        ]);
        let told = |state: &State, namespace: &str| links(state, [namespace, namespace]);
        let shop = told(&state, "shop");
        assert_eq!((shop.len(), names(&shop[0])), (1, vec![("kubernetes", false), ("web", false)]));
        assert_eq!(shop[0].services[1].address, "10.96.0.7");
        assert_eq!(names(&told(&state, "default")[0]), []);
        state.restore(service("default", "kubernetes", "10.96.0.1", 1));
        assert_eq!(names(&told(&state, "other")[0]), [("kubernetes", true), ("db", false)]);
        assert_eq!(names(&told(&state, "default")[0]), [("kubernetes", true)]);
    }

    #[test]
    fn what_would_be_too_much_is_counted() {
        let many = (0..5).map(|n| service("shop", &format!("s{n}"), "10.96.0.7", PORTS_MAX / 4)).collect();
        let told = links(&state(many), ["shop"]).remove(0);
        assert_eq!((told.services.len(), told.left_out), (4, 1));
    }

    #[test]
    fn only_what_pods_are_told_is_news() {
        let old = service("shop", "web", "10.96.0.7", 1);
        let mut same = service("shop", "web", "10.96.0.7", 1);
        same.document =
            same.document.with_status(json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}})).into();
        assert!(!is_news(Some(&old), Some(&same)));
        assert!(!is_news(None, Some(&service("shop", "web", "None", 1))));
        assert!(is_news(Some(&old), Some(&service("shop", "web", "10.96.0.7", 2))));
        assert!(is_news(Some(&old), None) && is_news(None, Some(&old)));
    }

    #[test]
    fn a_change_concerns_its_namespace_and_the_apis_all() {
        let pod = |namespace: &str| {
            let key = ObjectKey::new(Kind::POD, namespace, "p");
            Object::new(key, 1, Document::from_value(json!({"metadata": {"name": "p"}})))
        };
        let mut watchers: BTreeMap<ObjectKey, BTreeSet<ObjectKey>> = BTreeMap::new();
        for pod in [pod("shop"), pod("other")] {
            for key in watched(&pod) {
                watchers.entry(key).or_default().insert(pod.key.clone());
            }
        }
        let of = |kind: Kind, namespace: &str, name: &str| -> Vec<String> {
            concerned(&ObjectKey::new(kind, namespace, name), &watchers).into_iter().collect()
        };
        assert_eq!(of(Kind::SERVICE, "shop", "web"), ["shop"]);
        assert_eq!(of(Kind::SERVICE, "shop", ""), ["shop"], "any of it");
        assert_eq!(of(Kind::SERVICE, "third", "web"), [] as [&str; 0]);
        assert_eq!(of(Kind::SERVICE, "default", "kubernetes"), ["other", "shop"]);
        assert_eq!(of(Kind::CONFIG_MAP, "shop", "web"), [] as [&str; 0]);
    }
}
