//! Where a webhook is: at a URL, or behind a Service.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::Uri;
use kontiki_actors::{Kind, Object, ObjectKey, State};
use rand::Rng;
use serde_json::Value;

use crate::{
    backing,
    resource::fields::{items, text},
    selector::Labels,
};

/// The label by which an EndpointSlice names its Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// Where a webhook is, as its configuration says.
#[derive(Debug)]
pub(super) enum Place {
    Url(Result<Target, String>),
    Service { namespace: String, name: String, port: u16, path: String },
}

/// Where a question goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whom its certificate must name.
    pub(super) server: String,
    /// As the header `Host` has it.
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) to: To,
}

/// What is dialed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Host(String, u16),
    Addresses(Vec<SocketAddr>),
}

impl Target {
    /// As errors name it.
    pub(super) fn url(&self, seconds: u64) -> String {
        format!("https://{}{}?timeout={seconds}s", self.authority, self.path)
    }
}

impl Place {
    pub(super) fn read(client: &Value) -> Place {
        let service = &client["service"];
        if !service.is_object() {
            return Place::Url(of_url(text(client, "url")));
        }
        let path = text(service, "path");
        Place::Service {
            namespace: text(service, "namespace").to_owned(),
            name: text(service, "name").to_owned(),
            port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        }
    }

    /// Where to go now. There is no network of Services that controllers are part of: one is found by the addresses of its ready pods, as
    /// its EndpointSlices have them, or if nobody made any, as its selector has them.
    ///
    /// # Errors
    /// There is nobody.
    pub(super) fn find(&self, state: &State) -> Result<Target, String> {
        let (namespace, name, port, path) = match self {
            Place::Url(target) => return target.clone(),
            Place::Service { namespace, name, port, path } => (namespace, name, *port, path),
        };
        let key = ObjectKey::new(Kind::SERVICE, namespace, name);
        let service = state.get(&key).ok_or_else(|| format!("service {name:?} not found"))?;
        let spec = service.document.spec_value();
        let server = format!("{name}.{namespace}.svc");
        let target = |to| Target {
            authority: format!("{server}:{port}"),
            server: server.clone(),
            path: path.clone(),
            to,
        };
        if text(&spec, "type") == "ExternalName" {
            return Ok(target(To::Host(text(&spec, "externalName").to_owned(), port)));
        }
        let of_port = items(&spec, "ports").find(|(_, told)| told["port"].as_u64() == Some(port.into()));
        let Some((_, of_port)) = of_port else {
            return Err(format!("no service port {port} found for service {name:?}"));
        };
        let port_name = text(of_port, "name");
        let slices = state.list(Kind::ENDPOINT_SLICE, Some(namespace));
        let mut slices =
            slices.filter(|slice| slice.meta.labels.label(OF_SERVICE) == Some(name.as_str())).peekable();
        let mut addresses: Vec<SocketAddr> = match slices.peek() {
            Some(_) => slices.flat_map(|slice| ready(&slice.to_value(), port_name)).collect(),
            None => of_pods(state, namespace, &spec, of_port),
        };
        if addresses.is_empty() {
            return Err(format!("no endpoints available for service {name:?}"));
        }
        // Each question begins with another one.
        let first = rand::rng().random_range(0..addresses.len());
        addresses.rotate_left(first);
        Ok(target(To::Addresses(addresses)))
    }
}

/// The ready addresses of a slice, with the port of this name.
fn ready(slice: &Value, port_name: &str) -> Vec<SocketAddr> {
    let port = items(slice, "ports").find(|(_, port)| text(port, "name") == port_name);
    let port = port.and_then(|(_, port)| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else { return Vec::new() };
    let ready = items(slice, "endpoints").filter(|(_, endpoint)| endpoint["conditions"]["ready"] != false);
    let first = ready.filter_map(|(_, endpoint)| endpoint["addresses"][0].as_str()?.parse::<IpAddr>().ok());
    first.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// The addresses of the ready pods that a Service selects, with the port that it sends to.
fn of_pods(state: &State, namespace: &str, spec: &Value, port: &Value) -> Vec<SocketAddr> {
    let address = |pod: Arc<Object>| {
        let ip: IpAddr = text(&pod.document.status_value(), "podIP").parse().ok()?;
        Some(SocketAddr::new(ip, backing::port_of(port, &pod.document.spec_value())?))
    };
    backing::pods(state, namespace, spec).into_iter().filter_map(address).collect()
}

fn of_url(url: &str) -> Result<Target, String> {
    let uri: Uri = url.parse().map_err(|error| format!("clientConfig.url {url:?}: {error}"))?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let Some(authority) = authority.filter(|_| uri.scheme_str() == Some("https")) else {
        return Err(format!("clientConfig.url {url:?} is not of the form https://host[/path]"));
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Target {
        authority: authority.to_string(),
        path: uri.path().to_owned(),
        to: To::Host(host.clone(), authority.port_u16().unwrap_or(443)),
        server: host,
    })
}
