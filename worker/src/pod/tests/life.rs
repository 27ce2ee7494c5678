//! Pods from assignment to end: the whole agent on the simulated runtime, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::{Assignments, Dependency, EventNote, PodAssignment};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::agent::admission::Admission;
use crate::agent::clock::Clock;
use crate::agent::crew::{Command, Crew};
use crate::agent::departure::end_pods;
use crate::agent::outbox::Outbox;
use crate::agent::tokens::Tokens;
use crate::agent::{AgentConfig, Capacity, ShutdownGrace};
use crate::runtime::{ImageDefaults, Processes, Runtime, SimulatedRuntime, Simulation};

pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;

pub(super) struct Worker {
    runtime: SimulatedRuntime,
    pub(super) config: AgentConfig,
    crew: mpsc::Sender<Command>,
    outbox: Arc<Outbox>,
    pub(super) tokens: Arc<Tokens>,
    admission: Arc<Admission>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    pub(super) events: Vec<EventNote>,
    _dir: tempfile::TempDir,
}

impl Worker {
    pub(super) async fn new() -> Worker {
        Worker::with(Simulation::default()).await
    }

    async fn with_images(image_defaults: ImageDefaults) -> Worker {
        Worker::with(Simulation { image_defaults, ..Simulation::default() }).await
    }

    /// One that holds `web:1`.
    pub(super) async fn with(simulation: Simulation) -> Worker {
        let dir = tempfile::tempdir().unwrap();
        let config = AgentConfig {
            node: "n1".into(),
            zone: String::new(),
            labels: Default::default(),
            data_dir: dir.path().to_owned(),
            controllers: Vec::new(),
            listen: ([127, 0, 0, 1], 0).into(),
            advertised: "10.0.0.1".into(),
            capacity: Capacity::default(),
            version: "test".into(),
            clock: Clock::Simulated { epoch_ms: EPOCH_MS, birth: tokio::time::Instant::now() },
            limits: Default::default(),
            names: Default::default(),
            memory: None,
            seccomp_default: false,
            transient: false,
        };
        let simulation = Simulation { images: vec!["web:1".into()], epoch_ms: EPOCH_MS, ..simulation };
        let runtime = SimulatedRuntime::new(simulation);
        let crew = Crew::gather(&config, Arc::new(runtime.clone())).await.unwrap();
        let (handle, outbox, shutdown) =
            (crew.handle(), crew.host().outbox.clone(), CancellationToken::new());
        let (tokens, events) = (crew.host().tokens.clone(), Vec::new());
        let admission = crew.host().admission.clone();
        let task = tokio::spawn(crew.run(shutdown.clone()));
        Worker { runtime, config, crew: handle, outbox, tokens, admission, shutdown, task, events, _dir: dir }
    }

    /// The agent is killed and started again; the pods' shims never notice.
    pub(super) async fn restart(&mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap();
        let crew = Crew::gather(&self.config, Arc::new(self.runtime.clone())).await.unwrap();
        (self.crew, self.outbox, self.shutdown) =
            (crew.handle(), crew.host().outbox.clone(), CancellationToken::new());
        self.tokens = crew.host().tokens.clone();
        self.admission = crew.host().admission.clone();
        self.task = tokio::spawn(crew.run(self.shutdown.clone()));
    }

    pub(super) async fn assign(&self, assignments: Assignments) {
        assert!(self.crew.send(Command::Assign(assignments)).await.is_ok());
    }

