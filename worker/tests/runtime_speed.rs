//! How fast pods start and how small shims are. Prints, asserts nothing: run it with `--ignored --nocapture`.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::time::Instant;

use kontiki_worker::runtime::RuntimeClass;
use runtime_support::{Worker, cannot_run_containers, sandbox};

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
