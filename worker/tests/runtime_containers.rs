//! Containers of the built-in runtime as people get them: what they print, how they end, what they see, and what is left of them.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_suite;
mod runtime_support;

use std::path::{Path, PathBuf};

use kontiki_worker::runtime::{PodSandbox, Processes, RuntimeClass, RuntimeError, RuntimeEvent, ShimConfig};
use runtime_suite::Node;
use runtime_support::{Agent, PATIENCE, Worker, cannot_run_containers, has_cgroups, sandbox};

impl Node for Worker {
    const KNOWS_PROCESSES: bool = true;
    const HANDLER: &str = "kontiki";
    const ROUNDS: u32 = 40;

    async fn agent(&self) -> Agent {
        self.runtime()
    }

    async fn agent_with_pids(&self, most: u64) -> Agent {
        self.runtime_of(ShimConfig { pod_pids_limit: Some(most), ..self.config() })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf> {
        self.cgroups_of(pod_uid)
    }
}

async fn worker() -> Option<Worker> {
    (!cannot_run_containers()).then(Worker::default)
}

runtime_suite::promises! { crate::worker() }

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_says_how_soon_it_is_killed_for_want_of_memory() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let of = |pid| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    let own = of(shim_pid(&worker, "pod"));
    // It takes CAP_SYS_RESOURCE to protect a process.
    let may_protect = own == "-998\n";
    for (name, score) in [("first", Some(1000)), ("last", Some(-997)), ("other", None)] {
        let mut spec = agent.spec(name, "cat /proc/self/oom_score_adj");
        spec.oom_score_adj = score;
        agent.run("pod", spec).await;
        let expected = score.filter(|score| *score >= 0 || may_protect).unwrap_or(0);
        assert_eq!(agent.log(name, "stdout"), format!("{expected}\n"));
    }
    let mut spec = agent.spec("long", "sleep 1000");
    spec.oom_score_adj = Some(500);
    agent.runtime.start_container("pod", spec).await.unwrap();
    let command = ["cat", "/proc/self/oom_score_adj"].map(str::to_owned).to_vec();
    let output = agent.runtime.exec("pod", "long", command, PATIENCE).await.unwrap();
    assert_eq!(output.stdout, b"500\n", "a command has its container's");
    assert_eq!(of(shim_pid(&worker, "pod")), own, "the shim is as before");
    agent.runtime.remove_pod("pod").await.unwrap();
}

/// Not a test by itself: the one below starts it where there is nothing but version 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs cgroups of version 2 alone"]
async fn on_version_2() {
    let worker = Worker::default();
    runtime_suite::devices_of_the_machine_are_out_of_reach(&worker).await;
    // What made a file of a device was the capability: it is given because something bounds them.
    let mut agent = worker.runtime();
    agent.start_pod("made", RuntimeClass::Container).await;
    let mut spec = agent.spec("makes", "/bin/busybox mknod /odd c 10 229");
    spec.add_capabilities = vec!["MKNOD".to_owned()];
    assert_eq!(agent.run("made", spec).await.code, 0, "{}", agent.log("makes", "stderr"));
    agent.runtime.remove_pod("made").await.unwrap();
    assert_eq!(worker.cgroups_of("made"), Vec::<PathBuf>::new());
    println!("bounded");
}

#[test]
fn devices_are_bounded_by_cgroups_of_version_2_as_well() {
    if cannot_run_containers() || !Path::new("/sys/fs/cgroup").exists() {
        return;
    }
    // In a namespace of mounts of its own, so that all others see what was there.
    const ALONE: &str =
        "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup || exit 77; exec \"$@\"";
    let done = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", ALONE, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "on_version_2", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    if done.status.code() == Some(77) {
        return eprintln!("skipped: cgroups of version 2 cannot be mounted here");
    }
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("bounded"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_processes_of_a_pod_takes_it_along() {
    if cannot_run_containers() || !has_cgroups() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    let shared = PodSandbox { processes: Processes::Pod, ..sandbox("pod", RuntimeClass::Container) };
    agent.runtime.start_pod(shared).await.unwrap();
    let server = agent.runtime.start_container("pod", agent.spec("server", "sleep 1000")).await.unwrap();
    rustix::process::kill_process(holder(&worker, "pod"), rustix::process::Signal::KILL).unwrap();
    assert_eq!(agent.exit_of("server").await.code, 137);
    assert_eq!(agent.event().await, RuntimeEvent::PodLost { pod_uid: "pod".to_owned() });
    assert!(!std::path::Path::new(&format!("/proc/{}", server.pid)).exists());
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_of_a_pods_processes_ends_with_the_shim() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    let shared = PodSandbox { processes: Processes::Pod, ..sandbox("pod", RuntimeClass::Container) };
    agent.runtime.start_pod(shared).await.unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    let handle = rustix::process::pidfd_open(holder(&worker, "pod"), flags).unwrap();
    kill_shim(&worker, "pod");
    wait_for_end(&handle);
    assert_eq!(agent.event().await, RuntimeEvent::PodLost { pod_uid: "pod".to_owned() });
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_shim_takes_its_containers_with_it_and_is_reported() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    assert_eq!(agent.run("pod", agent.spec("done", "exit 2")).await.code, 2);
    let started = agent.runtime.start_container("pod", agent.spec("main", "sleep 1000")).await.unwrap();
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(started.pid).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    kill_shim(&worker, "pod");
    assert_eq!(agent.event().await, RuntimeEvent::PodLost { pod_uid: "pod".to_owned() });
    wait_for_end(&pidfd);
    let unknown = agent.runtime.start_container("pod", agent.spec("next", "true")).await.unwrap_err();
    assert_eq!(unknown, RuntimeError::PodUnknown("pod".to_owned()));

    // What it wrote down is still there for an agent that comes later.
    let pods = worker.runtime().runtime.adopt().await.unwrap();
    assert!(!pods[0].alive);
    assert_eq!(pods[0].sandbox.blob, b"assignment");
    assert_eq!(pods[0].containers.len(), 2);
    agent.runtime.remove_pod("pod").await.unwrap();
    assert_eq!(worker.cgroups_of("pod"), Vec::<std::path::PathBuf>::new());
}

/// The process that holds the pod's process namespace.
fn holder(worker: &Worker, pod_uid: &str) -> rustix::process::Pid {
    let shim = shim_pid(worker, pod_uid);
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    let holds = |pid: &&str| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().ends_with(b"hold\0");
    let pid = children.split_whitespace().find(holds).unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}

/// Waits for the end of a process.
fn wait_for_end(handle: &rustix::fd::OwnedFd) {
    // Readable when the process has ended.
    let mut fds = [rustix::event::PollFd::new(handle, rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    // A child of another test may end meanwhile, and its signal comes to this thread.
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&patience)));
    assert_eq!(ended, Ok(1));
}

fn kill_shim(worker: &Worker, pod_uid: &str) {
    let pid = rustix::process::Pid::from_raw(shim_pid(worker, pod_uid)).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn shim_pid(worker: &Worker, pod_uid: &str) -> i32 {
    let state = std::fs::read(worker.dir.path().join("pods").join(pod_uid).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap()
}
