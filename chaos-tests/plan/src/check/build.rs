//! Builds runs for the tests of checkers: a cluster of one, whose turns are really decided, and clients that see what it does. Tests
//! then change what was seen.

use kontiki_actors::{
    Context, Decision, Document, Entry, Input, Kind, ObjectKey, Outcome, Request, State, Turned, decide,
    input::{DeleteOptions, Life, NodeHello, Part, PodReport, Verdict},
    scheduling::SchedulingQueue,
};
use serde_json::{Value, json};

use crate::{
    Layer, Plan, Run,
    history::{Answer, Call, InstanceEvent, LoggedEntry, OpRecord, WatchRecord, WatchStep},
    names,
    plan::Shape,
};

const STEP_NS: u64 = 1_000_000;

/// A run in the making.
pub(crate) struct Build {
    pub(crate) run: Run,
    pub(crate) state: State,
    pub(crate) now_ns: u64,
    /// The term in which its only controller leads.
    pub(crate) term: u64,
    queue: SchedulingQueue,
    seed: u64,
}

impl Build {
    /// An empty cluster with its namespace.
    pub(crate) fn new() -> Build {
        let plan = Plan { seed: 1, shape: Shape::default(), events: Vec::new() };
        let run = Run::new(plan, Layer::L0);
        let mut build = Build {
            run,
            state: State::default(),
            now_ns: 0,
            term: 1,
            queue: SchedulingQueue::default(),
            seed: 0,
        };
        let namespace = Document::from_value(json!({"metadata": {"name": names::NAMESPACE}}));
        let key = ObjectKey::new(Kind::NAMESPACE, "", names::NAMESPACE);
        build.turn(None, &Input::Bootstrap(vec![(key, namespace)]));
        build
    }

