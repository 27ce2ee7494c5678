//! Pulls for pods: one for all who wait, and no image is taken away from a container.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(unused)]
mod registry_support;
mod runtime_support;

use std::sync::Arc;

use futures_util::future::join_all;
use kontiki_worker::image::ImageError;
use kontiki_worker::runtime::{PullError, RuntimeClass};
use registry_support::{Registry, Trick};
use runtime_support::{PATIENCE, Tar, Worker, cannot_run_containers};
use tokio::sync::Notify;

fn layer() -> Vec<u8> {
    Tar::default().file("a", 0o644, b"a").finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_want_an_image_wait_for_one_pull() {
    let (worker, registry) = (Worker::default(), Registry::start().await);
    let agent = worker.runtime();
    let digest = registry.put_image("1", &[layer()]);
    let (name, go) = (registry.name("1"), Arc::new(Notify::new()));
    registry.trick(&Registry::manifest_path("1"), Trick::Wait(go.clone()));
    // One that loses patience takes the pull from nobody else.
    let mut first = Box::pin(agent.runtime.pull_image(&name, &[]));
    let mut others = Box::pin(join_all((0..5).map(|_| agent.runtime.pull_image(&name, &[]))));
    tokio::select! {
        _ = &mut first => panic!("it cannot have ended"),
        _ = &mut others => panic!("they cannot have ended"),
        () = registry.arrived.notified() => {}
    }
    drop(first);
    go.notify_one();
    for pulled in tokio::time::timeout(PATIENCE, others).await.unwrap() {
        assert_eq!(pulled.unwrap().digest, digest);
    }
    assert_eq!(registry.count(&Registry::manifest_path("1")), 1);
    assert_eq!(agent.runtime.resolve_image(&name).unwrap().digest, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_failed_is_tried_anew() {
    let (worker, registry) = (Worker::default(), Registry::start().await);
    let agent = worker.runtime();
    // Often: what is told of the first may not be what the second finds, however close it follows.
    for tag in (0..100).map(|round| format!("v{round}")) {
        let name = registry.name(&tag);
        let refused = agent.runtime.pull_image(&name, &[]).await.unwrap_err();
        assert!(matches!(&refused, PullError::Failed(cause) if cause.contains("not found")), "{refused}");
        registry.put_image(&tag, &[layer()]);
        agent.runtime.pull_image(&name, &[]).await.unwrap();
    }
    let refused = agent.runtime.pull_image("Not A Name", &[]).await.unwrap_err();
    assert!(matches!(refused, PullError::InvalidName(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_in_use_is_not_removed() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let spec = agent.spec("main", "sleep 1000");
    agent.runtime.start_container("pod", spec).await.unwrap();
    let refused = worker.store.remove("busybox:1").unwrap_err();
    assert!(matches!(refused, ImageError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("delete the pods that use it first"));
    assert_eq!(worker.store.prune(true).unwrap().images, []);

    // It may start again.
    agent.runtime.signal("pod", "main", 9).await.unwrap();
    agent.exit_of("main").await;
    assert!(worker.store.remove("busybox:1").is_err());
    let mut again = agent.spec("main", "echo there");
    again.attempt = 1;
    agent.run("pod", again).await;

    agent.runtime.remove_pod("pod").await.unwrap();
    assert!(worker.store.remove("busybox:1").unwrap());
    assert_eq!(worker.store.list(), []);
    assert!(!worker.store.remove("busybox:1").unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_is_killed_holds_no_image() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let spec = agent.spec("main", "sleep 1000");
    agent.runtime.start_container("pod", spec).await.unwrap();
    assert_eq!(worker.store.prune(true).unwrap().images, []);
    let state = std::fs::read(worker.dir.path().join("pods/pod/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let pid = i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    while !matches!(agent.event().await, kontiki_worker::runtime::RuntimeEvent::PodLost { .. }) {}
    assert_eq!(worker.store.prune(true).unwrap().images.len(), 1);
    agent.runtime.remove_pod("pod").await.unwrap();
}
