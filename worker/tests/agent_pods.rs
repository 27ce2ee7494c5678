//! A whole agent with real containers, of the built-in runtime and of a real containerd: pods as their owners see them.
#![allow(missing_docs, clippy::unwrap_used)]

mod agent_support;
mod cri_support;
mod registry_support;
mod runtime_support;

use std::path::PathBuf;
use std::sync::Arc;

use agent_support::Running;
use cri_support::{Daemon, cannot_run_containerd, put_image};
use kontiki_proto::worker::Dependency;
use kontiki_worker::runtime::CriRuntime;
use registry_support::Registry;
use runtime_support::{Worker, cannot_run_containers};
use serde_json::{Value, json};

/// A worker of a test, whatever runs its containers.
trait Node {
    /// How the ids of its containers begin, and what it says of an image that its registry has not.
    const SCHEME: &str;
    const NO_IMAGE: &str;

    async fn agent(&self) -> Running;
    fn registry(&self) -> &Registry;
    fn data_dir(&self) -> PathBuf;
    /// Nothing runs any more.
    fn assert_empty(&self);
}

impl Node for Daemon {
    const SCHEME: &str = "containerd://";
    const NO_IMAGE: &str = "rpc error: code = NotFound desc = failed to pull and unpack image";

    async fn agent(&self) -> Running {
        let runtime = CriRuntime::connect(self.config()).await.unwrap();
        Running::of(&self.data_dir(), Arc::new(runtime), "", None).await
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn data_dir(&self) -> PathBuf {
        self.data_dir()
    }

    fn assert_empty(&self) {
        assert_eq!(self.ctr(&["containers", "ls", "-q"]), "");
    }
}

impl Node for (Worker, Registry) {
    const SCHEME: &str = "kontiki://";
    const NO_IMAGE: &str = "not found";

    async fn agent(&self) -> Running {
        Running::start(&self.0, "", None).await
    }

    fn registry(&self) -> &Registry {
        &self.1
    }

    fn data_dir(&self) -> PathBuf {
        self.0.dir.path().to_owned()
    }

