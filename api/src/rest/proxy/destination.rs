//! Which port of which pod a request for a proxy is for.
//!
//! Source: `ResourceLocation` in Kubernetes' `pkg/registry/core/pod/strategy.go` and `pkg/registry/core/service/storage/storage.go`.
//! Beyond those, a port of a pod may be named.

use std::sync::Arc;

use kontiki_actors::{Kind, Object, ObjectKey, State};
use rand::Rng;
use serde_json::Value;

use crate::{
    backing,
    resource::fields::{items, text},
    status::Status,
};

/// `[scheme:]name[:port]`, as URLs name what is behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    whole: &'a str,
    pub(super) tls: bool,
    name: &'a str,
    /// Empty if none is said.
    port: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn read(whole: &'a str) -> Option<Asked<'a>> {
        let mut parts = whole.split(':');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let (scheme, name, port) = match parts {
            [Some(name), None, ..] => ("", name, ""),
            [Some(name), Some(port), None, _] => ("", name, port),
            [Some(scheme @ ("" | "http" | "https")), Some(name), Some(port), None] => (scheme, name, port),
            _ => return None,
        };
        (!name.is_empty()).then_some(Asked { whole, tls: scheme == "https", name, port })
    }

    /// The pod and its port, of a pod or a Service.
    ///
    /// # Errors
    /// 404 if there is no such object; 503 if a Service has no such port, or nobody behind it.
    pub(super) fn find(
        &self,
        state: &State,
        kind: Kind,
        namespace: &str,
    ) -> Result<(Arc<Object>, u16), Status> {
        let object = state.get(&ObjectKey::new(kind, namespace, self.name));
        let object = object.ok_or_else(|| Status::not_found(kind, self.name))?;
        if kind == Kind::SERVICE {
            return self.behind(state, object);
        }
        let spec = object.document.spec_value();
        let port = self.of_pod(&spec).ok_or_else(|| {
            let Asked { name, port, .. } = self;
            let message =
                format!("pod {name:?} has no port {port:?}: say a number, or the name of a container's port");
            Status::bad_request(message)
        })?;
        Ok((object.clone(), port))
    }

    /// The port that is said, else the first that a container has, else that of the scheme.
    fn of_pod(&self, spec: &Value) -> Option<u16> {
        if !self.port.is_empty() {
            return numbered(self.port).or_else(|| backing::named(spec, self.port));
        }
        let mut ports = items(spec, "containers").flat_map(|(_, container)| items(container, "ports"));
        let first = ports.next().and_then(|(_, port)| backing::number(&port["containerPort"]));
        Some(first.unwrap_or(if self.tls { 443 } else { 80 }))
    }

    /// One of the pods behind a Service: of its Endpoints if somebody made some, else of those that it selects.
    fn behind(&self, state: &State, service: &Object) -> Result<(Arc<Object>, u16), Status> {
        let (namespace, spec) = (&service.key.namespace, service.document.spec_value());
        let mut ports = items(&spec, "ports").map(|(_, port)| port);
        let name = match self.port.parse::<u64>() {
            Ok(number) => {
                let port = ports.find(|port| port["port"].as_u64() == Some(number)).ok_or_else(|| {
                    unavailable(format!("no service port {number} found for service {:?}", self.name))
                })?;
                text(port, "name")
            }
            Err(_) => self.port,
        };
        let endpoints = state.get(&ObjectKey::new(Kind::ENDPOINTS, namespace, self.name));
        let mut found = match endpoints {
            Some(endpoints) => of_endpoints(state, endpoints, name),
            None => {
                let port =
                    items(&spec, "ports").map(|(_, port)| port).find(|port| text(port, "name") == name);
                port.map_or_else(Vec::new, |port| of_selected(state, namespace, &spec, port))
            }
        };
        if found.is_empty() {
            return Err(unavailable(format!("no endpoints available for service {:?}", self.whole)));
        }
        Ok(found.swap_remove(rand::rng().random_range(0..found.len())))
    }
}

fn numbered(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port > 0)
}

fn of_selected(state: &State, namespace: &str, spec: &Value, port: &Value) -> Vec<(Arc<Object>, u16)> {
    let pods = backing::pods(state, namespace, spec).into_iter();
    let with_port = |pod: Arc<Object>| {
        let port = backing::port_of(port, &pod.document.spec_value())?;
        Some((pod, port))
    };
    pods.filter_map(with_port).collect()
}

/// The ready addresses that are those of pods of the same namespace: whoever may write Endpoints must not reach others by them.
fn of_endpoints(state: &State, endpoints: &Object, port_name: &str) -> Vec<(Arc<Object>, u16)> {
    let (namespace, value) = (&endpoints.key.namespace, endpoints.to_value());
    let mut found = Vec::new();
    for (_, subset) in items(&value, "subsets") {
        let port = items(subset, "ports").find(|(_, port)| text(port, "name") == port_name);
        let Some(port) = port.and_then(|(_, port)| backing::number(&port["port"])) else { continue };
        for (_, address) in items(subset, "addresses") {
            let target = &address["targetRef"];
            if text(target, "namespace") != namespace.as_str() {
                continue;
            }
            let pod = state.get(&ObjectKey::new(Kind::POD, namespace, text(target, "name")));
            found.extend(
                pod.filter(|pod| has_address(pod, text(address, "ip"))).map(|pod| (pod.clone(), port)),
            );
        }
    }
    found
}

/// Whether a pod has this address, or none at all: pods with a network of their own have none.
fn has_address(pod: &Object, ip: &str) -> bool {
    let status = pod.document.status_value();
    let mut addresses = items(&status, "podIPs").peekable();
    addresses.peek().is_none() || addresses.any(|(_, told)| text(told, "ip") == ip)
}

pub(super) fn unavailable(message: impl Into<String>) -> Status {
    Status::new(503, "ServiceUnavailable", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn names_may_have_a_scheme_and_a_port() {
        let read = |whole| Asked::read(whole).map(|asked| (asked.tls, asked.name, asked.port));
        assert_eq!(read("web"), Some((false, "web", "")));
        assert_eq!(read("web:80"), Some((false, "web", "80")));
        assert_eq!(read("web:"), Some((false, "web", "")));
        assert_eq!(read("https:web:"), Some((true, "web", "")));
        assert_eq!(read("http:web:admin"), Some((false, "web", "admin")));
        assert_eq!(read(":web:1"), Some((false, "web", "1")));
        for none in ["", ":1", "ftp:web:1", "http::1", "a:b:c:d", "http:web:1:"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn ports_of_pods_are_numbers_names_or_the_first() {
        let spec = json!({"containers": [
            {"name": "none"},
            {"name": "c", "ports": [{"containerPort": 8080}, {"name": "admin", "containerPort": 9000}]}],
            "initContainers": [
            {"name": "once", "ports": [{"name": "once", "containerPort": 1}]},
            {"name": "stays", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]}]});
        let port = |asked| Asked::read(asked).unwrap().of_pod(&spec);
        assert_eq!(port("web"), Some(8080));
        assert_eq!(port("web:81"), Some(81));
        assert_eq!(port("web:admin"), Some(9000));
        assert_eq!(port("web:side"), Some(2));
        for none in ["web:0", "web:65536", "web:-1", "web:once", "web:nope"] {
            assert_eq!(port(none), None, "{none}");
        }
        let none = |asked| Asked::read(asked).unwrap().of_pod(&json!({"containers": [{"name": "c"}]}));
        assert_eq!((none("web"), none("http:web:"), none("https:web:")), (Some(80), Some(80), Some(443)));
    }
}
