//! A small cluster for tests: decides inputs in order on the leader's state, folds each as an entry on a second
//! replica, and plays the workers. Everything is in the tests' hands: the clock, who answers, and when.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses its part of it"
)]

use std::sync::Arc;

use kontiki_actors::{
    Change, Context, Document, Entry, Event, Foreseen, Input, Kind, LEVEL, Object, ObjectKey, Outcome,
    Request, State, Turned, decide,
    input::{DeleteOptions, Life, NodeHello, Part, PodReport, Propagation, Verdict},
    object::{parse_time_ms, rfc3339},
    scheduling::SchedulingQueue,
    state::Folded,
};
use serde_json::{Value, json};

/// Called with the state after each change.
pub type Observer = Box<dyn FnMut(&State)>;

pub struct Cluster {
    pub state: State,
    pub follower: State,
    pub now_ms: i64,
    pub turns: usize,
    pub observer: Option<Observer>,
    queue: SchedulingQueue,
    seed: u64,
}

/// 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;

pub fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, if kind.info().namespaced { "default" } else { "" }, name)
}

impl Cluster {
    /// With the namespaces default and kube-system, and these nodes in zones a, b, c in turn.
    pub fn new(nodes: usize) -> Cluster {
        let mut cluster = Cluster {
            state: State::default(),
            follower: State::default(),
            now_ms: START_MS,
            turns: 0,
            observer: None,
            queue: SchedulingQueue::default(),
            seed: 1,
        };
        let ca = json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "kube-system"}, "data": {"ca.crt": "CA"}});
        let objects = [
            (key(Kind::NAMESPACE, "kube-system"), json!({"metadata": {"name": "kube-system"}})),
            (ObjectKey::new(Kind::CONFIG_MAP, "kube-system", "kube-root-ca.crt"), ca),
            (key(Kind::NAMESPACE, "default"), json!({"metadata": {"name": "default"}})),
        ];
        let objects = objects.map(|(k, v)| (k, Document::from_value(v))).to_vec();
        cluster.decide(Input::Raise { level: LEVEL, objects });
        for n in 0..nodes {
            cluster.hello(&format!("node-{n}"));
        }
        cluster
    }

    /// One turn and those that place the pods that it leaves: decided here, folded there. What all of them changed, and the answer of
    /// the first.
    pub fn decide(&mut self, input: Input) -> (Vec<Change>, Outcome) {
        let (mut changes, outcome) = self.turn(input);
        while let Some(input) = self.queue.next(&self.state) {
            changes.extend(self.turn(input).0);
        }
        (changes, outcome)
    }

    /// One turn alone: what it leaves to be placed waits for the next [`Cluster::decide`].
    pub fn turn(&mut self, input: Input) -> (Vec<Change>, Outcome) {
        self.seed += 1;
        self.turns += 1;
        let decision = decide(&self.state, &input, Context::new(self.now_ms, self.seed));
        let again = decide(&self.state, &input, Context::new(self.now_ms, self.seed));
        assert_eq!(decision.changes, again.changes, "a decision depends on nothing but its arguments");
        let entry = Entry {
            term: 1,
            turns: vec![Turned {
                request: None,
                now_ms: self.now_ms,
                seed: self.seed,
                input: input.abridged(),
                changes: decision.changes.clone(),
                outcome: decision.outcome.abridged(),
                trace: None,
            }],
        };
        if let Some(mut observer) = self.observer.take() {
            let mut probe = self.state.clone();
            for change in &decision.changes {
                probe.apply(change);
                observer(&probe);
            }
            self.observer = Some(observer);
        }
        let bytes = entry.encode().unwrap();
        let read = Entry::decode(&bytes).unwrap();
        let (before, mut state) = (self.state.clone(), decision.state);
        state.advance(&bytes);
        let foreseen = Foreseen { state: state.clone(), events: decision.events, forgotten: Vec::new() };
        let folded = self.follower.fold(&read, &bytes);
        let adopted = before.clone().adopt(&read, self.follower.chain(), foreseen);
        assert_eq!(told(&adopted), told(&folded), "it comes as it was foreseen");
        self.state = state;
        self.queue.add(&self.state, &decision.to_place);
        assert_eq!(self.state.revision(), self.follower.revision());
        (decision.changes, decision.outcome)
    }

    /// Both replicas hold the same.
    pub fn assert_replicas_agree(&self) {
        let all = |state: &State| -> Vec<_> {
            let one =
                |o: &Arc<Object>| (o.key.clone(), o.revision, o.document.whole(), state.wake_of(&o.key));
            state.iter().map(one).collect()
        };
        assert_eq!(all(&self.state), all(&self.follower));
        assert_eq!(self.state.level(), self.follower.level());
        let waiting = |state: &State| state.unplaced().cloned().collect::<Vec<_>>();
        assert_eq!(waiting(&self.state), waiting(&self.follower));
    }

    /// Wakes whoever is due now, until nobody is.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let due = self.state.due(self.now_ms, 100);
            if due.is_empty() {
                self.assert_replicas_agree();
                return;
            }
            self.decide(Input::Wake(due));
        }
        panic!("wake-ups do not end: {:?}", self.state.due(self.now_ms, 10));
    }

    /// Lets time pass, with each wake-up at its time.
    pub fn advance(&mut self, seconds: i64) {
        let until = self.now_ms + seconds * 1000;
        while let Some(at) = self.state.next_wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            self.settle();
        }
        self.now_ms = until;
    }

    pub fn hello(&mut self, name: &str) -> Vec<Change> {
        self.hello_under(name, &[])
    }

    /// The same, of a worker that is short of something.
    pub fn hello_under(&mut self, name: &str, pressures: &[&str]) -> Vec<Change> {
        let pressures: Vec<Value> =
            pressures.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        self.hello_with(name, pressures.into())
    }

    /// The same, of a worker that says these conditions of itself.
    pub fn hello_with(&mut self, name: &str, conditions: Value) -> Vec<Change> {
        let number: usize = name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let zone = ["a", "b", "c"][number % 3];
        let status = json!({
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "500"},
            "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "500"},
            "nodeInfo": {"kubeletVersion": "v1"}, "conditions": conditions, "addresses": [{"type": "Hostname", "address": name}],
        });
        let labels = vec![
            ("kubernetes.io/hostname".into(), name.into()),
            ("topology.kubernetes.io/zone".into(), zone.into()),
        ];
        let hello =
            NodeHello { name: name.into(), labels, status: serde_json::to_vec(&status).unwrap().into() };
        self.decide(Input::NodeHello(Box::new(hello))).0
    }

    pub fn verdicts(&mut self, nodes: &[&str], life: Life) -> Vec<Change> {
        let verdict = |node: &&str| Verdict { node: (*node).into(), life, reason: String::new() };
        self.decide(Input::Verdicts(nodes.iter().map(verdict).collect())).0
    }

    pub fn create(&mut self, kind: Kind, value: Value) -> Vec<Change> {
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or(if kind.info().namespaced {
            "default"
        } else {
            ""
        });
        let key = ObjectKey::new(kind, namespace, value["metadata"]["name"].as_str().unwrap());
        let request = Request::Create {
            key,
            generate_name: None,
            document: Document::from_value(value),
            dry_run: false,
        };
        let (changes, outcome) = self.decide(Input::Api(request));
        assert!(!matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        changes
    }

    /// Changes an object as a client does; the generation counts changes of the spec.
    pub fn edit(&mut self, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) -> Vec<Change> {
        let key = key(kind, name);
        let object = self.state.get(&key).unwrap().clone();
        let mut value = object.document.to_value();
        edit(&mut value);
        if value["spec"] != object.document.spec_value() && object.meta.generation > 0 {
            value["metadata"]["generation"] = (object.meta.generation + 1).into();
        }
        let request = Request::Update {
            key,
            document: Document::from_value(value),
            part: Part::Main,
            revision: None,
            uid: None,
            dry_run: false,
        };
        let (changes, outcome) = self.decide(Input::Api(request));
        assert!(!matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        changes
    }

    pub fn set_image(&mut self, deployment: &str, image: &str) -> Vec<Change> {
        self.edit(Kind::DEPLOYMENT, deployment, |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] = image.into()
        })
    }

    pub fn set_replicas(&mut self, kind: Kind, name: &str, replicas: i64) -> Vec<Change> {
        self.edit(kind, name, |d| d["spec"]["replicas"] = replicas.into())
    }

    pub fn delete(
        &mut self,
        kind: Kind,
        name: &str,
        propagation: Option<Propagation>,
    ) -> (Vec<Change>, Outcome) {
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.decide(Input::Api(Request::Delete { key: key(kind, name), options, dry_run: false }))
    }

    pub fn report(&mut self, pods: &[Arc<Object>], say: impl Fn(&Object) -> (Value, bool)) -> Vec<Change> {
        let report = |pod: &Arc<Object>| {
            let (status, gone) = say(pod);
            PodReport {
                node: pod.pod().unwrap().node.clone().unwrap_or_default(),
                uid: pod.meta.uid.clone(),
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                status: if status.is_null() {
                    Default::default()
                } else {
                    serde_json::to_vec(&status).unwrap().into()
                },
                gone,
                events: Vec::new(),
            }
        };
        let reports = pods.iter().map(report).collect();
        self.decide(Input::Reports(reports)).0
    }

    /// These pods run and are ready, or are not.
    pub fn report_ready(&mut self, pods: &[Arc<Object>], ready: bool) -> Vec<Change> {
        let now = rfc3339(self.now_ms);
        self.report(pods, |_| (running(ready, &now), false))
    }

    /// One round of all workers: placed pods run and are ready, pods told to leave are gone. False when all was said.
    pub fn work(&mut self) -> bool {
        self.settle();
        let placed = |o: &&Arc<Object>| o.pod().unwrap().node.is_some();
        let leaving: Vec<_> = self.pods().into_iter().filter(|o| placed(&o) && o.meta.deleting()).collect();
        let waiting: Vec<_> = self
            .pods()
            .into_iter()
            .filter(|o| {
                placed(&o) && !o.meta.deleting() && !o.pod().unwrap().terminal() && !o.pod().unwrap().ready
            })
            .collect();
        if !leaving.is_empty() {
            self.report(&leaving, |_| (Value::Null, true));
        }
        if !waiting.is_empty() {
            self.report_ready(&waiting, true);
        }
        self.settle();
        !leaving.is_empty() || !waiting.is_empty()
    }

    /// Rounds of all workers until nothing is left to say.
    pub fn work_out(&mut self) {
        for _ in 0..200 {
            if !self.work() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    pub fn get(&self, kind: Kind, name: &str) -> Arc<Object> {
        self.state.get(&key(kind, name)).unwrap_or_else(|| panic!("no {kind:?} {name}")).clone()
    }

    pub fn find(&self, kind: Kind, name: &str) -> Option<Arc<Object>> {
        self.state.get(&key(kind, name)).cloned()
    }

    pub fn pods(&self) -> Vec<Arc<Object>> {
        self.state.list(Kind::POD, None).cloned().collect()
    }

    /// Pods that have not ended and are not leaving.
    pub fn active(&self) -> Vec<Arc<Object>> {
        active(&self.state)
    }

    pub fn replica_sets(&self) -> Vec<Arc<Object>> {
        let mut sets: Vec<_> = self.state.list(Kind::REPLICA_SET, None).cloned().collect();
        sets.sort_by_key(|s| {
            s.meta.annotations.get("deployment.kubernetes.io/revision").and_then(|r| r.parse::<i64>().ok())
        });
        sets
    }

    /// The sizes of the replica sets, by revision.
    pub fn sizes(&self) -> Vec<i64> {
        self.replica_sets().iter().map(|s| s.replica_set().unwrap().replicas).collect()
    }

    pub fn events(&self, reason: &str) -> Vec<String> {
        let mut events: Vec<(u64, String)> = self
            .state
            .list(Kind::EVENT, None)
            .map(|e| (e.revision, e.document.rest_value()))
            .filter(|(_, e)| e["reason"] == reason)
            .map(|(revision, e)| (revision, e["message"].as_str().unwrap().to_string()))
            .collect();
        events.sort();
        events.into_iter().map(|(_, message)| message).collect()
    }

    pub fn status(&self, kind: Kind, name: &str) -> Value {
        self.get(kind, name).document.status_value()
    }

    /// (status, reason) of a condition.
    pub fn condition(&self, kind: Kind, name: &str, condition: &str) -> Option<(String, String)> {
        let status = self.status(kind, name);
        let list = status["conditions"].as_array()?;
        let found = list.iter().find(|c| c["type"] == condition)?;
        Some((
            found["status"].as_str()?.to_string(),
            found["reason"].as_str().unwrap_or_default().to_string(),
        ))
    }
}

pub fn active(state: &State) -> Vec<Arc<Object>> {
    let counts = |o: &&Arc<Object>| !o.meta.deleting() && !o.pod().unwrap().terminal();
    state.list(Kind::POD, None).filter(counts).cloned().collect()
}

pub fn running(ready: bool, now: &str) -> Value {
    let value = if ready { "True" } else { "False" };
    json!({
        "phase": "Running", "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": value, "lastTransitionTime": now},
            {"type": "ContainersReady", "status": value, "lastTransitionTime": now}],
    })
}

