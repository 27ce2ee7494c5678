//! Agents and shims of different builds: they understand each other, or leave each other alone.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kontiki_worker::runtime::{ContainerPhase, RuntimeClass, RuntimeError};
use runtime_support::{Agent, PATIENCE, Worker, cannot_run_containers, sandbox};
use serde_json::{Value, json};

/// An agent of no build at all, which says what the test wants.
struct Raw(UnixStream);

impl Raw {
    fn connect(worker: &Worker) -> Raw {
        let dir = std::fs::File::open(worker.dir.path().join("pods/pod")).unwrap();
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", dir.as_raw_fd())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    /// Sends a body and answers the next frame's version and body.
    fn ask(&mut self, version: u16, body: &[u8]) -> (u16, Value) {
        let length = u32::try_from(body.len()).unwrap();
        self.0.write_all(&[&length.to_le_bytes()[..], &version.to_le_bytes(), body].concat()).unwrap();
        let mut header = [0; 6];
        self.0.read_exact(&mut header).unwrap();
        let mut answer = vec![0; u32::from_le_bytes(header[..4].try_into().unwrap()) as usize];
        self.0.read_exact(&mut answer).unwrap();
        (u16::from_le_bytes(header[4..].try_into().unwrap()), serde_json::from_slice(&answer).unwrap())
    }

    fn call(&mut self, version: u16, call: &Value) -> (u16, Value) {
        self.ask(version, json!({ "id": 7, "call": call }).to_string().as_bytes())
    }
}

/// What an agent of the future asks for when it starts a container.
fn launch(worker: &Worker, agent: &Agent, name: &str, script: &str) -> Value {
    let image = worker.store.resolve("busybox:1").unwrap();
    json!({ "StartLayered": {
        "spec": { "name": name, "log_path": agent.logs.join(name).join("0.log"), "novelty": 1 },
        "rootfs": worker.store.root(&image), "args": ["sh", "-c", script], "env": [["PATH", "/bin"]],
        "working_dir": "/", "uid": 0, "gid": 0, "groups": [],
    } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shim_does_not_know_it_refuses_and_it_goes_on() {
    let worker = Worker::default();
    let agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Host).await;
    let mut raw = Raw::connect(&worker);
    let (version, answer) = raw.call(2, &json!({ "Freeze": { "container": "web" } }));
    let error = answer["Answer"]["answer"]["Err"]["Invalid"].as_str().unwrap();
    assert_eq!((version, &answer["Answer"]["id"]), (2, &json!(7)));
    assert!(
        error.contains("unknown variant `Freeze`") && error.ends_with("restart the pod to update its shim")
    );

    let (version, _) = raw.call(9, &json!("Hello"));
    assert_eq!(version, 2, "so that a newer agent knows what is spoken here");
    let (_, welcome) = raw.call(2, &json!("Hello"));
    assert_eq!(welcome["Answer"]["answer"]["Ok"]["Welcome"]["sandbox"]["name"], "web", "{welcome}");
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_of_a_future_build_is_left_alone_until_it_is_to_end() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let shim = env!("CARGO_BIN_EXE_kontiki-shim");
    let future = ["/usr/bin/env", "KONTIKI_SHIM_VERSION=9", shim].map(str::to_owned).to_vec();
    let first = worker.runtime_with(future);
    let refused = first.runtime.start_pod(sandbox("pod", RuntimeClass::Container)).await.unwrap_err();
    assert!(refused.to_string().contains("speaks version 9"), "{refused}");
    let polite = "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.01; done";
    let mut raw = Raw::connect(&worker);
    let mut pids = Vec::new();
    for (name, script) in [("polite", polite), ("stubborn", "trap '' TERM; sleep 1000 & sleep 1000")] {
        let (_, answer) = raw.call(9, &launch(&worker, &first, name, script));
        let started = &answer["Answer"]["answer"]["Ok"]["Started"]["started"];
        pids.push(started["pid"].as_i64().unwrap_or_else(|| panic!("{answer}")));
    }
    wait_for_log(&first, "polite", "up\n").await;
    let lives = |pid: &i64| Path::new(&format!("/proc/{pid}")).exists();

    let mut second = worker.runtime();
    let pods = second.runtime.adopt().await.unwrap();
    let estranged = pods[0].estranged.clone().unwrap();
    assert!(estranged.contains("speaks version 9"), "{estranged}");
    assert_eq!((pods[0].alive, &pods[0].sandbox.blob[..]), (true, &b"assignment"[..]));
    let running = |state: &&kontiki_worker::runtime::ContainerState| state.phase == ContainerPhase::Running;
    assert_eq!(pods[0].containers.iter().filter(running).count(), 2);
    let again = second.runtime.start_pod(sandbox("pod", RuntimeClass::Container)).await.unwrap_err();
    assert!(matches!(again, RuntimeError::Estranged { .. }), "{again}");
    let other = second.runtime.start_container("pod", second.spec("other", "true")).await.unwrap_err();
    assert!(matches!(other, RuntimeError::Estranged { .. }), "{other}");
    // Also to an agent that did not look for pods before it was asked to start one.
    let third =
        worker.runtime().runtime.start_pod(sandbox("pod", RuntimeClass::Container)).await.unwrap_err();
    assert!(matches!(third, RuntimeError::Estranged { .. }), "{third}");
    assert!(pids.iter().all(lives), "nothing was done to it");
    assert!(!worker.cgroups_of("pod").is_empty() || !runtime_support::has_cgroups());

    // It is ended as gracefully as its containers can be reached.
    second.runtime.signal("pod", "polite", 15).await.unwrap();
    let exit = second.exit_of("polite").await;
    assert!(exit.message.contains("how it ended is not known"), "{exit:?}");
    assert_eq!(second.log("polite", "stdout"), "up\nbye\n");
    second.runtime.signal("pod", "stubborn", 15).await.unwrap();
    assert!(lives(&pids[1]));
    second.runtime.remove_pod("pod").await.unwrap();
    assert!(!pids.iter().any(lives));
    assert_eq!(worker.cgroups_of("pod"), Vec::<std::path::PathBuf>::new());
    assert!(!worker.dir.path().join("pods/pod").exists());
    assert!(second.events.try_recv().is_err(), "a removal that was asked for is no news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_shim_that_was_left_alone_is_told() {
    let worker = Worker::default();
    let shim = env!("CARGO_BIN_EXE_kontiki-shim");
    let future = ["/usr/bin/env", "KONTIKI_SHIM_VERSION=9", shim].map(str::to_owned).to_vec();
    worker.runtime_with(future).runtime.start_pod(sandbox("pod", RuntimeClass::Host)).await.unwrap_err();
    let mut agent = worker.runtime();
    assert!(agent.runtime.adopt().await.unwrap()[0].estranged.is_some());
    let state = std::fs::read(worker.dir.path().join("pods/pod/state.json")).unwrap();
    let pid = serde_json::from_slice::<Value>(&state).unwrap()["shim_pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let lost = kontiki_worker::runtime::RuntimeEvent::PodLost { pod_uid: "pod".to_owned() };
    assert_eq!(agent.event().await, lost);
    agent.runtime.remove_pod("pod").await.unwrap();
}

async fn wait_for_log(agent: &Agent, container: &str, text: &str) {
    let written = async {
        while agent.log(container, "stdout") != text {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the log is written");
}
