//! The Services that containers learn of by their environment, as they are when a container starts: `WEB_SERVICE_HOST` and the like, as the
//! kubelet's `pkg/kubelet/envvars` has it. The leader tells them by namespace; a change of them is nothing to containers that run.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
//!
//! They are kept on disk, too: a worker that starts again needs no controller to start what crashes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kontiki_proto::Message;
use kontiki_proto::worker::{ServiceLink, ServiceLinks};
use tracing::warn;

use super::disk::{self, Durability};
use super::layout::Layout;
use crate::pod::document::Pod;

/// What is known, by namespace: of those that have pods here.
#[derive(Debug)]
pub struct Links {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Arc<ServiceLinks>>>,
}

impl Links {
    /// What an earlier life of this worker was told. What cannot be read is left out: the leader says it again.
    pub fn load(layout: &Layout) -> io::Result<Links> {
        let folder = layout.links();
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let links = disk::read(&path).ok().flatten().unwrap_or_default();
            match ServiceLinks::decode(links.as_slice()) {
                // One that was being replaced has another name.
                Ok(links) if path.file_name().is_some_and(|name| name == links.namespace.as_str()) => {
                    known.insert(links.namespace.clone(), Arc::new(links));
                }
                _ => {
                    warn!(path = %path.display(), "a file of Services cannot be read, and is removed");
                    std::fs::remove_file(&path).ok();
                }
            }
        }
        Ok(Links { folder, known: Mutex::new(known) })
    }

    /// The namespaces of which something is known.
    pub fn namespaces(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    /// From here on, this counts for its namespace.
    pub fn set(&self, links: ServiceLinks) {
        let namespace = links.namespace.clone();
        if !Layout::is_plain(&namespace) {
            return warn!(namespace, "Services of what cannot be a namespace are not listened to");
        }
        if self.of(&namespace).is_some_and(|known| *known == links) {
            return;
        }
        let written = disk::write(&self.folder.join(&namespace), &links.encode_to_vec(), Durability::Process);
        if let Err(error) = written {
            warn!(namespace, %error, "what Services there are is lost when this worker ends");
        }
        self.known().insert(namespace, Arc::new(links));
    }

    /// Nothing of it is needed any more.
    pub fn forget(&self, namespace: &str) {
        if self.known().remove(namespace).is_some()
            && let Err(error) = std::fs::remove_file(self.folder.join(namespace))
        {
            warn!(namespace, %error, "a file of Services could not be removed");
        }
    }

    /// The variables of a pod's containers that start now.
    pub fn variables(&self, pod: &Pod) -> Vec<(String, String)> {
        let links = self.of(&pod.metadata.namespace);
        let services = links.iter().flat_map(|links| &links.services);
        services.filter(|service| service.always || wants_links(pod)).flat_map(variables).collect()
    }

    /// What a pod's owner is to know of Services that are missing there.
    pub fn left_out(&self, pod: &Pod) -> Option<String> {
        let count = self.of(&pod.metadata.namespace)?.left_out;
        (count > 0 && wants_links(pod)).then(|| {
            format!(
                "The namespace has more Services than fit into an environment: it lacks the variables of the last {count}, by \
                 name. Pods that need none say enableServiceLinks: false; others find them by other means"
            )
        })
    }

    fn of(&self, namespace: &str) -> Option<Arc<ServiceLinks>> {
        self.known().get(namespace).cloned()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ServiceLinks>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wants_links(pod: &Pod) -> bool {
    pod.spec.enable_service_links != Some(false)
}

/// A name as a part of variables' names.
fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// The variables of one Service; none without a port, which it cannot be without.
fn variables(service: &ServiceLink) -> Vec<(String, String)> {
    let (prefix, address) = (upper(&service.name), &service.address);
    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let mut list = Vec::new();
    let mut add = |name: String, value: String| list.push((format!("{prefix}_{name}"), value));
    for (at, port) in service.ports.iter().enumerate() {
        let (number, protocol) = (port.port, port.protocol.to_ascii_lowercase());
        let url = format!("{protocol}://{host}:{number}");
        if at == 0 {
            add("SERVICE_HOST".to_owned(), address.clone());
            add("SERVICE_PORT".to_owned(), number.to_string());
            add("PORT".to_owned(), url.clone());
        }
        if !port.name.is_empty() {
            add(format!("SERVICE_PORT_{}", upper(&port.name)), number.to_string());
        }
        let own = format!("PORT_{number}_{}", protocol.to_ascii_uppercase());
        add(format!("{own}_PROTO"), protocol);
        add(format!("{own}_PORT"), number.to_string());
        add(format!("{own}_ADDR"), address.clone());
        add(own, url);
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_proto::worker::LinkPort;

    use super::*;

    fn service(name: &str, address: &str, ports: &[(&str, &str, u32)]) -> ServiceLink {
        let port = |(name, protocol, port): &(&str, &str, u32)| LinkPort {
            name: (*name).to_owned(),
            protocol: (*protocol).to_owned(),
            port: *port,
        };
        let ports = ports.iter().map(port).collect();
        ServiceLink { name: name.to_owned(), address: address.to_owned(), ports, always: false }
    }

    fn told(services: &[ServiceLink]) -> ServiceLinks {
        ServiceLinks { namespace: "shop".into(), services: services.to_vec(), left_out: 0 }
    }

    fn pod(spec: &str) -> Pod {
        let json = format!(r#"{{"metadata":{{"name":"p","namespace":"shop"}},"spec":{{{spec}}}}}"#);
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn links(dir: &std::path::Path) -> Links {
        let layout = Layout::new(dir);
        disk::private_folder(&layout.links()).unwrap();
        Links::load(&layout).unwrap()
    }

    #[test]
    fn a_service_is_told_of_as_in_kubernetes() {
        let service =
            service("foo-bar", "1.2.3.4", &[("", "TCP", 8080), ("web-2", "UDP", 8081), ("x", "SCTP", 8082)]);
        let mut all: Vec<String> =
            variables(&service).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        let expected = [
            "FOO_BAR_PORT=tcp://1.2.3.4:8080",
            "FOO_BAR_PORT_8080_TCP=tcp://1.2.3.4:8080",
            "FOO_BAR_PORT_8080_TCP_ADDR=1.2.3.4",
            "FOO_BAR_PORT_8080_TCP_PORT=8080",
            "FOO_BAR_PORT_8080_TCP_PROTO=tcp",
            "FOO_BAR_PORT_8081_UDP=udp://1.2.3.4:8081",
            "FOO_BAR_PORT_8081_UDP_ADDR=1.2.3.4",
            "FOO_BAR_PORT_8081_UDP_PORT=8081",
            "FOO_BAR_PORT_8081_UDP_PROTO=udp",
            "FOO_BAR_PORT_8082_SCTP=sctp://1.2.3.4:8082",
            "FOO_BAR_PORT_8082_SCTP_ADDR=1.2.3.4",
            "FOO_BAR_PORT_8082_SCTP_PORT=8082",
            "FOO_BAR_PORT_8082_SCTP_PROTO=sctp",
            "FOO_BAR_SERVICE_HOST=1.2.3.4",
            "FOO_BAR_SERVICE_PORT=8080",
            "FOO_BAR_SERVICE_PORT_WEB_2=8081",
            "FOO_BAR_SERVICE_PORT_X=8082",
        ];
        assert_eq!(all, expected);
        let six = self::service("six", "2001:db8::1", &[("", "TCP", 80)]);
        let six = variables(&six);
        assert!(six.contains(&("SIX_PORT".to_owned(), "tcp://[2001:db8::1]:80".to_owned())), "{six:?}");
        assert!(six.contains(&("SIX_SERVICE_HOST".to_owned(), "2001:db8::1".to_owned())), "{six:?}");
    }

    #[test]
    fn who_wants_no_links_gets_only_those_that_are_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let links = links(dir.path());
        assert_eq!(links.variables(&pod("")), [], "nothing was told yet");
        let always =
            ServiceLink { always: true, ..service("kubernetes", "10.96.0.1", &[("https", "TCP", 443)]) };
        links.set(told(&[always, service("web", "10.96.0.7", &[("", "TCP", 80)])]));
        let hosts = |spec: &str| -> Vec<String> {
            let all = links.variables(&pod(spec)).into_iter();
            all.map(|(name, _)| name).filter(|name| name.ends_with("_SERVICE_HOST")).collect()
        };
        assert_eq!(hosts(""), ["KUBERNETES_SERVICE_HOST", "WEB_SERVICE_HOST"]);
        assert_eq!(hosts(r#""enableServiceLinks":true"#), ["KUBERNETES_SERVICE_HOST", "WEB_SERVICE_HOST"]);
        assert_eq!(hosts(r#""enableServiceLinks":false"#), ["KUBERNETES_SERVICE_HOST"]);
        let other = Pod::parse(br#"{"metadata":{"name":"p","namespace":"other"},"spec":{}}"#).unwrap();
        assert_eq!(links.variables(&other), []);
        assert_eq!(links.left_out(&pod("")), None);
        links.set(ServiceLinks { left_out: 7, ..told(&[]) });
        assert!(links.left_out(&pod("")).unwrap().contains("the last 7"));
        assert_eq!(links.left_out(&pod(r#""enableServiceLinks":false"#)), None);
    }

    #[test]
    fn what_was_told_outlives_the_agent_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = links(dir.path());
        first.set(told(&[service("web", "10.96.0.7", &[("", "TCP", 80)])]));
        first.set(told(&[service("web", "10.96.0.8", &[("", "TCP", 80)])]));
        first.set(ServiceLinks { namespace: "../evil".into(), ..told(&[]) });
        let folder = Layout::new(dir.path()).links();
        // Of a write that was cut off, and of nothing that this worker wrote.
        std::fs::write(folder.join("shop.new"), told(&[]).encode_to_vec()).unwrap();
        std::fs::write(folder.join("broken"), "x").unwrap();
        let again = links(dir.path());
        assert_eq!(again.namespaces(), ["shop"]);
        assert_eq!(again.variables(&pod("")), first.variables(&pod("")));
        assert_eq!(again.variables(&pod(""))[0], ("WEB_SERVICE_HOST".to_owned(), "10.96.0.8".to_owned()));
        again.forget("shop");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert_eq!(links(dir.path()).namespaces(), [] as [&str; 0]);
    }
}
