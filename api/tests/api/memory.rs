//! A cluster in memory: one leader that decides at once, for tests of the API and for trying it by hand.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use kontiki_actors::{
    Context, Document, Entry, Input, Kind, LEVEL, Object, ObjectKey, Outcome, Request, RequestId, State,
    Turned, decide,
    input::{Life, NodeHello, PodReport, Verdict},
    scheduling::SchedulingQueue,
};
use kontiki_api::{
    Backend, Feed, FeedLimits, Freshness, LogsError, LogsQuery, Unavailable,
    backend::LogsStream,
    streams::{PodStream, StreamError, StreamTo},
    usage::NodeUsage,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub struct Memory {
    state: Mutex<State>,
    feed: Arc<Feed>,
    seed: AtomicUsize,
    /// Updates that lose a race on purpose before the next one is let through.
    pub disturb: AtomicUsize,
    pub quorum: AtomicBool,
    /// What the controller holds that is asked, if that is not the newest.
    pub behind: Mutex<Option<State>>,
    /// Whether its one node really runs pods.
    pub alive: AtomicBool,
    /// Who answers on the ports of its pods; nobody if there is none.
    pub dial: Mutex<Option<Dial>>,
    /// What its nodes say that they use; none if they cannot be asked.
    pub usage: Mutex<Option<Vec<NodeUsage>>>,
}

/// Opens a stream to a port of the pod of this name.
pub type Dial = Arc<dyn Fn(&str, u16) -> Result<PodStream, StreamError> + Send + Sync>;

impl Memory {
    pub fn new(limits: FeedLimits) -> Arc<Memory> {
        let memory = Memory {
            state: Mutex::new(State::default()),
            feed: Arc::new(Feed::new(0, limits)),
            seed: AtomicUsize::new(1),
            disturb: AtomicUsize::new(0),
            quorum: AtomicBool::new(true),
            behind: Mutex::default(),
            alive: AtomicBool::new(false),
            dial: Mutex::default(),
            usage: Mutex::default(),
        };
        let namespace = |name: &str| {
            let document = Document::from_value(json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            }));
            (ObjectKey::new(Kind::NAMESPACE, "", name), document)
        };
        let mut first = vec![namespace("default"), namespace("kube-system")];
        first.extend(kontiki_actors::rbac::defaults::objects());
        first.extend(kontiki_actors::flow::defaults::objects());
        memory.turn(Input::Raise { level: LEVEL, objects: first }, None);
        Arc::new(memory)
    }

    /// One turn, decided and folded at once, and those that place the pods that it leaves.
    pub fn turn(&self, input: Input, id: Option<RequestId>) -> Outcome {
        let mut state = self.state.lock();
        let mut queue = SchedulingQueue::default();
        let outcome = self.one_turn(&mut state, &mut queue, input, id);
        while let Some(input) = queue.next(&state) {
            self.one_turn(&mut state, &mut queue, input, None);
        }
        outcome
    }

    fn one_turn(
        &self,
        state: &mut State,
        queue: &mut SchedulingQueue,
        input: Input,
        id: Option<RequestId>,
    ) -> Outcome {
        if let Some(answered) = id.as_deref().and_then(|id| state.answered(id)) {
            return answered.clone();
        }
        let seed = self.seed.fetch_add(1, Ordering::Relaxed) as u64;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let decision = decide(state, &input, Context::new(now_ms, seed));
        queue.add(&decision.state, &decision.to_place);
        let turned = Turned {
            request: id,
            now_ms,
            seed,
            input: input.abridged(),
            changes: decision.changes,
            outcome: decision.outcome.abridged(),
            trace: None,
        };
        let entry = Entry { term: 1, turns: vec![turned] };
        let bytes = entry.encode().unwrap();
        let folded = state.fold(&entry, &bytes);
        self.feed.publish(folded.events, state.revision());
        decision.outcome
    }

    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Adds a node with room for many pods.
    pub fn add_node(&self, name: &str) {
        let status = json!({
            "capacity": {"cpu": "32", "memory": "64Gi", "pods": "500"},
            "allocatable": {"cpu": "32", "memory": "64Gi", "pods": "500"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "v1.33.0+kontiki", "osImage": "memory", "kernelVersion": "none",
                "containerRuntimeVersion": "memory://1", "architecture": "amd64", "operatingSystem": "linux",
                "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": ""},
        });
        let labels = vec![("kubernetes.io/hostname".into(), name.into())];
        let status = Bytes::from(status.to_string());
        self.turn(Input::NodeHello(Box::new(NodeHello { name: name.into(), labels, status })), None);
        let verdict = Verdict { node: name.into(), life: Life::Ready, reason: "in contact".into() };
        self.turn(Input::Verdicts(vec![verdict]), None);
    }

    /// What nodes and the clock would do: pods run, pods end, wake-ups come due. Tells whether anything was done.
    pub fn step(&self) -> bool {
        let state = self.state();
        let now = jiff::Timestamp::now();
        let mut reports = Vec::new();
        for pod in state.list(Kind::POD, None) {
            let Some(node) = pod.pod().and_then(|p| p.node.clone()) else { continue };
            let status = pod.document.status_value();
            let running = status["containerStatuses"].is_array();
            let report = |status: Bytes, gone| PodReport {
                node: node.clone(),
                uid: pod.meta.uid.clone(),
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                status,
                gone,
                events: Vec::new(),
            };
            if pod.meta.deleting() {
                reports.push(report(Bytes::new(), true));
            } else if !running {
                reports.push(report(Bytes::from(running_status(pod, now).to_string()), false));
            }
        }
        let worked = !reports.is_empty();
        if worked {
            self.turn(Input::Reports(reports), None);
        }
        let due = self.state().due(now.as_millisecond(), 100);
        if !due.is_empty() {
            self.turn(Input::Wake(due), None);
            return true;
        }
        worked
    }
}

