//! Endpoints that somebody made for a Service without a selector: they are mirrored in EndpointSlices, by which clients learn who is
//! behind a Service: <https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring>. One slice for all
//! addresses of a family that have the same ports.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::{Map, Value, json};

use super::{claim, namespace};
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{Document, Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "endpoint-slice-mirroring-controller";
/// The label by which a slice names its Service, ...
const SERVICE: &str = "kubernetes.io/service-name";
/// ... and the one by which it says who looks after it.
const MANAGED_BY: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io");
/// The label by which Endpoints say that they are not mirrored: `true`.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints by which a leader is elected: they say nothing of a Service.
const ELECTION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that slices do not have from them.
const OWN: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];
/// So many addresses of a subset are mirrored: more a slice may not have.
const ADDRESSES: usize = 1000;
/// How many names are tried for a slice.
const NAME_TRIES: usize = 8;

/// What a slice is told apart by: the family of its addresses, and its ports.
type Sort = (String, String);

/// What a slice says.
struct Slice {
    ports: Vec<Value>,
    /// By address, and what else is said of it.
    endpoints: BTreeMap<String, Value>,
}

/// Makes, changes and deletes its slices.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    // With it or its namespace they go anyway.
    if me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace) {
        return;
    }
    let mut surplus = Vec::new();
    let mut there: BTreeMap<Sort, Arc<Object>> = BTreeMap::new();
    for slice in mirrors(turn, me) {
        let said = slice.document.rest_value();
        let family = said["addressType"].as_str().unwrap_or_default().to_owned();
        let ports = said["ports"].as_array().cloned().unwrap_or_default();
        surplus.extend(there.insert((family, sort(&ports)), slice));
    }
    let (wanted, skipped) = if is_mirrored(turn.state(), me) { wanted(me) } else { Default::default() };
    let before = turn.state().revision();
    for (sort, slice) in wanted {
        if turn.full() {
            return later(turn, me);
        }
        let old = there.remove(&sort);
        write(turn, me, &sort.0, slice, old.as_deref());
    }
    for slice in there.into_values().chain(surplus) {
        if turn.full() {
            return later(turn, me);
        }
        // It exists and there are no preconditions, so this is not refused.
        let _ = turn.delete(&slice.key, &DeleteOptions::default());
    }
    if skipped > 0 && turn.state().revision() != before {
        let message = format!(
            "A max of {ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses \
             were skipped"
        );
        turn.event(me, "Warning", "TooManyAddressesToMirror", message, COMPONENT);
    }
}

fn later(turn: &mut Turn, me: &Object) {
    let now = turn.now_ms();
    turn.wake_by(&me.key, now);
}

/// A Service changed, came or went: whether its Endpoints are mirrored may have changed with it.
pub(crate) fn service_changed(turn: &mut Turn, service: &ObjectKey) {
    let endpoints = ObjectKey::new(Kind::ENDPOINTS, &service.namespace, &service.name);
    if turn.state().get(&endpoints).is_some() {
        turn.notify(&endpoints);
    }
}

/// Whether it has no slices and should: nobody has looked at it.
pub(crate) fn is_unmirrored(state: &State, me: &Object) -> bool {
    let has_some = state.dependents(&me.meta.uid).any(|slice| slice.key.kind == Kind::ENDPOINT_SLICE);
    !has_some && is_mirrored(state, me) && !wanted(me).0.is_empty()
}

fn is_mirrored(state: &State, me: &Object) -> bool {
    if me.meta.labels.get(SKIP).is_some_and(|skip| skip == "true")
        || me.meta.annotations.contains_key(ELECTION)
    {
        return false;
    }
    let service = state.get(&ObjectKey::new(Kind::SERVICE, &me.key.namespace, &me.key.name));
    service.is_some_and(|service| {
        let spec = service.document.spec_value();
        spec["selector"].as_object().is_none_or(Map::is_empty)
    })
}

