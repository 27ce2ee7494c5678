//! A worker that is short of something ends pods, and which: a whole agent without a leader, with real containers on a disk
//! that is small.
#![allow(missing_docs, clippy::unwrap_used)]

mod agent_support;
mod runtime_support;

use std::time::Duration;

use agent_support::Running;
use runtime_support::{PATIENCE, Worker, cannot_run_containers};
use serde_json::{Value, json};

/// A pod with a volume that runs a script in it.
fn writes(script: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 600,
        "containers": [{
            "name": "main", "image": "busybox:1", "imagePullPolicy": "Never",
            "command": ["sh", "-c", format!("{script}; sleep 1000")],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [{"name": "data", "emptyDir": {}}],
    })
}

fn runs(status: &Value) -> bool {
    status["phase"] == "Running"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_that_fills_the_disk_goes_and_stays_away() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::on_disk_of(512 << 20);
    let running = Running::start(&worker, "nodefs.available<256Mi", None).await;
    running.put("small", writes("dd if=/dev/zero of=/data/a bs=1M count=4"), Vec::new()).await;
    running.until("small", runs).await;
    // It has asked for its files, but there are too many of them.
    let mut big = writes("dd if=/dev/zero of=/data/a bs=1M count=300");
    big["containers"][0]["resources"] = json!({"requests": {"ephemeral-storage": "1Mi"}});
    running.put("big", big, Vec::new()).await;
    let status = running.until("big", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "Evicted");
    let message = status["message"].as_str().unwrap();
    let start = "The node was low on resource: ephemeral-storage. Threshold quantity: 256Mi, available: ";
    assert!(message.starts_with(start), "{message}");
    let conditions = status["conditions"].as_array().unwrap();
    let disrupted = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&disrupted["status"], &disrupted["reason"]),
        (&json!("True"), &json!("TerminationByKubelet"))
    );
    assert_eq!(disrupted["message"], message);
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137, "it gets no grace");

    // Its room is free, so that the next agent is under no pressure.
    let freed = async {
        while worker.dir.path().join("pods/big").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.unwrap();
    // A new agent knows it, and starts it no more; the other one runs on.
    running.stop().await;
    let running = Running::start(&worker, "nodefs.available<256Mi", None).await;
    let again = running.until("big", |_| true).await;
    assert_eq!((&again["phase"], &again["message"]), (&status["phase"], &status["message"]));
    running.put("next", writes("true"), Vec::new()).await;
    running.until("next", runs).await;
    let mut names: Vec<String> = running.runtime.usage().into_iter().map(|pod| pod.uid).collect();
    names.sort();
    assert_eq!(names, ["next", "small"]);
    for pod in ["small", "next", "big"] {
        running.runtime.remove_pod(pod).await.unwrap();
    }
    running.stop().await;
}