fn running_status(pod: &Object, now: jiff::Timestamp) -> Value {
    let now = kontiki_actors::object::rfc3339(now.as_millisecond());
    let spec = pod.document.spec_value();
    let statuses: Vec<Value> = spec["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            json!({"name": c["name"], "image": c["image"], "imageID": "", "ready": true, "started": true,
                "restartCount": 0, "containerID": "memory://0", "state": {"running": {"startedAt": now}}})
        })
        .collect();
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
    let conditions: Vec<Value> =
        ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition).into_iter().collect();
    json!({"phase": "Running", "startTime": now, "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}],
        "hostIP": "10.0.0.1", "containerStatuses": statuses, "conditions": conditions})
}

impl Backend for Memory {
    fn view(&self, freshness: Freshness) -> BoxFuture<'_, Result<State, Unavailable>> {
        async move {
            let behind = self.behind.lock().clone().filter(|_| freshness == Freshness::Any);
            let state = behind.unwrap_or_else(|| self.state());
            if freshness == Freshness::Linearizable && !self.quorum.load(Ordering::Relaxed) {
                return Err(Unavailable::NoQuorum { reason: "1 of 3 controllers answers".into() });
            }
            match freshness {
                Freshness::AtLeast(wanted) if wanted > state.revision() => {
                    Err(Unavailable::Behind { wanted, current: state.revision() })
                }
                Freshness::Any => Ok(self.behind.lock().clone().unwrap_or(state)),
                _ => Ok(state),
            }
        }
        .boxed()
    }

    fn submit(
        &self,
        request: Request,
        id: RequestId,
        _trace: Option<String>,
    ) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        async move {
            if !self.quorum.load(Ordering::Relaxed) {
                return Err(Unavailable::NoQuorum { reason: "1 of 3 controllers answers".into() });
            }
            if let Request::Update { key, .. } = &request
                && self
                    .disturb
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
            {
                // Somebody else is faster.
                let object = self.state().get(key).cloned().unwrap();
                let mut metadata = object.document.metadata_value();
                metadata["annotations"]["disturbed"] = object.revision.to_string().into();
                let document = object.document.with_metadata(metadata);
                let part = kontiki_actors::input::Part::Main;
                let other = Request::Update {
                    key: key.clone(),
                    document,
                    part,
                    revision: None,
                    uid: None,
                    dry_run: false,
                };
                self.turn(Input::Api(other), None);
            }
            Ok(self.turn(Input::Api(request), Some(id)))
        }
        .boxed()
    }

    fn feed(&self) -> Arc<Feed> {
        self.feed.clone()
    }

    fn logs(&self, pod: Arc<Object>, query: LogsQuery) -> BoxFuture<'_, Result<LogsStream, LogsError>> {
        async move {
            if query.previous {
                let text = format!(
                    "previous terminated container {:?} in pod {:?} not found",
                    query.container, pod.key.name
                );
                return Err(LogsError::NotFound(text));
            }
            let lines = [format!("hello from {}\n", query.container), "bye\n".to_owned()];
            let skip =
                query.tail_lines.map_or(0, |n| lines.len().saturating_sub(usize::try_from(n).unwrap_or(0)));
            let chunks: Vec<_> = lines.into_iter().skip(skip).map(|line| Ok(Bytes::from(line))).collect();
            Ok(stream::iter(chunks).boxed())
        }
        .boxed()
    }

    fn open_stream(&self, pod: Arc<Object>, to: StreamTo) -> BoxFuture<'_, Result<PodStream, StreamError>> {
        let dial = self.dial.lock().clone();
        async move {
            match (dial, to) {
                (Some(dial), StreamTo::Port(port)) => dial(&pod.key.name, port),
                (_, to) => Err(StreamError::NotFound(format!("nothing runs here: {to:?}"))),
            }
        }
        .boxed()
    }

    fn usage(&self, nodes: BTreeSet<String>, pods: bool) -> BoxFuture<'_, Result<Vec<NodeUsage>, String>> {
        async move {
            let Some(usage) = &*self.usage.lock() else { return Err("nobody leads".into()) };
            let mut said: Vec<NodeUsage> =
                usage.iter().filter(|usage| nodes.contains(&usage.node)).cloned().collect();
            said.iter_mut().filter(|_| !pods).for_each(|usage| usage.pods.clear());
            Ok(said)
        }
        .boxed()
    }

    fn metrics(&self) -> String {
        format!("kontiki_revision {}\n", self.state().revision())
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        async move { if self.quorum.load(Ordering::Relaxed) { Ok(()) } else { Err("no quorum".into()) } }
            .boxed()
    }
}
