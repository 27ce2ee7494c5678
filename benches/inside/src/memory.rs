//! What a cluster takes in memory, per running pod: the pods of ReplicaSets, and the events of their starts. Bytes that were asked of the
//! allocator and not given back, so what it adds to them, and what a controller holds for other reasons, is not in them.

use std::{hint::black_box, sync::Arc};

use kontiki_actors::{
    Input, Kind, Object, State,
    input::{Note, PodReport},
    object::{Digest, Meta},
};
use serde_json::json;

use crate::{
    crowd::{PODS_PER_NODE, SEED, quiet},
    fixture::{NAMESPACE, NOW_MS, create, with_nodes, workload},
};

/// Of one ReplicaSet, and in one report.
const TOGETHER: usize = 500;
const IMAGE: &str = "registry.k8s.io/pause:3.10";

/// Something that is held for each pod.
#[derive(Clone, Debug)]
pub struct Share {
    /// `events: text`.
    pub what: String,
    /// Bytes per pod.
    pub bytes: f64,
}

/// What is held on so many nodes with 30 pods each, item by item, and in all.
///
/// The caller tells how many bytes more are held after something was done than before: it chose the allocator.
pub fn shares(nodes: usize, grown: &dyn Fn(&mut dyn FnMut()) -> i64) -> Vec<Share> {
    let pods = (nodes * PODS_PER_NODE) as f64;
    let mut state = None;
    let empty = with_nodes(nodes);
    let all = grown(&mut || state = Some(with_running(empty.clone(), nodes * PODS_PER_NODE)));
    let state = state.expect("just made");
    let mut shares: Vec<Share> = Vec::new();
    let mut add = |what: &str, bytes: f64| shares.push(Share { what: what.to_owned(), bytes });
    for (name, kind) in [("pods", Kind::POD), ("events", Kind::EVENT)] {
        let objects: Vec<&Arc<Object>> = state.list(kind, None).collect();
        let texts: usize = objects.iter().map(|object| object.document.len()).sum();
        add(&format!("{name}: how many"), objects.len() as f64);
        add(&format!("{name}: text as served"), texts as f64);
        add(
            &format!("{name}: text as held"),
            objects.iter().map(|object| object.document.held()).sum::<usize>() as f64,
        );
    }
    add(
        "objects: metadata, alone",
        alone(&state, grown, |object| Arc::new(Meta::of(&object.document.whole().metadata))),
    );
    add(
        "objects: digest, alone",
        alone(&state, grown, |object| Digest::of(&object.key, &object.document.whole())),
    );
    add("all", all as f64);
    black_box(&state);
    shares.into_iter().map(|share| Share { bytes: share.bytes / pods, ..share }).collect()
}

/// What something takes that is made of each pod and event.
fn alone<T>(state: &State, grown: &dyn Fn(&mut dyn FnMut()) -> i64, make: impl Fn(&Object) -> T) -> f64 {
    let mut objects = [Kind::POD, Kind::EVENT].into_iter().flat_map(|kind| state.list(kind, None));
    let mut all = Vec::with_capacity(state.len());
    let bytes = grown(&mut || objects.by_ref().for_each(|object| all.push(make(object))));
    black_box(all);
    bytes as f64
}

/// The pods run, and who made and started them told of it.
fn with_running(mut state: State, pods: usize) -> State {
    for n in 0..pods.div_ceil(TOGETHER) {
        let container = json!({"name": "pause", "image": IMAGE, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}});
        let replicas = TOGETHER.min(pods - n * TOGETHER);
        let set = workload(
            Kind::REPLICA_SET,
            &format!("load-{n}-5d8f7c9b6d"),
            replicas,
            json!({"containers": [container]}),
        );
        let input = create(&state, Kind::REPLICA_SET, set);
        state = quiet(state, &input, SEED * (n + 2));
    }
    let pods: Vec<_> = state.list(Kind::POD, Some(NAMESPACE)).cloned().collect();
    for some in pods.chunks(TOGETHER) {
        let reports = some.iter().map(|pod| started(pod)).collect();
        state = quiet(state, &Input::Reports(reports), SEED);
    }
    state
}

/// What a worker says of a pod when it runs.
fn started(pod: &Object) -> PodReport {
    let node = pod.pod().and_then(|digest| digest.node.clone()).unwrap_or_default();
    let at = kontiki_actors::object::rfc3339(NOW_MS + 2000);
    let condition =
        |name: &str| json!({"type": name, "status": "True", "lastProbeTime": null, "lastTransitionTime": at});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"].map(condition);
    // As different as an address and an id are.
    let number = pod.meta.uid.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let address = format!("10.{}.{}.{}", number & 0xff, (number >> 8) & 0xff, (number >> 16) & 0xff);
    let id = format!(
        "{:016x}{:016x}{:016x}{:016x}",
        number,
        number.rotate_left(13),
        number.wrapping_mul(7),
        !number
    );
    let status = json!({
        "phase": "Running", "hostIP": "192.168.7.9", "hostIPs": [{"ip": "192.168.7.9"}], "podIP": address, "podIPs": [{"ip": address}],
        "startTime": at,
        "conditions": conditions,
        "containerStatuses": [{"name": "pause", "state": {"running": {"startedAt": at}}, "lastState": {}, "ready": true, "restartCount": 0,
            "image": IMAGE, "imageID": "registry.k8s.io/pause@sha256:ee6521f290b2168b6e0935a181d4cff9be1ac3f505666ef0e3c98fae8199917a",
            "started": true, "containerID": format!("kontiki://{id}")}],
    });
    let note = |reason: &str, message: &str| Note {
        r#type: "Normal".into(),
        reason: reason.into(),
        message: message.into(),
        field_path: "spec.containers{pause}".into(),
        time_ms: NOW_MS + 2000,
    };
    PodReport {
        node,
        uid: pod.meta.uid.clone(),
        namespace: pod.key.namespace.clone(),
        name: pod.key.name.clone(),
        status: status.to_string().into(),
        gone: false,
        events: vec![
            note("Pulled", &format!("Container image \"{IMAGE}\" already present on machine")),
            note("Created", "Created container: pause"),
            note("Started", "Started container pause"),
        ],
    }
}
