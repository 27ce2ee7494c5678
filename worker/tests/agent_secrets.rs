//! Secrets of pods reach their containers and no disk.
#![allow(missing_docs, clippy::unwrap_used)]

mod agent_support;
mod runtime_support;

use std::path::Path;

use agent_support::Running;
use kontiki_proto::worker::Dependency;
use runtime_support::{Worker, cannot_run_containers};
use serde_json::json;

/// The files below a folder that hold this text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&entry.path(), text));
        } else if kind.is_file()
            && String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).contains(text)
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_its_container_and_no_disk() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let running = Running::start(&worker, "", Some(memory.path())).await;
    // c2VzYW1l is sesame, Y2FyYXdheQ== is caraway.
    let secret = |word: &str, revision| Dependency {
        kind: "Secret".into(),
        name: "login".into(),
        revision,
        object: json!({"metadata": {"name": "login"}, "data": {"word": word}}).to_string().into(),
        ..Dependency::default()
    };
    // The words themselves stand nowhere else.
    let script = "while test $(cat /s/word) = $(cat /one); do sleep 0.1; done; a=$(cat /s/word); b=$(cat /one); \
                  test ${#a} = 7 && test ${#b} = 6";
    let spec = json!({
        "containers": [{
            "name": "main", "image": "busybox:1", "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
            "volumeMounts": [
                {"name": "s", "mountPath": "/s"}, {"name": "p", "mountPath": "/one", "subPath": "word"},
            ],
        }],
        "restartPolicy": "Never",
        "volumes": [
            {"name": "s", "secret": {"secretName": "login"}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": "login"}}]}},
        ],
    });
    running.put("pod", spec.clone(), vec![secret("c2VzYW1l", 1)]).await;
    running.until("pod", |status| status["phase"] == "Running").await;
    for text in ["sesame", "c2VzYW1l"] {
        assert_eq!(holding(worker.dir.path(), text), [""; 0]);
        assert_ne!(holding(memory.path(), text), [""; 0], "{text} is where it belongs");
    }
    // A new agent goes on with it, and what changes arrives.
    running.stop().await;
    let running = Running::start(&worker, "", Some(memory.path())).await;
    running.put("pod", spec, vec![secret("Y2FyYXdheQ==", 2)]).await;
    let status =
        running.until("pod", |status| status["phase"] == "Succeeded" || status["phase"] == "Failed").await;
    assert_eq!(status["phase"], "Succeeded", "a part of a volume stays as it was: {status}");
    running.remove("pod").await;
    assert_eq!(holding(memory.path(), "caraway"), [""; 0], "nothing is left of it");
    running.stop().await;
}
