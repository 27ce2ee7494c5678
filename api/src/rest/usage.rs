//! `metrics.k8s.io`: what nodes and pods use, as `kubectl top` and autoscalers ask for it.
//!
//! Source: k8s.io/metrics, and metrics-server for what is left out: a pod or node that says nothing yet is not in a list,
//! and alone it is not found.

use std::{
    collections::{BTreeSet, HashMap},
    ops::ControlFlow,
    sync::Arc,
};

use http::Method;
use kontiki_actors::{Kind, Object};
use serde_json::{Value, json};

use super::{
    call::{Call, method_not_allowed},
    negotiate::{Answer, negotiate},
    path::Target,
    reply::{Answered, Reply},
    selection::Selection,
    snapshot::Snapshot,
};
use crate::{
    backend::Freshness,
    status::Status,
    usage::{ContainerUsage, NodeUsage},
};

/// The API group.
pub const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub const VERSION: &str = "v1beta1";

/// Answers a GET of what the pods or nodes of a target use.
pub(crate) async fn answer(call: Call, target: Target) -> Answered {
    let kind = if target.served.kind == Kind::POD { "PodMetrics" } else { "NodeMetrics" };
    if call.method != Method::GET || call.query.switch("watch") {
        let verb = if call.method == Method::GET { Some("watch") } else { None };
        return Err(verb.map_or_else(
            || method_not_allowed(&call.method, kind),
            |verb| Status::method_not_allowed(verb, kind),
        ));
    }
    let form = negotiate(&call.headers, Answer::Other)?;
    let selection = Selection::of(&target, &call.query)?;
    // These are figures of some seconds ago in any case.
    let snapshot = Snapshot::now(&*call.api.backend, Freshness::Any).await?;
    let mut objects: Vec<Arc<Object>> = Vec::new();
    snapshot.visit(&selection, None, |object| {
        if selection.matches(object) {
            objects.push(object.clone());
        }
        ControlFlow::Continue(())
    });
    let pods = target.served.kind == Kind::POD;
    let nodes: BTreeSet<String> =
        objects.iter().filter_map(|object| node_of(object)).map(str::to_owned).collect();
    let said = match nodes.is_empty() {
        true => Vec::new(),
        false => call.api.backend.usage(nodes, pods).await.map_err(|cause| {
            Status::new(503, "ServiceUnavailable", format!("what is used cannot be found out: {cause}"))
                .retry(1)
        })?,
    };
    let metrics = if pods { of_pods(&objects, &said) } else { of_nodes(&objects, &said) };
    let api_version = format!("{GROUP}/{VERSION}");
    let value = match &target.name {
        None => json!({
            "kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {}, "items": metrics,
        }),
        Some(name) => {
            let Some(mut found) = metrics.into_iter().next() else { return Err(not_found(&target, name)) };
            found["kind"] = kind.into();
            found["apiVersion"] = api_version.into();
            found
        }
    };
    Reply::in_media(200, form.media, value.to_string().into_bytes())
}

fn not_found(target: &Target, name: &str) -> Status {
    let plural = target.served.kind.info().plural;
    let named = match &target.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let mut status = Status::new(404, "NotFound", format!("{plural}.{GROUP} {named:?} not found"));
    (status.name, status.group, status.kind) = (named, GROUP.to_owned(), plural.to_owned());
    status
}

/// The node that can tell of an object.
fn node_of(object: &Object) -> Option<&str> {
    match object.pod() {
        Some(pod) if pod.terminal() => None,
        Some(pod) => pod.node.as_deref(),
        None => Some(&object.key.name),
    }
}

fn of_nodes(nodes: &[Arc<Object>], said: &[NodeUsage]) -> Vec<Value> {
    let said: HashMap<&str, &NodeUsage> = said.iter().map(|usage| (usage.node.as_str(), usage)).collect();
    let of = |node: &Arc<Object>| {
        let usage = said.get(node.key.name.as_str())?;
        let mut metrics = head(node, usage);
        metrics["usage"] = amounts(usage.cpu_nanocores, usage.memory_bytes);
        Some(metrics)
    };
    nodes.iter().filter_map(of).collect()
}

fn of_pods(pods: &[Arc<Object>], said: &[NodeUsage]) -> Vec<Value> {
    let each = said.iter().flat_map(|node| node.pods.iter().map(move |pod| (pod.uid.as_str(), (node, pod))));
    let said: HashMap<&str, _> = each.collect();
    let of = |pod: &Arc<Object>| {
        let (node, usage) = said.get(pod.meta.uid.as_str())?;
        let mut metrics = head(pod, node);
        let container = |it: &ContainerUsage| json!({"name": it.name, "usage": amounts(it.cpu_nanocores, it.memory_bytes)});
        metrics["containers"] = usage.containers.iter().map(container).collect();
        Some(metrics)
    };
    pods.iter().filter_map(of).collect()
}

/// Whose it is, and of when. It counts as made when it was measured.
fn head(object: &Object, usage: &NodeUsage) -> Value {
    let time = jiff::Timestamp::from_second(usage.time_ms.div_euclid(1000)).unwrap_or_default().to_string();
    let mut metadata = json!({"name": object.key.name.as_str(), "creationTimestamp": time});
    if !object.key.namespace.is_empty() {
        metadata["namespace"] = object.key.namespace.as_str().into();
    }
    let document = object.document.metadata_value();
    if let Some(labels) = document.get("labels").filter(|labels| labels.is_object()) {
        metadata["labels"] = labels.clone();
    }
    let window = format!("{}.{:03}s", usage.window_ms / 1000, usage.window_ms % 1000);
    json!({"metadata": metadata, "timestamp": time, "window": window})
}

/// As metrics-server writes them.
fn amounts(cpu_nanocores: u64, memory_bytes: u64) -> Value {
    let cpu = if cpu_nanocores == 0 { "0".to_owned() } else { format!("{cpu_nanocores}n") };
    json!({"cpu": cpu, "memory": format!("{}Ki", memory_bytes / 1024)})
}
