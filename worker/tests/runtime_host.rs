//! Pods without containers: the same promises for plain processes of the machine. Needs no root.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::time::Duration;

use kontiki_worker::runtime::{ContainerSpec, RuntimeClass, RuntimeError, RuntimeEvent};
use runtime_support::{PATIENCE, Worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_process_logs_ends_and_leaves_its_message() {
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    let mut spec =
        agent.spec("main", "echo $GREETING; echo err >&2; printf why > $TERMINATION_MESSAGE_PATH; exit 3");
    spec.env = vec![("GREETING".to_owned(), "hello".to_owned())];
    let exit = agent.run("pod", spec).await;
    assert_eq!((exit.code, exit.message.as_str()), (3, "why"));
    assert_eq!(
        (agent.log("main", "stdout"), agent.log("main", "stderr")),
        ("hello\n".to_owned(), "err\n".to_owned())
    );

    // A program of the image is found before one of the machine.
    let exit = agent.run("pod", agent.spec("image", "readlink -f /proc/$$/exe")).await;
    assert_eq!(exit.code, 0);
    let images = worker.store.home(&worker.store.resolve("busybox:1").unwrap());
    assert!(agent.log("image", "stdout").starts_with(images.parent().unwrap().to_str().unwrap()));
    assert!(
        agent.log("image", "stdout").trim().ends_with("/bin/busybox"),
        "{}",
        agent.log("image", "stdout")
    );
    agent.runtime.remove_pod("pod").await.unwrap();
    assert!(!worker.dir.path().join("pods/pod").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_process_left_behind_ends_with_the_pod() {
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    // A child in a session of its own escapes the group, but not the shim, who inherits it.
    let exit = agent.run("pod", agent.spec("main", "setsid sleep 1000 & echo $!; sleep 0.1")).await;
    assert_eq!(exit.code, 0);
    agent.runtime.remove_pod("pod").await.unwrap();
    let pid = agent.log("main", "stdout").trim().to_owned();
    let left = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(!left.contains("sleep"), "{pid} is still {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_and_commands_work_without_a_container() {
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    agent.runtime.start_container("pod", agent.spec("main", "sleep 1000; true")).await.unwrap();
    let exec = async |script: &str, timeout| {
        agent.runtime.exec("pod", "main", ["sh", "-c", script].map(str::to_owned).to_vec(), timeout).await
    };
    let output = exec("echo yes; exit 2", PATIENCE).await.unwrap();
    assert_eq!((output.code, output.stdout.as_slice()), (2, &b"yes\n"[..]));
    let late = exec("sleep 1000 & sleep 1000", Duration::from_millis(100)).await.unwrap();
    assert!(late.timed_out);

    agent.runtime.signal("pod", "main", 15).await.unwrap();
    let exit = agent.exit_of("main").await;
    assert_eq!((exit.code, exit.signal), (143, Some(15)), "the whole group is signalled");

    let command = vec!["no-such-program".to_owned()];
    let spec = ContainerSpec { command, ..agent.spec("missing", "") };
    let missing = agent.runtime.start_container("pod", spec).await.unwrap_err();
    let expected =
        "unable to start container process: exec: \"no-such-program\": executable file not found in $PATH";
    assert_eq!(missing, RuntimeError::StartFailed(expected.to_owned()));
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_ports_are_the_machines() {
    let worker = Worker::default();
    let agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    agent.runtime.connect("pod", port, PATIENCE).await.map(drop).unwrap();
    drop(listener);
    let refused = agent.runtime.connect("pod", port, PATIENCE).await.err().unwrap();
    assert!(refused.to_string().ends_with("connection refused"), "{refused}");
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agents_blob_survives_it() {
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    let mut newer = runtime_support::sandbox("pod", RuntimeClass::Host);
    newer.blob = b"second assignment".to_vec();
    agent.runtime.start_pod(newer.clone()).await.unwrap();
    let adopted = worker.runtime().runtime.adopt().await.unwrap();
    assert_eq!((adopted.len(), adopted[0].alive, &adopted[0].sandbox), (1, true, &newer));

    // An exit that nobody acknowledged is told to whoever comes next by starting the pod again.
    agent.run("pod", agent.spec("main", "exit 1")).await;
    let mut late = worker.runtime();
    late.runtime.start_pod(newer).await.unwrap();
    late.runtime.start_container("pod", late.spec("next", "exit 4")).await.unwrap();
    loop {
        match late.event().await {
            RuntimeEvent::Exited { container, exit, .. } if container == "next" => {
                break assert_eq!(exit.code, 4);
            }
            RuntimeEvent::Exited { container, .. } => assert_eq!(container, "main"),
            other => panic!("{other:?}"),
        }
    }
    agent.runtime.remove_pod("pod").await.unwrap();
    let bad = worker.bare_runtime().pod_dir("../up").unwrap_err();
    assert_eq!(bad, RuntimeError::Invalid("pod uid \"../up\" is not a plain name".to_owned()));
}