    pub(super) async fn put(&self, revision: u64, pod: Value, dependencies: &[(&str, &str, Value)]) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let metadata = &pod["metadata"];
        let dependency = |(kind, name, object): &(&str, &str, Value)| Dependency {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            revision,
            object: object.to_string().into(),
            ..Dependency::default()
        };
        let put = PodAssignment {
            uid: text(&metadata["uid"]),
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            revision,
            pod: pod.to_string().into(),
            dependencies: dependencies.iter().map(dependency).collect(),
            ..PodAssignment::default()
        };
        self.assign(Assignments { put: vec![put], ..Assignments::default() }).await;
    }

    /// The next status that looks as asked; what came before it is forgotten, its events are kept.
    pub(super) async fn until(&mut self, what: &str, asked: impl Fn(&Value, bool) -> bool) -> Value {
        let found = tokio::time::timeout(Duration::from_secs(3600), async {
            loop {
                while let Some(report) = self.outbox.next() {
                    self.outbox.acknowledge(report.serial);
                    self.events.extend(report.events);
                    for pod in report.pods {
                        let status = serde_json::from_slice(&pod.status).unwrap();
                        if asked(&status, pod.gone) {
                            return status;
                        }
                    }
                }
                self.outbox.changed().await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    async fn until_waiting(&mut self, reason: &str) -> Value {
        self.until(reason, |status, _| state(status)["waiting"]["reason"] == reason).await
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.reason.as_str()).collect()
    }
}

fn state(status: &Value) -> &Value {
    &status["containerStatuses"][0]["state"]
}

pub(super) fn pod(container: Value) -> Value {
    let mut web = json!({ "name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent" });
    for (key, value) in container.as_object().unwrap() {
        web[key] = value.clone();
    }
    json!({
        "metadata": { "name": "web-0", "namespace": "shop", "uid": "uid-1" },
        "spec": { "containers": [web], "terminationGracePeriodSeconds": 30 },
        "status": {
            "phase": "Pending",
            "qosClass": "BestEffort",
            "conditions": [{ "type": "PodScheduled", "status": "True" }],
        },
    })
}

pub(super) fn ready(status: &Value, _gone: bool) -> bool {
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    status["conditions"].as_array().unwrap().iter().any(is_ready)
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_its_status_is_what_kubernetes_would_say() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    let status = worker.until("ready", ready).await;
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(status["hostIP"], "10.0.0.1");
    assert_eq!(status.get("podIP"), None, "it has no address of its own");
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (&container["ready"], &container["started"], &container["restartCount"]),
        (&json!(true), &json!(true), &json!(0))
    );
    assert!(container["imageID"].as_str().unwrap().starts_with("docker.io/library/web@sha256:"));
    assert!(
        status["conditions"]
            .as_array()
            .unwrap()
            .contains(&json!({ "type": "PodScheduled", "status": "True" }))
    );
    assert_eq!(worker.reasons(), ["Pulled", "Created", "Started"]);
    assert_eq!(worker.events[0].message, "Container image \"web:1\" already present on machine");
    assert_eq!(worker.events[0].field_path, "spec.containers{web}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_exits_at_once_is_restarted_with_pauses() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "command": ["exit", "3"] })), &[]).await;
    let status = worker.until_waiting("CrashLoopBackOff").await;
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1, "the first restart is at once");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(
        container["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=web pod=web-0_shop(uid-1)"
    );
    let status =
        worker.until("five restarts", |status, _| status["containerStatuses"][0]["restartCount"] == 5).await;
    let waited_ms = worker.config.clock.now_ms() - EPOCH_MS;
    assert!(waited_ms >= 150_000, "10, 20, 40 and 80 seconds: {waited_ms} ms, {status}");
    assert!(worker.reasons().contains(&"BackOff"));

    // The agent's restart takes nothing from the pause.
    let (restarts, before_ms) = (5, worker.config.clock.now_ms());
    worker.restart().await;
    worker
        .until("the sixth restart", |status, _| {
            status["containerStatuses"][0]["restartCount"] == restarts + 1
        })
        .await;
    assert!(worker.config.clock.now_ms() - before_ms >= 150_000);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_exist_is_a_start_error() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "command": ["missing"] })), &[]).await;
    let status = worker.until_waiting("RunContainerError").await;
    assert!(state(&status)["waiting"]["message"].as_str().unwrap().contains("executable file not found"));
    let status = worker.until_waiting("CrashLoopBackOff").await;
    let last = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("StartError"), &json!(128)));
    assert!(last["message"].as_str().unwrap().contains("executable file not found"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_starts_with_the_class_that_it_names_or_not_at_all() {
    let mut worker = Worker::new().await;
    let mut isolated = pod(json!({}));
    isolated["spec"]["runtimeClassName"] = "vm".into();
    worker.put(1, isolated.clone(), &[]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    worker.put(2, isolated, &[("RuntimeClass", "vm", json!({"handler": "kata"}))]).await;
    worker.until("ready", ready).await;
    assert_eq!(worker.reasons(), ["FailedCreatePodSandBox", "Pulled", "Created", "Started"]);
    let told = &worker.events[0].message;
    assert_eq!(told, "Failed to create pod sandbox: runtimeclass.node.k8s.io \"vm\" not found");
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_waited_for() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "image": "nope:1" })), &[]).await;
    let status = worker.until_waiting("ErrImagePull").await;
    assert_eq!(status["phase"], "Pending");
    worker.until_waiting("ImagePullBackOff").await;
    worker.until_waiting("ErrImagePull").await;
    assert!(worker.config.clock.now_ms() - EPOCH_MS >= 10_000);
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "image": "nope:1", "imagePullPolicy": "Never" })), &[]).await;
    let status = worker.until_waiting("ErrImageNeverPull").await;
    assert_eq!(
        state(&status)["waiting"]["message"],
        "Container image \"nope:1\" is not present with pull policy of Never"
    );
}

