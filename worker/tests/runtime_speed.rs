//! How fast pods start and how small shims are. Prints, asserts nothing: run it with `--ignored --nocapture`.
#![allow(missing_docs, clippy::unwrap_used)]

mod agent_support;
mod cri_support;
mod registry_support;
mod runtime_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_support::Running;
use cri_support::{Daemon, cannot_run_containerd};
use kontiki_worker::runtime::{CriRuntime, Runtime, RuntimeClass};
use runtime_support::{PATIENCE, Worker, cannot_run_containers, sandbox};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// Pods that are started one after the other, and all at once.
const ONES: usize = 20;
const MANY: usize = 100;
const COMMANDS: usize = 50;
/// What goes through a port.
const MEBIBYTES: u64 = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn measure_starts() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let agent = worker.runtime();
    for class in [RuntimeClass::Container, RuntimeClass::Host] {
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for number in 0..20 {
            let uid = format!("one-{number}");
            let begin = Instant::now();
            agent.runtime.start_pod(sandbox(&uid, class)).await.unwrap();
            pods.push(begin.elapsed());
            let begin = Instant::now();
            let spec = agent.spec("main", "sleep 1000");
            agent.runtime.start_container(&uid, spec).await.unwrap();
            containers.push(begin.elapsed());
        }
        pods.sort();
        containers.sort();
        println!(
            "{class:?}: pod p50 {:?} max {:?}; container p50 {:?} max {:?}",
            pods[10], pods[19], containers[10], containers[19]
        );
        let memory = |field: &str| {
            let state = std::fs::read(worker.dir.path().join("pods/one-7/state.json")).unwrap();
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
            let rollup =
                std::fs::read_to_string(format!("/proc/{}/smaps_rollup", state["shim_pid"])).unwrap();
            rollup
                .lines()
                .find(|line| line.starts_with(field))
                .unwrap()
                .split_whitespace()
                .nth(1)
                .unwrap()
                .to_owned()
        };
        println!(
            "{class:?}: shim rss {} kB, pss {} kB, private {} kB",
            memory("Rss"),
            memory("Pss:"),
            memory("Private_Dirty")
        );
        let begin = Instant::now();
        for _ in 0..10 {
            agent
                .runtime
                .exec("one-7", "main", vec!["true".to_owned()], runtime_support::PATIENCE)
                .await
                .unwrap();
        }
        println!("{class:?}: exec {:?}", begin.elapsed() / 10);
        let begin = Instant::now();
        for number in 0..20 {
            agent.runtime.remove_pod(&format!("one-{number}")).await.unwrap();
        }
        println!("{class:?}: remove {:?}", begin.elapsed() / 20);

        let begin = Instant::now();
        let starts = (0..50).map(async |number| {
            let uid = format!("many-{number}");
            agent.runtime.start_pod(sandbox(&uid, class)).await.unwrap();
            agent.runtime.start_container(&uid, agent.spec("main", "sleep 1000")).await.unwrap();
        });
        futures_util::future::join_all(starts).await;
        println!("{class:?}: 50 pods with a container each {:?}", begin.elapsed());
        let removals =
            (0..50).map(async |number| agent.runtime.remove_pod(&format!("many-{number}")).await.unwrap());
        futures_util::future::join_all(removals).await;
    }
}

/// A node without a leader: from the assignment of a pod, whose image is there, to its status that says Running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn measure_nodes() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    measure("built-in", Running::start(&worker, "", None).await, "busybox:1").await;
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let runtime = CriRuntime::connect(daemon.config()).await.unwrap();
    let image = daemon.registry.name("busybox");
    runtime.pull_image(&image, &[]).await.unwrap();
    let running = Running::of(&daemon.data_dir(), Arc::new(runtime), "", None).await;
    measure("containerd", running, &image).await;
}

fn pod(image: &str, script: &str) -> Value {
    let main = json!({
        "name": "main", "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script],
    });
    json!({ "containers": [main], "terminationGracePeriodSeconds": 0 })
}

fn middle(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

async fn measure(what: &str, running: Running, image: &str) {
    let mut starts = Vec::new();
    for number in 0..ONES {
        let (name, begun) = (format!("one-{number}"), Instant::now());
        running.put(&name, pod(image, "sleep 1000"), Vec::new()).await;
        running.until(&name, |status| status["phase"] == "Running").await;
        starts.push(begun.elapsed());
    }
    println!("{what}: a pod runs after p50 {:?}, max {:?}", middle(starts.clone()).0, middle(starts).1);
    let mut commands = Vec::new();
    for _ in 0..COMMANDS {
        let begun = Instant::now();
        running.runtime.exec("one-0", "main", vec!["true".to_owned()], PATIENCE).await.unwrap();
        commands.push(begun.elapsed());
    }
    println!("{what}: a command takes p50 {:?}, max {:?}", middle(commands.clone()).0, middle(commands).1);
    for number in 0..ONES {
        running.remove(&format!("one-{number}")).await;
    }

    let begun = Instant::now();
    for number in 0..MANY {
        running.put(&format!("many-{number}"), pod(image, "sleep 1000"), Vec::new()).await;
    }
    let mut up = BTreeSet::new();
    while up.len() < MANY {
        running
            .until_any(|name, status| {
                if name.starts_with("many-") && status["phase"] == "Running" {
                    up.insert(name.to_owned());
                }
                true
            })
            .await;
    }
    println!("{what}: {MANY} pods run after {:?}", begun.elapsed());
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = own.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    println!("{what}: with them the agent, and this test with it, have {resident}");
    for number in 0..MANY {
        running.remove(&format!("many-{number}")).await;
    }

    let serve = format!("nc -ll -p 8080 -e dd if=/dev/zero bs=1M count={MEBIBYTES}");
    running.put("port", pod(image, &serve), Vec::new()).await;
    running.until("port", |status| status["phase"] == "Running").await;
    println!("{what}: through a port of a pod {} MiB/s", through(&running, "port").await);
    running.remove("port").await;
    running.stop().await;
}

/// How fast bytes come through a port of a pod.
async fn through(running: &Running, uid: &str) -> u128 {
    let mut stream = loop {
        match running.runtime.connect(uid, 8080, PATIENCE).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let (mut bytes, mut buffer, begun) = (0_u64, vec![0; 1 << 18], Instant::now());
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            count => bytes += u64::try_from(count).unwrap(),
        }
    }
    assert_eq!(bytes, MEBIBYTES << 20);
    u128::from(MEBIBYTES) * 1000 / begun.elapsed().as_millis().max(1)
}