    /// Time goes on.
    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now_ns += ms * STEP_NS;
    }

    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + (self.now_ns / STEP_NS) as i64
    }

    /// Decides an input, logs it as an entry and gives its outcome; and places the pods that it leaves to be placed.
    pub(crate) fn turn(&mut self, request: Option<&str>, input: &Input) -> Outcome {
        let outcome = self.one_turn(request, input);
        while let Some(input) = self.queue.next(&self.state) {
            self.one_turn(None, &input);
        }
        outcome
    }

    fn one_turn(&mut self, request: Option<&str>, input: &Input) -> Outcome {
        self.seed += 1;
        let (now_ms, seed) = (self.now_ms(), self.seed);
        let Decision { changes, events: _, outcome, state, to_place } =
            decide(&self.state, input, Context::new(now_ms, seed));
        self.queue.add(&state, &to_place);
        if changes.is_empty() {
            return outcome;
        }
        let turned = Turned {
            request: request.map(Into::into),
            now_ms,
            seed,
            input: input.abridged(),
            changes,
            outcome: outcome.abridged(),
            trace: None,
        };
        self.log(turned);
        outcome
    }

    /// Logs a turn as it is.
    pub(crate) fn log(&mut self, turned: Turned) {
        let entry = Entry { term: self.term, turns: vec![turned] };
        let bytes = entry.encode().unwrap();
        self.state.fold(&entry, &bytes);
        self.now_ns += STEP_NS;
        let index = self.run.log.len() as u64 + 1;
        self.run.log.push(LoggedEntry { index, term: self.term, committed_ns: self.now_ns, bytes });
    }

    /// Changes that nobody decided.
    pub(crate) fn forge(&mut self, changes: Vec<kontiki_actors::Change>) {
        let (now_ms, input) = (self.now_ms(), Input::Wake(Vec::new()));
        self.log(Turned {
            request: None,
            now_ms,
            seed: 9,
            input,
            changes,
            outcome: Outcome::Done,
            trace: None,
        });
    }

    /// A client's write, with what it sees of it.
    pub(crate) fn api(&mut self, id: &str, call: Call, request: Request) -> Outcome {
        let invoked_ns = self.now_ns;
        let outcome = self.turn(Some(id), &Input::Api(request));
        let answer = match &outcome {
            Outcome::Object { revision, .. } | Outcome::Deleted { revision, .. } => {
                Answer::Done { revision: *revision }
            }
            Outcome::Done => Answer::Done { revision: 0 },
            Outcome::Rejected(kontiki_actors::Rejection::NotFound(_)) => Answer::Refused { code: 404 },
            Outcome::Rejected(_) => Answer::Refused { code: 409 },
        };
        self.op(invoked_ns, Some(id), call, answer);
        outcome
    }

    pub(crate) fn op(&mut self, invoked_ns: u64, request: Option<&str>, call: Call, answer: Answer) {
        self.now_ns += STEP_NS;
        self.run.ops.push(OpRecord {
            client: 0,
            request: request.map(String::from),
            server: 0,
            invoked_ns,
            returned_ns: Some(self.now_ns),
            call,
            answer,
        });
        self.now_ns += STEP_NS;
    }

    /// Creates or updates a register.
    pub(crate) fn put(&mut self, id: &str, n: u32, value: &str) {
        let key = names::register(n);
        let document = Document::from_value(names::register_json(&key, value));
        let (text, value) = (names::text(&key), value.to_string());
        if self.state.get(&key).is_some() {
            let request = update(&key, document, None);
            self.api(id, Call::Update { key: text, value, revision: None }, request);
        } else {
            let request = Request::Create { key: key.clone(), generate_name: None, document, dry_run: false };
            self.api(id, Call::Create { key: text, value }, request);
        }
    }

    /// Updates a register if it is at a revision.
    pub(crate) fn cas(&mut self, id: &str, n: u32, value: &str, revision: u64) {
        let key = names::register(n);
        let document = Document::from_value(names::register_json(&key, value));
        let call =
            Call::Update { key: names::text(&key), value: value.to_string(), revision: Some(revision) };
        self.api(id, call, update(&key, document, Some(revision)));
    }

    /// Deletes a register.
    pub(crate) fn remove(&mut self, id: &str, n: u32) {
        let key = names::register(n);
        let request = Request::Delete { key: key.clone(), options: DeleteOptions::default(), dry_run: false };
        self.api(id, Call::Delete { key: names::text(&key) }, request);
    }

    /// Reads a register.
    pub(crate) fn get(&mut self, n: u32, stale: bool) {
        let key = names::register(n);
        let value = self.state.get(&key).map(|object| {
            let (_, value, revision) = names::item(object);
            (value, revision)
        });
        let invoked_ns = self.now_ns;
        self.op(invoked_ns, None, Call::Get { key: names::text(&key), stale }, Answer::Value { value });
    }

    /// What is there now, as a list gives it.
    pub(crate) fn items(&self) -> Vec<(String, String, u64)> {
        let registers = self.state.list(Kind::CONFIG_MAP, Some(names::NAMESPACE));
        registers.map(|object| names::item(object)).collect()
    }

    /// Lists the registers.
    pub(crate) fn list(&mut self) {
        let answer = Answer::Listed { revision: self.state.revision(), items: self.items() };
        let invoked_ns = self.now_ns;
        self.op(invoked_ns, None, Call::List { prefix: names::REGISTERS.into() }, answer);
    }

    /// A watch that has listed now, been opened, and delivers what came since by [`Build::deliver`].
    pub(crate) fn watch(&mut self) {
        let (revision, items) = (self.state.revision(), self.items());
        let steps = vec![
            (self.now_ns, WatchStep::Listed { server: 0, revision, items }),
            (self.now_ns, WatchStep::Opened { server: 0, from: revision }),
        ];
        self.run.watches.push(WatchRecord { client: 9, prefix: names::REGISTERS.into(), steps });
    }

    /// Delivers all register events after a revision to the last watch, and a bookmark.
    pub(crate) fn deliver(&mut self, after: u64) {
        let log = super::Log::of(&self.run.log).unwrap();
        let record = self.run.watches.last_mut().unwrap();
        for step in log.steps(names::REGISTERS, after, u64::MAX) {
            let (key, revision) = (step.key.clone(), step.revision);
            let delivered = match &step.value {
                Some(value) => WatchStep::Put { key, value: value.clone(), revision },
                None => WatchStep::Deleted { key, revision },
            };
            record.steps.push((self.now_ns, delivered));
        }
        record.steps.push((self.now_ns, WatchStep::Bookmark { revision: log.revision }));
    }

    /// Workers say hello, in zones by turn.
    pub(crate) fn nodes(&mut self, count: u32, pods: u32) {
        for n in 0..count {
            let status = json!({"allocatable": {"cpu": "4", "memory": "8Gi", "pods": pods.to_string()}});
            let hello = NodeHello {
                name: names::worker(n).into(),
                labels: vec![("topology.kubernetes.io/zone".into(), names::zone(n % 3).into())],
                status: serde_json::to_vec(&status).unwrap().into(),
            };
            self.turn(None, &Input::NodeHello(Box::new(hello)));
        }
    }

    /// Creates a Deployment.
    pub(crate) fn deploy(&mut self, name: u32, replicas: u32, strategy: Value) {
        let key = names::deployment(name);
        let json = deployment(&key, replicas, "v1", strategy);
        let document = Document::from_value(json);
        let request = Request::Create { key: key.clone(), generate_name: None, document, dry_run: false };
        let id = format!("deploy-{name}-{}", self.seed);
        self.api(&id, Call::Other { what: "deploy".into() }, request);
    }

    /// Creates a StatefulSet.
    pub(crate) fn stateful_set(&mut self, name: u32, replicas: u32, parallel: bool) {
        let key = names::stateful_set(name);
        let template = deployment(&key, replicas, "v1", Value::Null)["spec"]["template"].take();
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let spec = json!({
            "replicas": replicas, "selector": {"matchLabels": {"app": key.name}}, "serviceName": key.name,
            "podManagementPolicy": policy, "updateStrategy": {"type": "RollingUpdate"}, "template": template,
        });
        self.create(&key, spec);
    }

    /// Creates a Job, whose pods end well the second time that their workers work.
    pub(crate) fn job(&mut self, name: u32, completions: u32, parallelism: u32, indexed: bool) {
        let key = names::job(name);
        let mut template = deployment(&key, 1, "v1", Value::Null)["spec"]["template"].take();
        template["spec"]["restartPolicy"] = "Never".into();
        let spec = json!({
            "completions": completions, "parallelism": parallelism, "backoffLimit": 6,
            "completionMode": if indexed { "Indexed" } else { "NonIndexed" },
            "selector": {"matchLabels": {"app": key.name}}, "template": template,
        });
        self.create(&key, spec);
    }

    fn create(&mut self, key: &ObjectKey, spec: Value) {
        let metadata = json!({"name": key.name, "namespace": key.namespace, "generation": 1});
        let document = Document::from_value(json!({"metadata": metadata, "spec": spec}));
        let request = Request::Create { key: key.clone(), generate_name: None, document, dry_run: false };
        let id = format!("create-{}-{}", key.name, self.seed);
        self.api(&id, Call::Other { what: "create".into() }, request);
    }

    /// Changes an object's spec.
    pub(crate) fn edit(&mut self, key: &ObjectKey, edit: impl FnOnce(&mut Value)) {
        let mut value = self.state.get(key).unwrap().document.to_value();
        edit(&mut value);
        let generation = value["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        value["metadata"]["generation"] = generation.into();
        let id = format!("edit-{}", self.seed);
        let request = update(key, Document::from_value(value), None);
        self.api(&id, Call::Other { what: "edit".into() }, request);
    }

    /// All placed pods run and are ready, those of Jobs that were end well, the leaving ones are gone, and their nodes say so. Starts
    /// and stops are noted as the node sees them.
    pub(crate) fn workers_work(&mut self) {
        let pods: Vec<_> = self.state.list(Kind::POD, None).cloned().collect();
        let now = kontiki_actors::object::rfc3339(self.now_ms());
        let mut reports = Vec::new();
        for pod in pods {
            let Some(digest) = pod.pod() else { continue };
            let Some(node) = digest.node.clone() else { continue };
            let gone = pod.meta.deleting();
            let ends = digest.ready && pod.meta.controller().is_some_and(|owner| owner.kind == "Job");
            if digest.terminal() || !gone && digest.ready && !ends {
                continue;
            }
            let phase = if ends { "Succeeded" } else { "Running" };
            let status = json!({"phase": phase, "conditions": [
                {"type": "Ready", "status": if gone || ends { "False" } else { "True" }, "lastTransitionTime": now}]});
            reports.push(PodReport {
                node: node.clone(),
                uid: pod.meta.uid.clone(),
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                status: serde_json::to_vec(&status).unwrap().into(),
                gone,
                events: Vec::new(),
            });
            let name = format!("{}/{}", pod.key.namespace, pod.key.name);
            self.instance(&node, &pod.meta.uid, &name, !gone && !ends);
            if let Some(event) = self.run.instances.last_mut().filter(|_| ends) {
                event.exit = Some(0);
            }
        }
        if !reports.is_empty() {
            self.turn(None, &Input::Reports(reports));
        }
    }

    /// A container starts or stops.
    pub(crate) fn instance(&mut self, node: &str, uid: &str, pod: &str, running: bool) {
        self.run.instances.push(InstanceEvent {
            at_ns: self.now_ns,
            node: node.into(),
            pod_uid: uid.into(),
            pod: pod.into(),
            container: "main".into(),
            attempt: 0,
            running,
            exit: None,
        });
    }

    /// The leader's verdict on a worker.
    pub(crate) fn verdict(&mut self, worker: u32, life: Life) {
        let node = names::worker(worker).into();
        self.turn(None, &Input::Verdicts(vec![Verdict { node, life, reason: String::new() }]));
    }

    /// Works until nothing changes.
    pub(crate) fn converge(&mut self) {
        for _ in 0..200 {
            let before = self.run.log.len();
            self.wait_ms(100);
            self.workers_work();
            let due = self.state.due(self.now_ms(), 100);
            if !due.is_empty() {
                self.turn(None, &Input::Wake(due));
            }
            if self.run.log.len() == before {
                return;
            }
        }
        panic!("it does not converge");
    }
}