pub fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {
        "containers": [{"name": "main", "image": image}], "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
    }})
}

/// A deployment as the API hands it over, with its defaults.
pub fn deployment(name: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, "v1"),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
    }})
}

pub fn replica_set(name: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, "v1"),
    }})
}

pub fn pod(name: &str, app: &str) -> Value {
    let template = template(app, "v1");
    json!({"metadata": {"name": name, "namespace": "default", "labels": template["metadata"]["labels"]},
        "spec": template["spec"], "status": {"phase": "Pending"}})
}

/// What the changes are, in words: `put Pod web-x`, without generated letters.
pub fn words(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            Change::Put { key, .. } => format!("put {:?}", key.kind),
            Change::Delete { key } => format!("delete {:?}", key.kind),
            Change::Wake { key, at_ms: Some(_) } => format!("wake {:?}", key.kind),
            Change::Wake { key, at_ms: None } => format!("unwake {:?}", key.kind),
            Change::Level(level) => format!("level {level}"),
        })
        .collect()
}

pub fn time(text: &Value) -> i64 {
    parse_time_ms(text.as_str().unwrap()).unwrap()
}

/// What an entry did, as far as it can be compared.
fn told(folded: &Folded) -> impl PartialEq + std::fmt::Debug + use<> {
    let object = |object: &Option<Arc<Object>>| object.as_ref().map(|o| (o.revision, o.document.whole()));
    let event = |e: &Event| (e.revision, e.key().clone(), object(&e.old), object(&e.new));
    (folded.events.iter().map(event).collect::<Vec<_>>(), folded.wakes.clone(), folded.level)
}
