//! Clusters to measure on. They are made by turns, of what clients send and the API completes, so that nothing in them is unlike what the
//! product holds.

use bytes::Bytes;
use kontiki_actors::{
    Context, Decision, Document, Input, Kind, ObjectKey, Outcome, Request, State, decide,
    input::{Life, NodeHello, Verdict},
    scheduling::SchedulingQueue,
};
use kontiki_api::resource;
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW_MS: i64 = 1_767_225_600_000;
/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "default";
/// Bytes of a ConfigMap's one value.
pub(crate) const VALUE: usize = 1024;
/// Cores of each node.
const CORES: &str = "32";
const ZONES: [&str; 3] = ["a", "b", "c"];

/// Decides an input that is not to be refused. Another seed means other uids.
pub(crate) fn decided(state: &State, input: &Input, seed: usize) -> Decision {
    let decision = decide(state, input, Context::new(NOW_MS, seed as u64));
    assert!(!matches!(decision.outcome, Outcome::Rejected(_)), "{:?}", decision.outcome);
    decision
}

/// The same with the pods that it leaves to be placed, as one entry carries it: the state after all of it.
pub(crate) fn placed(state: &State, input: &Input, seed: usize) -> State {
    let mut queue = SchedulingQueue::default();
    let mut decision = decided(state, input, seed);
    queue.add(&decision.state, &decision.to_place);
    while let Some(input) = queue.next(&decision.state) {
        decision = decided(&decision.state, &input, seed + 1);
        queue.add(&decision.state, &decision.to_place);
    }
    decision.state
}

/// A state with the namespace `default`.
pub(crate) fn empty() -> State {
    let namespace = json!({
        "metadata": {"name": NAMESPACE, "labels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    });
    let key = ObjectKey::new(Kind::NAMESPACE, "", NAMESPACE);
    decided(&State::default(), &Input::Bootstrap(vec![(key, Document::from_value(namespace))]), 0).state
}

/// A state with so many ConfigMaps of 1 KiB.
pub(crate) fn with_config_maps(count: usize) -> State {
    let mut state = empty();
    for n in 0..count {
        let input = create(&state, Kind::CONFIG_MAP, config_map(&format!("standing-{n}")));
        state = decided(&state, &input, n).state;
    }
    state
}

/// A state with so many ready nodes in three zones, of which every second has a fast disk. Nothing runs on them.
pub(crate) fn with_nodes(count: usize) -> State {
    let mut state = empty();
    let status = Bytes::from(
        json!({
            "capacity": {"cpu": CORES, "memory": "128Gi", "pods": "110"},
            "allocatable": {"cpu": CORES, "memory": "128Gi", "pods": "110"},
        })
        .to_string(),
    );
    let mut verdicts = Vec::new();
    for n in 0..count {
        let name = compact_str::format_compact!("node-{n}");
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("topology.kubernetes.io/zone", ZONES[n % ZONES.len()]),
            ("disk", if n % 2 == 0 { "ssd" } else { "hdd" }),
        ];
        let labels = labels.map(|(key, value)| (key.into(), value.into())).to_vec();
        let hello = NodeHello { name: name.clone(), labels, status: status.clone() };
        state = decided(&state, &Input::NodeHello(Box::new(hello)), n).state;
        verdicts.push(Verdict { node: name, life: Life::Ready, reason: "in contact".into() });
    }
    decided(&state, &Input::Verdicts(verdicts), count).state
}

/// A client's create of this object, as the API hands it on.
pub(crate) fn create(state: &State, kind: Kind, mut object: Value) -> Input {
    resource::prepare_create(&kind.into(), &mut object, NAMESPACE, Some(state)).expect("a valid object");
    let name = object["metadata"]["name"].as_str().expect("an object with a name");
    Input::Api(Request::Create {
        key: ObjectKey::new(kind, NAMESPACE, name),
        generate_name: None,
        document: Document::from_value(object),
        dry_run: false,
    })
}

/// A ConfigMap of 1 KiB, as clients send it.
pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": "x".repeat(VALUE)}})
}

/// A pod of this spec.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A ReplicaSet or Deployment of so many pods of this spec.
pub(crate) fn workload(kind: Kind, name: &str, replicas: usize, spec: Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.info().kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

/// The spec of a pod with one container that asks for so much processor time.
pub(crate) fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "main", "image": "app:1", "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}}}]})
}