/// The slices that mirror it.
fn mirrors(turn: &Turn, me: &Object) -> Vec<Arc<Object>> {
    let mut slices = claim::owned(turn, me, Kind::ENDPOINT_SLICE);
    let (label, manager) = MANAGED_BY;
    slices.retain(|slice| {
        !slice.meta.deleting() && slice.meta.labels.get(label).is_some_and(|by| by == manager)
    });
    slices
}

/// What its slices are to say, and how many addresses they leave out.
fn wanted(me: &Object) -> (BTreeMap<Sort, Slice>, usize) {
    let said = me.document.rest_value();
    let (mut slices, mut skipped): (BTreeMap<Sort, Slice>, usize) = Default::default();
    for subset in list(&said, "subsets") {
        let ports: Vec<Value> = list(subset, "ports").map(port).collect();
        let sort = sort(&ports);
        let addresses = list(subset, "addresses").map(|address| (address, true));
        let addresses = addresses.chain(list(subset, "notReadyAddresses").map(|address| (address, false)));
        let mut taken = 0;
        for (address, ready) in addresses {
            let ip = address["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
            let Some(ip) = ip.filter(|_| taken < ADDRESSES) else {
                skipped += 1;
                continue;
            };
            taken += 1;
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let slice = slices.entry((family.to_owned(), sort.clone()));
            let slice = slice.or_insert_with(|| Slice { ports: ports.clone(), endpoints: BTreeMap::new() });
            let which = format!("{ip} {} {}", address["hostname"], address["targetRef"]["uid"]);
            slice.endpoints.entry(which).or_insert_with(|| endpoint(ip, address, ready));
        }
    }
    (slices, skipped)
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn port(said: &Value) -> Value {
    let mut port = json!({
        "name": said["name"].as_str().unwrap_or_default(), "port": said["port"],
        "protocol": said["protocol"].as_str().unwrap_or("TCP"),
    });
    if said["appProtocol"].is_string() {
        port["appProtocol"] = said["appProtocol"].clone();
    }
    port
}

/// Ports in any order, in one text.
fn sort(ports: &[Value]) -> String {
    let text = |port: &Value| {
        ["name", "port", "protocol", "appProtocol"].map(|field| port[field].to_string()).join(" ")
    };
    let mut texts: Vec<String> = ports.iter().map(text).collect();
    texts.sort();
    texts.join(",")
}

fn endpoint(ip: IpAddr, address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        if !address[field].is_null() && address[field] != "" {
            endpoint[field] = address[field].clone();
        }
    }
    endpoint
}

/// Writes a slice that is there, or makes it.
fn write(turn: &mut Turn, me: &Object, family: &str, slice: Slice, old: Option<&Object>) {
    let said = me.document.metadata_value();
    let mut labels = said["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE.into(), me.key.name.as_str().into());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    let mut annotations = said["annotations"].as_object().cloned().unwrap_or_default();
    OWN.iter().for_each(|own| drop(annotations.remove(*own)));
    let endpoints: Vec<Value> = slice.endpoints.into_values().collect();
    if let Some(old) = old {
        let mut value = old.document.to_value();
        if value["endpoints"] != json!(endpoints) {
            value["endpoints"] = endpoints.into();
            value["metadata"]["generation"] = (old.meta.generation + 1).into();
        }
        value["metadata"]["labels"] = labels.into();
        match value["metadata"].as_object_mut() {
            Some(metadata) if annotations.is_empty() => drop(metadata.remove("annotations")),
            _ => value["metadata"]["annotations"] = annotations.into(),
        }
        turn.put(&old.key, Document::from_value(value));
        return;
    }
    let prefix = format!("{}-", me.key.name);
    let mut metadata = json!({
        "generateName": prefix, "namespace": me.key.namespace, "labels": labels,
        "ownerReferences": [Turn::controller_reference(me)],
    });
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    for _ in 0..NAME_TRIES {
        metadata["name"] = format!("{prefix}{}", turn.context().name_suffix()).into();
        let new = json!({
            "metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": slice.ports,
        });
        if turn.create(Kind::ENDPOINT_SLICE, new).is_some() {
            return;
        }
    }
}
