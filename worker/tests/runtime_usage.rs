//! What containers use, as the kernel counts it.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use kontiki_worker::runtime::{ContainerUsage, RuntimeClass};
use runtime_support::{PATIENCE, Worker, cannot_run_containers, has_cgroups};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_works_counts_and_one_that_ended_does_not() {
    if cannot_run_containers() || !has_cgroups() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    agent.start_pod("plain", RuntimeClass::Host).await;
    agent.run("pod", agent.spec("over", "true")).await;
    agent.runtime.start_container("pod", agent.spec("busy", "while true; do true; done")).await.unwrap();
    agent.runtime.start_container("pod", agent.spec("idle", "sleep 1000 & wait")).await.unwrap();
    // A tmpfs in a container is memory of its processes.
    let filled = "dd if=/dev/zero of=/dev/shm/a bs=1M count=32; sleep 1000";
    agent.runtime.start_container("pod", agent.spec("full", filled)).await.unwrap();
    let mut plain = agent.spec("plain", "");
    plain.command = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
    agent.runtime.start_container("plain", plain).await.unwrap();

    let container = |name: &str| -> Option<ContainerUsage> {
        let pods = agent.runtime.usage();
        assert_eq!(
            pods.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>(),
            ["pod"],
            "plain ones are not counted"
        );
        assert_eq!((pods[0].namespace.as_str(), pods[0].name.as_str()), ("default", "web"));
        pods[0].containers.iter().find(|it| it.name == name).cloned()
    };
    let worked = async {
        // A counter that goes on is waited for, however busy the machine is.
        while container("busy").unwrap().cpu_ns < 200_000_000
            || container("full").unwrap().memory_bytes < 32 << 20
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, worked).await.unwrap();
    let idle = container("idle").unwrap();
    assert!(idle.cpu_ns < 200_000_000 && idle.memory_bytes < 8 << 20, "{idle:?}");
    assert_eq!(idle.processes, 2, "the shell and what it runs");
    assert_eq!(container("over"), None);

    agent.runtime.remove_pod("plain").await.unwrap();
    agent.runtime.remove_pod("pod").await.unwrap();
    assert_eq!(agent.runtime.usage(), []);
}