    fn assert_empty(&self) {
        assert_eq!(std::fs::read_dir(self.data_dir().join("pods")).unwrap().count(), 0);
    }
}

fn container(image: &str, name: &str, script: &str, more: Value) -> Value {
    let mut container = json!({ "name": name, "image": image, "command": ["sh", "-c", script] });
    container.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    container
}

fn ready(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn first(status: &Value) -> &Value {
    &status["containerStatuses"][0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_live_on_a_daemon() {
    if !cannot_run_containerd() {
        pods_live(&Daemon::start().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_live_on_the_built_in_runtime() {
    if cannot_run_containers() {
        return;
    }
    let registry = Registry::start().await;
    put_image(&registry, "busybox", json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] }));
    pods_live(&(Worker::default(), registry)).await;
}

async fn pods_live<N: Node>(node: &N) {
    let image = node.registry().name("busybox");
    let running = node.agent().await;

    // One that writes more than it may; what becomes of it is looked at in the end.
    let limited = |name: &str, script: &str, limit: &str| {
        let limits = json!({ "resources": { "limits": { "ephemeral-storage": limit } } });
        container(&image, name, script, limits)
    };
    let writes = "dd if=/dev/zero of=/written bs=1M count=16; while :; do sleep 1; done";
    let big = [limited("main", writes, "8Mi"), limited("other", "while :; do sleep 1; done", "64Mi")];
    running.put("big", json!({ "containers": big }), Vec::new()).await;

    // With an init container, a secret, probes, hooks and limits; it gets ready only if all of that is there.
    let object = |kind: &str, name: &str, data: Value| Dependency {
        kind: kind.into(),
        name: name.into(),
        revision: 1,
        object: json!({ "metadata": { "name": name }, "data": data }).to_string().into(),
        ..Dependency::default()
    };
    let dependencies = || {
        vec![
            object("Secret", "login", json!({ "word": "c2VzYW1l" })),
            object("ConfigMap", "settings", json!({ "color": "blue" })),
        ]
    };
    let script = "trap 'exit 0' TERM; [ $COLOR = blue ] && [ $(cat /s/word) = sesame ] && [ $(cat /e/made) = init ] \
                  && nc -ll -p 8080 -e echo & while :; do sleep 0.1; done";
    let mounts = json!([{ "name": "s", "mountPath": "/s" }, { "name": "e", "mountPath": "/e" }]);
    let main = json!({
        "env": [{ "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "color" } } }],
        "volumeMounts": mounts,
        "startupProbe": { "exec": { "command": ["sh", "-c", "[ -e /e/started ]"] }, "periodSeconds": 1, "failureThreshold": 60 },
        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
        "livenessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 },
        "lifecycle": { "postStart": { "exec": { "command": ["sh", "-c", ": > /e/started"] } },
                       "preStop": { "exec": { "command": ["sh", "-c", ": > /h/stopped"] } } },
        "resources": { "limits": { "memory": "64Mi", "cpu": "500m" } },
    });
    let mut main = container(&image, "main", script, main);
    let here = node.data_dir().join("host");
    main["volumeMounts"].as_array_mut().unwrap().push(json!({ "name": "h", "mountPath": "/h" }));
    let web = json!({
        "initContainers": [container(&image, "init", "echo init > /e/made", json!({ "volumeMounts": mounts }))],
        "containers": [main],
        "volumes": [{ "name": "s", "secret": { "secretName": "login" } }, { "name": "e", "emptyDir": { "medium": "Memory" } },
                    { "name": "h", "hostPath": { "path": here, "type": "DirectoryOrCreate" } }],
    });
    running.put("web", web.clone(), dependencies()).await;
    let status = running.until("web", ready).await;
    let id = first(&status)["containerID"].as_str().unwrap().to_owned();
    assert!(id.starts_with(N::SCHEME), "{id}");
    assert!(first(&status)["imageID"].as_str().unwrap().contains("/team/web@sha256:"), "{status}");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);

    // One that crashes, again and again.
    let crash = container(&image, "main", "echo words > /dev/termination-log; exit 3", json!({}));
    running.put("crash", json!({ "containers": [crash] }), Vec::new()).await;
    let status = running.until("crash", |status| first(status)["restartCount"].as_i64() >= Some(1)).await;
    let last = &first(&status)["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["reason"], &last["message"]),
        (&json!(3), &json!("Error"), &json!("words\n"))
    );

    // An image that is not there, and a command that is not.
    let none = container(&node.registry().name("none"), "main", "true", json!({}));
    running.put("none", json!({ "containers": [none] }), Vec::new()).await;
    let waiting =
        |reason: &'static str| move |status: &Value| first(status)["state"]["waiting"]["reason"] == reason;
    let status = running.until("none", waiting("ErrImagePull")).await;
    let message = first(&status)["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(N::NO_IMAGE), "{message}");
    running.until("none", waiting("ImagePullBackOff")).await;
    let odd = json!({ "name": "main", "image": image, "command": ["nothing"] });
    running.put("odd", json!({ "containers": [odd] }), Vec::new()).await;
    let ended = |status: &Value| first(status)["lastState"]["terminated"]["reason"] == "StartError";
    let status = running.until("odd", ended).await;
    let last = &first(&status)["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 128);
    assert!(last["message"].as_str().unwrap().contains("executable file not found in $PATH"), "{status}");

    // One that comes to its end.
    let job = container(&image, "main", "exit 0", json!({}));
    running.put("job", json!({ "containers": [job], "restartPolicy": "Never" }), Vec::new()).await;
    let status = running.until("job", |status| status["phase"] == "Succeeded").await;
    assert_eq!(first(&status)["state"]["terminated"]["reason"], "Completed");

    // One that is deleted: its hook is run first, and then it is asked by the signal of its image.
    put_image(
        node.registry(),
        "asked",
        json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"], "StopSignal": "SIGINT" }),
    );
    let script = "trap 'echo INT >> /h/order; exit 0' INT; trap 'echo TERM >> /h/order; exit 0' TERM; \
                  while :; do sleep 0.1; done";
    let hook = json!({ "exec": { "command": ["sh", "-c", "sleep 0.5; echo hook >> /h/order"] } });
    let more =
        json!({ "lifecycle": { "preStop": hook }, "volumeMounts": [{ "name": "h", "mountPath": "/h" }] });
    let asked = json!({
        "containers": [container(&node.registry().name("asked"), "main", script, more)],
        "volumes": [{ "name": "h", "hostPath": { "path": here } }],
    });
    running.put("asked", asked.clone(), Vec::new()).await;
    running.until("asked", ready).await;
    running.delete("asked", asked, 50).await;
    let status = running.until("asked", |status| first(status)["state"]["terminated"].is_object()).await;
    assert_eq!(first(&status)["state"]["terminated"]["exitCode"], 0, "{status}");
    assert_eq!(std::fs::read_to_string(here.join("order")).unwrap(), "hook\nINT\n");
    running.remove("asked").await;

    // A new agent goes on with what runs.
    for gone in ["crash", "none", "odd", "job"] {
        running.remove(gone).await;
    }
    running.stop().await;
    let running = node.agent().await;
    running.put("web", web, dependencies()).await;
    let status = running.until("web", ready).await;
    assert_eq!(first(&status)["containerID"], id.as_str());
    assert_eq!(first(&status)["restartCount"], 0);
    let status = running.until("big", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Container main exceeded its local ephemeral storage limit \"8Mi\". ");
    running.remove("big").await;
    running.remove("web").await;
    node.assert_empty();
    assert!(!node.data_dir().join("pods/web").exists());
    running.stop().await;
}
