//! The ports that Services have on all nodes: each that asks for one gets one out of the range, and no two Services have the same.
//! <https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport>
//!
//! Given in the turn, where the ports that are taken are known.

use serde_json::Value;

use crate::{
    input::Rejection,
    kind::Kind,
    object::{Document, ObjectKey},
    turn::Turn,
};

/// First and last port, as in Kubernetes.
const RANGE: (u16, u16) = (30_000, 32_767);
/// So many at its begin are for Services that name theirs, as in Kubernetes: <https://kubernetes.io/blog/2023/05/11/nodeport-dynamic-and-static-allocation/>
const NAMED: u16 = 86;

/// The ports that a Service has on all nodes, if it has any.
pub(crate) fn of(document: &Document) -> Vec<u16> {
    let spec = document.spec_value();
    if !has_some(&spec) {
        return Vec::new();
    }
    let ports = spec["ports"].as_array().into_iter().flatten().map(node_port);
    ports.chain([health_port(&spec)]).flatten().collect()
}

/// Whether Services of this type have any.
fn has_some(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
}

/// Whether it is given those that it does not name.
fn is_given(spec: &Value) -> bool {
    spec["type"] == "NodePort"
        || (spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false)
}

/// Whether load balancers ask at a port of its own whether a node has pods of it.
fn has_health_port(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

fn node_port(port: &Value) -> Option<u16> {
    number(&port["nodePort"])
}

fn health_port(spec: &Value) -> Option<u16> {
    number(&spec["healthCheckNodePort"])
}

/// A Service as it is to be stored: with a port for each that its type has one of; or why it may not have one that it names. `old` is the
/// Service as it is, if it is: what it has, it keeps.
pub(crate) fn assign(
    turn: &mut Turn,
    key: &ObjectKey,
    old: Option<&Document>,
    document: Document,
) -> Result<Document, Rejection> {
    if key.kind != Kind::SERVICE {
        return Ok(document);
    }
    let mut spec = document.spec_value();
    if !has_some(&spec) {
        return Ok(document);
    }
    let kept = old.map(of).unwrap_or_default();
    let refused = |field: String, why: String| Rejection::Invalid(key.clone(), field, why);
    let mut taken = of(&document);
    let told: Vec<Value> = spec["ports"].as_array().cloned().unwrap_or_default();
    let named =
        told.iter().enumerate().map(|(at, port)| (format!("spec.ports[{at}].nodePort"), &port["nodePort"]));
    for (field, value) in named.chain([("spec.healthCheckNodePort".to_owned(), &spec["healthCheckNodePort"])])
    {
        if value.as_i64().is_none_or(|port| port == 0)
            || number(value).is_some_and(|port| kept.contains(&port))
        {
            continue;
        }
        may_have(turn, number(value))
            .map_err(|why| refused(field, format!("Invalid value: {value}: {why}")))?;
    }
    let mut changed = false;
    if is_given(&spec) {
        for at in 0..told.len() {
            if node_port(&spec["ports"][at]).is_some() {
                continue;
            }
            // The same port by another protocol has the same number.
            let port = match shared(&spec, at) {
                Some(port) => port,
                None => free(turn, &taken).ok_or_else(|| {
                    let why = "Internal error: failed to allocate a nodePort: range is full";
                    refused(format!("spec.ports[{at}].nodePort"), why.into())
                })?,
            };
            taken.push(port);
            spec["ports"][at]["nodePort"] = port.into();
            changed = true;
        }
    }
    if has_health_port(&spec) && health_port(&spec).is_none() {
        let port = free(turn, &taken).ok_or_else(|| {
            let why = "Internal error: failed to allocate a HealthCheck NodePort: range is full";
            refused("spec.healthCheckNodePort".into(), why.into())
        })?;
        spec["healthCheckNodePort"] = port.into();
        changed = true;
    }
    Ok(if changed { document.with_spec(spec) } else { document })
}

/// The number that another of the Service's ports has which is the same but for the protocol.
fn shared(spec: &Value, at: usize) -> Option<u16> {
    let ports = spec["ports"].as_array()?;
    let me = ports.get(at)?;
    let given = |protocol: &Value, port: u16| {
        ports.iter().any(|other| other["protocol"] == *protocol && node_port(other) == Some(port))
    };
    let mut same = ports.iter().filter(|other| other["port"] == me["port"]).filter_map(node_port);
    same.find(|port| !given(&me["protocol"], *port))
}

fn may_have(turn: &Turn, port: Option<u16>) -> Result<(), String> {
    match port.filter(|port| (RANGE.0..=RANGE.1).contains(port)) {
        None => Err(format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            RANGE.0, RANGE.1
        )),
        Some(port) if turn.state().service_at(port).is_some() => {
            Err("provided port is already allocated".into())
        }
        Some(_) => Ok(()),
    }
}

/// A port that nobody has: from a chance one on, in the upper part of the range, else in its lower part.
fn free(turn: &mut Turn, taken: &[u16]) -> Option<u16> {
    let named = RANGE.0 + NAMED;
    for (first, last) in [(named, RANGE.1), (RANGE.0, named - 1)] {
        let size = u64::from(last - first) + 1;
        let start = turn.context().next_u64() % size;
        let found = (0..size)
            .map(|step| first + u16::try_from((start + step) % size).unwrap_or(0))
            .find(|port| turn.state().service_at(*port).is_none() && !taken.contains(port));
        if found.is_some() {
            return found;
        }
    }
    None
}