fn update(key: &ObjectKey, document: Document, revision: Option<u64>) -> Request {
    Request::Update { key: key.clone(), document, part: Part::Main, revision, uid: None, dry_run: false }
}

/// A Deployment's JSON.
pub(crate) fn deployment(key: &ObjectKey, replicas: u32, image: &str, strategy: Value) -> Value {
    json!({
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": key.name}},
            "strategy": strategy,
            "template": {
                "metadata": {"labels": {"app": key.name}},
                "spec": {"containers": [{"name": "main", "image": image, "resources": {"requests": {"cpu": "100m"}}}]},
            },
        },
    })
}

/// A rolling update with these bounds.
pub(crate) fn rolling(surge: u32, unavailable: u32) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// The change that edits an object's spec, whoever may do that.
pub(crate) fn forge_spec(
    object: &kontiki_actors::Object,
    edit: impl FnOnce(&mut Value),
) -> kontiki_actors::Change {
    let mut spec = object.document.spec_value();
    edit(&mut spec);
    let document = object.document.with_spec(spec);
    kontiki_actors::Change::between(object.key.clone(), Some(&object.document.whole()), &document).unwrap()
}

/// The change that edits an object's metadata, whoever may do that.
pub(crate) fn forge_metadata(
    object: &kontiki_actors::Object,
    edit: impl FnOnce(&mut Value),
) -> kontiki_actors::Change {
    let mut metadata = object.document.metadata_value();
    edit(&mut metadata);
    let document = object.document.with_metadata(metadata);
    kontiki_actors::Change::between(object.key.clone(), Some(&object.document.whole()), &document).unwrap()
}

/// A fault of the plan and its record, on this target from one time to another, in milliseconds.
pub(crate) fn fault(run: &mut Run, kind: crate::plan::FaultKind, hit: &str, from_ms: u64, until_ms: u64) {
    let number = kind.number();
    let what = crate::plan::What::Fault(crate::plan::Fault {
        on: crate::plan::Target::All,
        for_ms: until_ms - from_ms,
        kind,
    });
    run.plan.events.push(crate::plan::Event { at_ms: from_ms, what });
    run.faults.push(crate::history::FaultRecord {
        event: run.plan.events.len() - 1,
        number,
        hit: vec![hit.into()],
        from_ns: from_ms * STEP_NS,
        until_ns: until_ms * STEP_NS,
        bit: true,
        skipped: None,
    });
}