fn far(delay: Duration) -> Simulation {
    Simulation { registry: vec!["far:1".to_owned()], pull_delay: delay, ..Simulation::default() }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_here_is_pulled() {
    let mut worker = Worker::with(far(Duration::from_millis(1500))).await;
    worker.put(1, pod(json!({ "image": "far:1" })), &[]).await;
    worker.until("ready", ready).await;
    assert_eq!(worker.reasons(), ["Pulling", "Pulled", "Created", "Started"]);
    assert_eq!(worker.events[0].message, "Pulling image \"far:1\"");
    assert_eq!(
        worker.events[1].message,
        "Successfully pulled image \"far:1\" in 1.500s (1.500s including waiting). Image size: 1048576 bytes."
    );
    assert_eq!(worker.events[1].r#type, "Normal");
}

#[tokio::test(start_paused = true)]
async fn always_asks_the_registry_whatever_is_here() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "imagePullPolicy": "Always" })), &[]).await;
    worker.until_waiting("ErrImagePull").await;
    let status = worker.until_waiting("ImagePullBackOff").await;
    let message = state(&status)["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Back-off pulling image \"web:1\": ErrImagePull: image \"web:1\""),
        "{message}"
    );
    assert_eq!(worker.reasons(), ["Pulling", "Failed", "Failed", "BackOff", "Failed"]);

    let here = Simulation { registry: vec!["web:1".to_owned()], ..Simulation::default() };
    let mut worker = Worker::with(here).await;
    let again = json!({ "imagePullPolicy": "Always", "command": ["exit", "1"] });
    worker.put(1, pod(again), &[]).await;
    worker.until("restarted", |status, _| status["containerStatuses"][0]["restartCount"] == 1).await;
    let pulls = worker.reasons().iter().filter(|reason| **reason == "Pulling").count();
    assert_eq!(pulls, 2, "each start asks: {:?}", worker.reasons());
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_loaded_meanwhile_ends_the_back_off() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "image": "nope:1" })), &[]).await;
    worker.until_waiting("ImagePullBackOff").await;
    worker.put(2, pod(json!({ "image": "web:1" })), &[]).await;
    worker.until("ready", ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_image_name_is_told_so() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "image": "Not A Name" })), &[]).await;
    let status = worker.until_waiting("InvalidImageName").await;
    let message = state(&status)["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("couldn't parse image name \"Not A Name\""), "{message}");
    assert_eq!(worker.reasons(), ["Pulling", "InspectFailed", "Failed"]);
    worker.put(2, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_pull_holds_up_nothing_else() {
    let hour = Duration::from_secs(3000);
    let mut worker = Worker::with(far(hour)).await;
    let mut both = pod(json!({ "image": "far:1" }));
    both["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "near", "image": "web:1" }));
    worker.put(1, both.clone(), &[]).await;
    let near = |status: &Value, _: bool| {
        let statuses = status["containerStatuses"].as_array().unwrap();
        statuses.iter().any(|it| it["name"] == "near" && it["state"]["running"].is_object())
    };
    let status = worker.until("the other runs", near).await;
    let waiting = &status["containerStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "web")
        .unwrap()["state"];
    assert_eq!(waiting["waiting"]["reason"], "ContainerCreating");
    both["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:50Z");
    both["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    worker.put(2, both, &[]).await;
    worker.until("gone", |_, gone| gone).await;
    assert!(worker.config.clock.now_ms() - EPOCH_MS < 60_000, "it waited for the pull");
}

#[tokio::test(start_paused = true)]
async fn another_image_ends_the_pull_of_the_first() {
    let mut worker = Worker::with(far(Duration::from_secs(3000))).await;
    worker.put(1, pod(json!({ "image": "far:1" })), &[]).await;
    worker.until("taken up", |_, _| true).await;
    worker.put(2, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
    assert!(worker.config.clock.now_ms() - EPOCH_MS < 60_000, "it waited for the pull");
}

#[tokio::test(start_paused = true)]
async fn a_pull_secret_that_is_missing_is_told_and_the_pull_tried() {
    let mut worker = Worker::with(far(Duration::ZERO)).await;
    let mut pod = pod(json!({ "image": "far:1" }));
    pod["spec"]["imagePullSecrets"] = json!([{ "name": "mine" }, { "name": "gone" }]);
    let secret = json!({ "data": { ".dockerconfigjson": "eyJhdXRocyI6IHt9fQ==" } });
    worker.put(1, pod, &[("Secret", "mine", secret)]).await;
    worker.until("ready", ready).await;
    assert_eq!(worker.reasons()[..2], ["FailedToRetrieveImagePullSecret", "Pulling"]);
    let message =
        "Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.";
    assert_eq!(worker.events[0].message, message);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_comes_later_lets_the_container_start() {
    let mut worker = Worker::new().await;
    let pod = pod(json!({ "envFrom": [{ "configMapRef": { "name": "settings" } }] }));
    worker.put(1, pod.clone(), &[]).await;
    let status = worker.until_waiting("CreateContainerConfigError").await;
    assert_eq!(state(&status)["waiting"]["message"], "configmap \"settings\" not found");
    worker.put(1, pod, &[("ConfigMap", "settings", json!({ "data": { "A": "1" } }))]).await;
    worker.until("ready", ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_mounted_keeps_the_pod_waiting() {
    let mut worker = Worker::new().await;
    let mut pod = pod(json!({}));
    pod["spec"]["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }]);
    worker.put(1, pod, &[]).await;
    worker.until_waiting("ContainerCreating").await;
    while !worker.reasons().contains(&"FailedMount") {
        worker.outbox.changed().await;
        worker.events.extend(worker.outbox.next().unwrap_or_default().events);
    }
    let event = worker.events.iter().find(|event| event.reason == "FailedMount").unwrap();
    assert!(event.message.starts_with("MountVolume.SetUp failed for volume \"v\" : "));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_ends_gracefully_and_is_gone_only_then() {
    let mut worker = Worker::new().await;
    let mut pod = pod(json!({ "command": ["ignore-term"] }));
    worker.put(1, pod.clone(), &[]).await;
    worker.until("ready", ready).await;
    let before_ms = worker.config.clock.now_ms();
    pod["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:50Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    worker.put(2, pod, &[]).await;
    let status = worker.until("gone", |_, gone| gone).await;
    assert_eq!(state(&status)["terminated"]["exitCode"], 137, "it did not heed TERM, so it was killed");
    assert_eq!(worker.config.clock.now_ms() - before_ms, 30_000);
    assert!(worker.reasons().contains(&"Killing"));
    assert_eq!(worker.runtime.adopt().await.unwrap(), [], "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_more_of_the_disk_than_it_may_is_ended_within_seconds() {
    let mut worker = Worker::new().await;
    let limits = json!({ "resources": { "limits": { "ephemeral-storage": "1Mi" } } });
    worker.put(1, pod(limits), &[]).await;
    worker.until("ready", ready).await;
    let written = worker.config.data_dir.join("pods/uid-1/bundle/web/top/upper");
    std::fs::create_dir_all(&written).unwrap();
    std::fs::write(written.join("file"), vec![1; 2 << 20]).unwrap();
    let before_ms = worker.config.clock.now_ms();
    let status = worker.until("failed", |status, _| status["phase"] == "Failed").await;
    assert!(worker.config.clock.now_ms() - before_ms <= 11_000, "looked at every ten seconds");
    assert_eq!(status["reason"], "Evicted");
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!(status["message"], message);
    assert!(worker.reasons().contains(&"Evicted"));
}

/// One of a name of its own.
fn named(name: &str, priority: i64, command: &str) -> Value {
    let mut pod = pod(json!({ "command": [command] }));
    pod["metadata"] = json!({ "name": name, "namespace": "shop", "uid": name });
    pod["spec"]["priority"] = priority.into();
    pod
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_to_a_worker_under_pressure_is_refused_and_those_that_run_go_on() {
    let mut worker = Worker::new().await;
    worker.put(1, named("before", 0, ""), &[]).await;
    worker.until("ready", ready).await;
    worker.admission.press(&["DiskPressure".to_owned()]);
    worker.put(1, named("late", 0, ""), &[]).await;
    let status = worker.until("failed", |status, _| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
    worker.put(1, named("critical", 2_000_001_000, ""), &[]).await;
    worker.until("ready", ready).await;
    let running = || worker.runtime.running_containers().into_iter().map(|(pod, _)| pod).collect::<Vec<_>>();
    assert_eq!(running(), ["before", "critical"]);
    // Whoever was here before is not judged anew, nor is who was refused taken later.
    worker.restart().await;
    worker.admission.press(&["DiskPressure".to_owned()]);
    let again = std::cell::Cell::new(0);
    let both = |status: &Value, gone| {
        again.set(again.get() + usize::from(ready(status, gone)));
        again.get() == 2
    };
    worker.until("both are ready again", both).await;
    assert_eq!(worker.runtime.running_containers().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_machine_goes_down_pods_end_in_order_and_none_comes() {
    let mut worker = Worker::new().await;
    worker.put(1, named("usual", 0, "ignore-term"), &[]).await;
    worker.until("ready", ready).await;
    worker.put(1, named("critical", 2_000_001_000, ""), &[]).await;
    worker.until("ready", ready).await;
    worker.admission.leave();
    let (crew, clock) = (worker.crew.clone(), worker.config.clock);
    let begun_ms = clock.now_ms();
    let grace = ShutdownGrace { all: Duration::from_secs(20), critical: Duration::from_secs(5) };
    let ended = tokio::spawn(async move { end_pods(&crew, grace).await });
    worker.put(1, named("late", 2_000_001_000, ""), &[]).await;
    let mut order = Vec::new();
    while order.len() < 3 {
        let status = worker.until("failed", |status, _| status["phase"] == "Failed").await;
        let code = state(&status)["terminated"]["exitCode"].as_i64();
        // What is asked first has not ended yet.
        if status["reason"] == "NodeShutdown" || code.is_some() {
            order.push((status["reason"].clone(), code, (clock.now_ms() - begun_ms) / 1000));
        }
        if code.is_some() {
            assert_eq!(status["message"], "Pod was terminated in response to imminent node shutdown.");
            let conditions = status["conditions"].as_array().unwrap();
            let disrupted = conditions.iter().find(|it| it["type"] == "DisruptionTarget").unwrap();
            assert_eq!(disrupted["reason"], "TerminationByKubelet");
        }
    }
    let expected = [
        (json!("NodeShutdown"), None, 0),
        (json!("Terminated"), Some(137), 15),
        (json!("Terminated"), Some(143), 15),
    ];
    assert_eq!(order, expected, "who does not heed TERM has all the time that is there for him, and no more");
    ended.await.unwrap();
    assert_eq!(worker.runtime.running(), 0);
    // Nothing of it begins again when the machine is back.
    worker.restart().await;
    worker.until("any", |status, _| status["phase"] == "Failed").await;
    assert_eq!(worker.runtime.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_is_asked_to_end_by_the_signal_that_its_image_names() {
    let defaults = ImageDefaults { stop_signal: "SIGQUIT".into(), ..ImageDefaults::default() };
    let mut worker = Worker::with_images(defaults).await;
    let mut pod = pod(json!({}));
    worker.put(1, pod.clone(), &[]).await;
    worker.until("ready", ready).await;
    pod["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:50Z");
    worker.put(2, pod, &[]).await;
    let status = worker.until("gone", |_, gone| gone).await;
    assert_eq!(state(&status)["terminated"]["exitCode"], 128 + 3);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_runs_as_root_is_refused_where_root_is_not_wanted() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({ "securityContext": { "runAsNonRoot": true } })), &[]).await;
    let status = worker.until_waiting("CreateContainerConfigError").await;
    let message = state(&status)["waiting"]["message"].as_str().unwrap();
    assert!(message.starts_with("container has runAsNonRoot and image will run as root"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_shares_what_its_pod_asks_for() {
    for (asked, processes, host_ipc) in [
        (json!({}), Processes::Container, false),
        (json!({ "shareProcessNamespace": true }), Processes::Pod, false),
        (json!({ "hostPID": true, "hostIPC": true }), Processes::Machine, true),
    ] {
        let mut worker = Worker::new().await;
        let mut pod = pod(json!({}));
        pod["spec"].as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        worker.put(1, pod, &[]).await;
        worker.until("ready", ready).await;
        let sandbox = worker.runtime.adopt().await.unwrap().remove(0).sandbox;
        assert_eq!((sandbox.processes, sandbox.host_ipc), (processes, host_ipc), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_pod_is_killed_and_forgotten_and_so_is_one_that_a_complete_list_does_not_name() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
    worker.assign(Assignments { complete: true, keep: vec!["uid-1".into()], ..Assignments::default() }).await;
    assert_eq!(digests(&worker).await, ["uid-1"]);
    worker.assign(Assignments { complete: true, ..Assignments::default() }).await;
    assert_eq!(digests(&worker).await, [""; 0]);
    while !worker.runtime.adopt().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_an_agent_began_is_ended_by_the_next_one() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
    // The agent noted that the pod is removed, and came no further.
    worker.shutdown.cancel();
    let page = worker.config.data_dir.join("agent/pods/uid-1.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&page).unwrap()).unwrap();
    kept["removed"] = true.into();
    (&mut worker.task).await.unwrap();
    std::fs::write(&page, kept.to_string()).unwrap();
    worker.task = tokio::spawn(async {});
    worker.restart().await;
    assert_eq!(digests(&worker).await, [""; 0]);
    while page.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(worker.runtime.adopt().await.unwrap(), []);
}

async fn digests(worker: &Worker) -> Vec<String> {
    let (answer, digests) = oneshot::channel();
    assert!(worker.crew.send(Command::Digests(answer)).await.is_ok());
    digests.await.unwrap().into_iter().map(|digest| digest.uid).collect()
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_finds_its_pods_and_restarts_none() {
    let mut worker = Worker::new().await;
    let probe = json!({ "exec": { "command": ["true"] }, "periodSeconds": 5 });
    worker.put(7, pod(json!({ "readinessProbe": probe })), &[]).await;
    let before = worker.until("ready", ready).await;
    let events = worker.events.len();
    worker.restart().await;
    assert_eq!(digests(&worker).await, ["uid-1"]);
    let after = worker.until("ready", ready).await;
    assert_eq!(after, before, "not even a time has changed");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(worker.outbox.next(), None);
    assert_eq!(worker.events.len(), events, "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn readiness_gates_ready_and_liveness_restarts() {
    let mut worker = Worker::new().await;
    let http = json!({ "httpGet": { "port": 8080 }, "periodSeconds": 1, "failureThreshold": 2 });
    let mut at_once = http.clone();
    at_once["failureThreshold"] = json!(1);
    worker.put(1, pod(json!({ "readinessProbe": at_once, "livenessProbe": http })), &[]).await;
    worker.until("ready", ready).await;
    worker.runtime.set_healthy("uid-1", "web", false);
    worker.until("not ready", |status, gone| !ready(status, gone)).await;
    let status = worker
        .until("restarted", |status, gone| {
            status["containerStatuses"][0]["restartCount"] == 1 && ready(status, gone)
        })
        .await;
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 143);
    let killing = worker.events.iter().find(|event| event.reason == "Killing").unwrap();
    assert_eq!(killing.message, "Container web failed liveness probe, will be restarted");
    let unhealthy = worker.events.iter().find(|event| event.reason == "Unhealthy").unwrap();
    assert!(
        unhealthy.message.contains("probe failed: Get \"http://127.0.0.1:8080/\": "),
        "{}",
        unhealthy.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_be_asked_says_nothing_against_the_container() {
    let actions = [
        json!({ "exec": { "command": ["true"] } }),
        json!({ "httpGet": { "port": 8080 } }),
        json!({ "tcpSocket": { "port": 8080 } }),
        json!({ "grpc": { "port": 8080 } }),
    ];
    for mut probe in actions {
        let mut worker = Worker::new().await;
        (probe["periodSeconds"], probe["failureThreshold"]) = (json!(1), json!(1));
        worker.put(1, pod(json!({ "readinessProbe": probe, "livenessProbe": probe })), &[]).await;
        worker.until("ready", ready).await;
        worker.runtime.estrange("uid-1", "too much is asked at a time");
        tokio::time::sleep(Duration::from_secs(60)).await;
        while let Some(report) = worker.outbox.next() {
            worker.outbox.acknowledge(report.serial);
            assert!(report.pods.is_empty(), "nothing has changed: {probe}");
            worker.events.extend(report.events);
        }
        let unhealthy = worker.events.iter().find(|event| event.reason == "Unhealthy").unwrap();
        assert!(unhealthy.message.contains(" probe errored: "), "{}", unhealthy.message);
        assert!(!worker.reasons().contains(&"Killing"), "{probe}");
        assert_eq!(worker.runtime.running(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_probe_makes_a_container_ready_and_says_why_not() {
    let mut worker = Worker::new().await;
    let probe =
        json!({ "grpc": { "port": 9000, "service": "web" }, "periodSeconds": 1, "failureThreshold": 1 });
    worker.put(1, pod(json!({ "readinessProbe": probe })), &[]).await;
    worker.until("ready", ready).await;
    worker.runtime.set_healthy("uid-1", "web", false);
    worker.until("not ready", |status, gone| !ready(status, gone)).await;
    let unhealthy = worker.events.iter().find(|event| event.reason == "Unhealthy").unwrap();
    assert!(
        unhealthy
            .message
            .starts_with("Readiness probe failed: error: failed to connect service at \"127.0.0.1:9000\""),
        "{}",
        unhealthy.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_like_pod_succeeds_and_does_not_run_again_after_a_restart() {
    let mut worker = Worker::new().await;
    let mut pod = pod(json!({ "command": ["exit", "0"] }));
    pod["spec"]["restartPolicy"] = json!("Never");
    worker.put(1, pod, &[]).await;
    let status = worker.until("succeeded", |status, _| status["phase"] == "Succeeded").await;
    assert_eq!(state(&status)["terminated"]["reason"], "Completed");
    worker.restart().await;
    worker.until("succeeded", |status, _| status["phase"] == "Succeeded").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(worker.reasons().iter().filter(|reason| **reason == "Started").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_only_what_must_never_run_twice() {
    let mut worker = Worker::new().await;
    let mut exclusive = pod(json!({}));
    exclusive["metadata"]["ownerReferences"] = json!([{ "kind": "StatefulSet", "name": "web" }]);
    worker.put(1, exclusive, &[]).await;
    worker.until("ready", ready).await;
    let mut other = pod(json!({}));
    other["metadata"]["uid"] = json!("uid-2");
    worker.put(1, other, &[]).await;
    worker.until("ready", ready).await;
    assert!(worker.crew.send(Command::LeaseLost).await.is_ok());
    let status = worker.until("failed", |status, _| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "NodeLost");
    let left = worker.runtime.adopt().await.unwrap();
    assert!(left.iter().any(|pod| pod.sandbox.uid == "uid-2"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_shim_cannot_be_spoken_to_is_left_alone_and_can_still_be_deleted() {
    let mut worker = Worker::new().await;
    let probe = json!({ "exec": { "command": ["true"] }, "periodSeconds": 1, "failureThreshold": 1 });
    let mut pod = pod(json!({ "command": ["ignore-term"], "readinessProbe": probe, "livenessProbe": probe }));
    pod["spec"]["activeDeadlineSeconds"] = json!(3000);
    worker.put(1, pod.clone(), &[]).await;
    let before = worker.until("ready", ready).await;
    worker.runtime.estrange("uid-1", "it speaks version 9");
    worker.restart().await;
    assert_eq!(worker.until("the same", |_, _| true).await, before, "it is ready as before");
    let told = worker.events.iter().find(|event| event.reason == "PodNotManaged").unwrap();
    assert!(told.message.contains("it speaks version 9. Delete the pod"), "{}", told.message);

    // No probe condemns it, no deadline; a new assignment changes nothing, nor does a second restart.
    worker.runtime.set_healthy("uid-1", "web", false);
    pod["metadata"]["labels"] = json!({ "color": "blue" });
    worker.put(2, pod.clone(), &[]).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    worker.restart().await;
    assert_eq!(worker.until("the same", |_, _| true).await, before);
    assert_eq!(worker.runtime.running(), 1);

    let before_ms = worker.config.clock.now_ms();
    pod["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:50Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    worker.put(3, pod, &[]).await;
    let status = worker.until("gone", |_, gone| gone).await;
    assert_eq!(state(&status)["terminated"]["exitCode"], 137, "it did not heed TERM, so it was killed");
    assert_eq!(worker.config.clock.now_ms() - before_ms, 30_000);
    assert_eq!(worker.runtime.adopt().await.unwrap(), [], "nothing of it is left");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_left_alone_and_dies_is_started_anew() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
    worker.runtime.estrange("uid-1", "it speaks version 9");
    worker.restart().await;
    worker.until("ready", ready).await;
    worker.runtime.lose_pod("uid-1");
    worker
        .until("restarted", |status, gone| {
            status["containerStatuses"][0]["restartCount"] == 1 && ready(status, gone)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_shim_brings_a_new_sandbox() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    worker.until("ready", ready).await;
    worker.runtime.lose_pod("uid-1");
    let restarted =
        |status: &Value, gone| status["containerStatuses"][0]["restartCount"] == 1 && ready(status, gone);
    let status = worker.until("restarted", restarted).await;
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
    assert!(worker.reasons().contains(&"SandboxChanged"));
}

fn debugged(mut pod: Value, ephemeral: Value) -> Value {
    pod["spec"]["ephemeralContainers"] = ephemeral;
    pod
}

fn debugger<'a>(status: &'a Value, name: &str) -> &'a Value {
    let list = status["ephemeralContainerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().find(|it| it["name"] == name).map_or(&Value::Null, |it| &it["state"])
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_is_added_to_a_pod_that_runs_and_outlives_the_agent() {
    let mut worker = Worker::new().await;
    worker.put(1, pod(json!({})), &[]).await;
    let first = worker.until("ready", ready).await;
    let one = json!({ "name": "d", "image": "web:1", "imagePullPolicy": "IfNotPresent", "targetContainerName": "web" });
    let pod = debugged(pod(json!({})), json!([one]));
    worker.put(2, pod.clone(), &[]).await;
    let status = worker.until("it runs", |status, _| debugger(status, "d").get("running").is_some()).await;
    assert_eq!(status["phase"], "Running");
    assert!(ready(&status, false));
    assert_eq!(status["containerStatuses"], first["containerStatuses"], "nothing else was touched");
    let started = worker.events.iter().rfind(|event| event.reason == "Started").unwrap();
    assert_eq!(started.field_path, "spec.ephemeralContainers{d}");

    worker.restart().await;
    let again = worker.until("it is known", |status, _| debugger(status, "d").get("running").is_some()).await;
    assert_eq!(again["ephemeralContainerStatuses"], status["ephemeralContainerStatuses"]);
    worker.runtime.finish("uid-1", "d", 3);
    let status =
        worker.until("it ended", |status, _| debugger(status, "d").get("terminated").is_some()).await;
    assert_eq!(debugger(&status, "d")["terminated"]["exitCode"], 3);
    assert!(ready(&status, false), "the pod does not mind");
    worker.restart().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(worker.runtime.running(), 1, "it is not started again");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_waits_for_its_target_and_its_image() {
    let mut worker = Worker::new().await;
    let one = json!({ "name": "d", "image": "web:1", "imagePullPolicy": "IfNotPresent", "targetContainerName": "web" });
    let two = json!({ "name": "e", "image": "none:1", "imagePullPolicy": "Never" });
    let init = json!([{ "name": "init", "image": "web:1", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "7"] }]);
    let mut pod = debugged(pod(json!({})), json!([one, two]));
    pod["spec"]["initContainers"] = init;
    worker.put(1, pod, &[]).await;
    let reason = |status: &Value, name: &str| debugger(status, name)["waiting"]["reason"].clone();
    let status = worker
        .until("both wait", |status, _| {
            reason(status, "d") == "CreateContainerConfigError" && reason(status, "e") == "ErrImageNeverPull"
        })
        .await;
    assert_eq!(debugger(&status, "d")["waiting"]["message"], "unable to find target container web");
    let before_ms = worker.config.clock.now_ms();
    let status =
        worker.until("the target runs", |status, _| debugger(status, "d").get("running").is_some()).await;
    assert!(worker.config.clock.now_ms() - before_ms < 10_000, "as soon as it runs");
    assert_eq!((&status["phase"], reason(&status, "e")), (&json!("Running"), json!("ErrImageNeverPull")));
}
