//! Containers by a real containerd, through the trait by which agents know runtimes: what all runtimes promise, and what is this one's own.
#![allow(missing_docs, clippy::unwrap_used)]

mod cri_support;
mod registry_support;
mod runtime_suite;
mod runtime_support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cri_support::{Daemon, cannot_run_containerd, pod, put_image};
use kontiki_worker::image::Credential;
use kontiki_worker::runtime::{
    ContainerPhase, ContainerSpec, CriConfig, MemoryVolume, Mount, PodSandbox, Processes, PullError, Runtime,
    RuntimeClass, RuntimeError, RuntimeEvent, SeccompProfile, SubPath,
};
use runtime_suite::{Node, streams};
use runtime_support::PATIENCE;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KILL: i32 = 9;
const TERM: i32 = 15;
const FOR_EVER: &str = "while :; do sleep 1; done";

impl Node for Daemon {
    const KNOWS_PROCESSES: bool = false;
    const HANDLER: &str = "runc";
    const ROUNDS: u32 = 15;

    async fn agent(&self) -> runtime_support::Agent {
        self.plain_agent(self.config()).await
    }

    async fn agent_with_pids(&self, most: u64) -> runtime_support::Agent {
        self.plain_agent(CriConfig { pod_pids_limit: Some(most), ..self.config() }).await
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.data_dir()
    }

    fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf> {
        self.cgroups_of(pod_uid)
    }
}

async fn daemon() -> Option<Daemon> {
    if cannot_run_containerd() { None } else { Some(Daemon::start().await) }
}

runtime_suite::promises! { crate::daemon() }

/// What takes longer hangs.
const HUNG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_have_streams_as_with_any_runtime() {
    let Some(daemon) = daemon().await else { return };
    let agent = Node::agent(&daemon).await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    agent.runtime.start_container("pod", agent.spec("main", "sleep 1000")).await.unwrap();
    let all = async {
        streams::a_command_is_given_and_says_what_is_its_own(&agent).await;
        streams::bytes_go_through_as_they_are_and_the_end_of_the_input_is_seen(&agent).await;
        streams::a_terminal_is_one_of_the_containers_own_and_changes_its_size(&agent).await;
        streams::a_key_of_the_terminal_interrupts(&agent).await;
        drop(streams::who_does_not_read_holds_up_nobody_else(&agent).await);
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_runs_logs_ends_and_runs_again() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    agent.start_pod("u-1").await;
    let script = "echo out; echo err >&2; echo bye > /dev/termination-log; exit 3";
    let started = agent.runtime.start_container("u-1", agent.spec("u-1", "web", script)).await.unwrap();
    assert!(started.container_id.starts_with("containerd://"), "{started:?}");
    assert!(started.started_at_ms > 0);
    let exit = agent.exit_of("web").await;
    assert_eq!((exit.code, exit.message.as_str(), exit.reason()), (3, "bye\n", "Error"));
    assert!(exit.started_at_ms == started.started_at_ms && exit.finished_at_ms >= exit.started_at_ms);
    assert_eq!(agent.log("u-1", "web", 0, "stdout"), "out\n");
    assert_eq!(agent.log("u-1", "web", 0, "stderr"), "err\n");

    // The next attempt; its message is the end of its log.
    let spec = ContainerSpec {
        attempt: 1,
        log_path: agent.log_path("u-1", "web", 1),
        termination_message_from_log: true,
        ..agent.spec("u-1", "web", "echo last words; exit 1")
    };
    agent.runtime.start_container("u-1", spec).await.unwrap();
    assert_eq!(agent.exit_of("web").await.message, "last words");
    let spec = ContainerSpec {
        attempt: 2,
        log_path: agent.log_path("u-1", "web", 2),
        ..agent.spec("u-1", "web", FOR_EVER)
    };
    let running = agent.runtime.start_container("u-1", spec.clone()).await.unwrap();
    assert_eq!(agent.runtime.start_container("u-1", spec.clone()).await.unwrap(), running);
    let other = ContainerSpec { attempt: 3, ..spec };
    let refused = agent.runtime.start_container("u-1", other).await.unwrap_err();
    assert!(refused.to_string().contains("already runs"), "{refused}");
    let ours = daemon.ctr(&["containers", "ls", "-q"]);
    assert_eq!(ours.lines().count(), 3, "the sandbox, this attempt and the one before: {ours}");

    // A command that does not exist counts as a run.
    let missing = ContainerSpec { command: vec!["nothing".into()], ..agent.spec("u-1", "odd", "") };
    let refused = agent.runtime.start_container("u-1", missing).await.unwrap_err();
    assert!(
        matches!(&refused, RuntimeError::StartFailed(cause) if cause.contains("executable file not found")),
        "{refused}"
    );

    agent.runtime.signal("u-1", "web", KILL).await.unwrap();
    assert_eq!(agent.exit_of("web").await.code, 137);
    agent.runtime.signal("u-1", "web", KILL).await.unwrap();
    agent.runtime.remove_pod("u-1").await.unwrap();
    agent.runtime.remove_pod("u-1").await.unwrap();
    assert_eq!(daemon.ctr(&["containers", "ls", "-q"]), "");
    assert!(!daemon.data_dir().join("pods/u-1").exists() && daemon.cgroups_of("u-1").is_empty());
    let gone = agent.runtime.start_container("u-1", agent.spec("u-1", "web", "true")).await.unwrap_err();
    assert!(matches!(gone, RuntimeError::PodUnknown(_)), "{gone}");
    let plain = PodSandbox { class: RuntimeClass::Host, ..pod("u-2") };
    let refused = agent.runtime.start_pod(plain).await.unwrap_err().to_string();
    assert!(refused.contains("built-in runtime"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_reach_a_container_by_commands_and_ports() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let agent = daemon.agent().await;
    agent.start_pod("u-1").await;
    let script = "trap 'exit 7' TERM; nc -ll -p 80 -e echo hello & while :; do sleep 0.1; done";
    let spec = ContainerSpec { user: Some(1000), ..agent.spec("u-1", "web", script) };
    agent.runtime.start_container("u-1", spec).await.unwrap();
    let said = agent.exec("u-1", "web", "echo out; echo err >&2; hostname").await.unwrap();
    assert_eq!(said, "out\nweb-1\nerr\n");
    let run = async |script: &str, time| {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        agent.runtime.exec("u-1", "web", command, time).await
    };
    assert_eq!(run("exit 4", PATIENCE).await.unwrap().code, 4);
    let slow = run("sleep 30", Duration::from_millis(500)).await.unwrap();
    assert!(slow.timed_out, "{slow:?}");
    let missing = agent.runtime.exec("u-1", "web", vec!["nothing".into()], PATIENCE).await.unwrap_err();
    assert!(missing.to_string().contains("executable file not found"), "{missing}");
    let unknown = agent.runtime.exec("u-1", "other", vec!["true".into()], PATIENCE).await.unwrap_err();
    assert!(matches!(unknown, RuntimeError::ContainerUnknown { .. }), "{unknown}");

    // Port 80 of the pod, which a user that is not root listens on.
    let hello = async {
        loop {
            if let Ok(mut stream) = agent.runtime.connect("u-1", 80, PATIENCE).await {
                let mut said = String::new();
                stream.read_to_string(&mut said).await.unwrap();
                return said;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, hello).await.unwrap(), "hello\n");
    let closed = agent.runtime.connect("u-1", 81, PATIENCE).await.err().unwrap();
    assert_eq!(closed.to_string(), "dial 127.0.0.1:81 in pod u-1: connection refused");
    // A pod in the machine's network.
    agent.start(PodSandbox { host_network: true, ..pod("u-2") }).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    agent.runtime.connect("u-2", port, PATIENCE).await.unwrap();
    agent.runtime.remove_pod("u-2").await.unwrap();

    // Somebody who looks at another one's processes.
    let mut agent = agent;
    let target = Some("web".to_owned());
    let look = "ps | grep -q '[n]c -ll' && echo seen; ps | grep -q 'sleep 12[3]' || echo alone";
    let spec = ContainerSpec { process_target: target, ..agent.spec("u-1", "debug", look) };
    agent.runtime.start_container("u-1", agent.spec("u-1", "other", "sleep 123")).await.unwrap();
    let (_, said) = agent.said("u-1", spec).await;
    assert_eq!(said, "seen\nalone\n");
    // Asked to end, it does so as it likes.
    agent.runtime.signal("u-1", "web", TERM).await.unwrap();
    assert_eq!(agent.exit_of("web").await.code, 7);
    agent.runtime.remove_pod("u-1").await.unwrap();
}

/// The values of some fields of /proc/self/status.
fn status_of(said: &str, name: &str) -> String {
    let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_confined_as_it_asks_for() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    let sysctls = vec![("net.ipv4.tcp_fin_timeout".to_owned(), "33".to_owned())];
    agent.start(PodSandbox { sysctls, ..pod("u-1") }).await;
    const STATUS: &str = "cat /proc/self/status; cat /proc/sys/net/ipv4/tcp_fin_timeout; id; \
         touch /file && echo written; touch /proc/sys/x; ls /sys/firmware";
    let (exit, said) = agent.said("u-1", agent.spec("u-1", "plain", STATUS)).await;
    assert!(said.contains("\n33\n") && said.contains("written"), "{said}");
    assert_eq!(status_of(&said, "Uid:"), "0 0 0 0");
    assert_eq!((status_of(&said, "Seccomp:").as_str(), exit.code), ("0", 0));
    let spec = ContainerSpec {
        user: Some(1000),
        group: Some(3000),
        groups: vec![4000, 5000],
        read_only_root: true,
        no_new_privileges: true,
        drop_capabilities: vec!["ALL".to_owned()],
        seccomp: SeccompProfile::RuntimeDefault,
        ..agent.spec("u-1", "tight", STATUS)
    };
    let (_, said) = agent.said("u-1", spec).await;
    assert_eq!(status_of(&said, "Uid:"), "1000 1000 1000 1000");
    assert_eq!(status_of(&said, "Gid:"), "3000 3000 3000 3000");
    assert!(said.contains("4000") && said.contains("5000") && !said.contains("written"), "{said}");
    assert_eq!((status_of(&said, "NoNewPrivs:"), status_of(&said, "Seccomp:")), ("1".into(), "2".into()));
    assert_eq!(status_of(&said, "CapBnd:"), "0000000000000000");
    let of_image = put_image(&daemon.registry, "web", json!({ "User": "web", "Env": ["PATH=/bin"] }));
    let name = daemon.registry.name("web");
    let image = agent.runtime.pull_image(&name, &[]).await.unwrap();
    assert_eq!(image.digest, of_image);
    assert_eq!(agent.runtime.image_defaults(&image).user, "web");
    let (_, said) = agent.said("u-1", ContainerSpec { image, ..agent.spec("u-1", "named", "id") }).await;
    assert_eq!(said, "uid=1000(web) gid=1000(web) groups=1000(web),2000(data)\n");
    let spec = ContainerSpec { privileged: true, ..agent.spec("u-1", "mighty", STATUS) };
    let (_, said) = agent.said("u-1", spec).await;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(status_of(&said, "CapEff:"), status_of(&own, "CapEff:"), "all that there are");
    let strict = ContainerSpec { only_these_groups: true, ..agent.spec("u-1", "strict", "true") };
    let refused = agent.runtime.start_container("u-1", strict).await.unwrap_err();
    assert_eq!(refused.to_string(), "SupplementalGroupsPolicy=Strict is not supported in this node");
    agent.runtime.remove_pod("u-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_and_use_is_counted() {
    if cannot_run_containerd() || !runtime_support::has_cgroups() {
        return;
    }
    let daemon = Daemon::start().await;
    let config = CriConfig { pod_pids_limit: Some(50), ..daemon.config() };
    let mut agent = daemon.agent_of(config).await;
    agent.start_pod("u-1").await;
    let spec = ContainerSpec {
        memory_limit_bytes: Some(32 << 20),
        ..agent.spec("u-1", "hungry", "dd if=/dev/zero of=/dev/null bs=100M count=1")
    };
    let (exit, _) = agent.said("u-1", spec).await;
    assert!(exit.oom_killed || exit.code != 0, "{exit:?}");
    assert_eq!(exit.reason(), "OOMKilled");
    let spec = ContainerSpec {
        cpu_milli_request: Some(250),
        cpu_milli_limit: Some(500),
        ..agent.spec("u-1", "busy", "while :; do :; done")
    };
    agent.runtime.start_container("u-1", spec).await.unwrap();
    let cgroups = daemon.cgroups_of("u-1");
    let read = |name: &str| {
        let files = cgroups.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        let texts = files.map(|it| it.path().join(name)).filter_map(|it| std::fs::read_to_string(it).ok());
        texts.map(|text| text.trim().to_owned()).collect::<Vec<_>>()
    };
    let written = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => [("cpu.weight", "10"), ("cpu.max", "50000 100000")],
        false => [("cpu.shares", "256"), ("cpu.cfs_quota_us", "50000")],
    };
    for (file, text) in written {
        assert!(read(file).contains(&text.to_owned()), "{file}: {:?}", read(file));
    }
    assert!(
        cgroups
            .iter()
            .any(|dir| std::fs::read_to_string(dir.join("pids.max")).is_ok_and(|it| it.trim() == "50"))
    );
    let used = async {
        loop {
            let runtime = &agent.runtime;
            let usage = tokio::task::block_in_place(|| runtime.usage());
            if let [pod] = usage.as_slice()
                && let [busy] = pod.containers.as_slice()
                && busy.cpu_ns > 10_000_000
            {
                return (pod.clone(), busy.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (pod, busy) = tokio::time::timeout(PATIENCE, used).await.unwrap();
    assert_eq!((pod.uid.as_str(), pod.namespace.as_str(), pod.name.as_str()), ("u-1", "default", "web"));
    assert!(busy.name == "busy" && busy.memory_bytes > 0 && busy.processes >= 1, "{busy:?}");
    // What it writes is counted by the daemon, from time to time.
    agent.exec("u-1", "busy", "dd if=/dev/zero of=/written bs=1M count=3").await.unwrap();
    let written = async {
        loop {
            let layers = tokio::task::block_in_place(|| agent.runtime.layers());
            if layers.iter().any(|it| it.container == "busy" && it.bytes >= 3 << 20 && it.entries > 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    agent.runtime.remove_pod("u-1").await.unwrap();
    assert!(daemon.cgroups_of("u-1").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_and_names_are_where_the_pod_wants_them() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    let volumes = daemon.data_dir().join("pods/u-1/volumes");
    let at = |name: &str| volumes.join(name);
    for name in ["data/inner", "memory"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    std::fs::write(at("data/inner/file"), "kept").unwrap();
    std::os::unix::fs::symlink("/etc", at("data/out")).unwrap();
    let memory = MemoryVolume { path: at("memory"), bytes: 1 << 20, mode: 0o777, group: None };
    let sandbox = PodSandbox {
        memory_volumes: vec![memory],
        hosts: "127.0.0.1\tlocalhost\n10.1.2.3\tdb\n".to_owned(),
        resolver: Some("nameserver 10.0.0.10\n".to_owned()),
        ..pod("u-1")
    };
    agent.start(sandbox).await;
    let mount = |source: &str, target: &str, read_only, sub_path: Option<&str>| Mount {
        source: at(source),
        target: target.into(),
        read_only,
        sub_path: sub_path.map(|path| SubPath { path: path.into(), make: true }),
    };
    let script = "cat /data/inner/file /part/file; touch /data/own && echo written; touch /part/x; \
                  echo m > /memory/m; echo; cat /memory/m; grep ' /memory ' /proc/mounts; cat /etc/hosts /etc/resolv.conf; \
                  hostname; ls /made";
    let spec = ContainerSpec {
        mounts: vec![
            mount("data", "/data", false, None),
            mount("data", "/part", true, Some("inner")),
            mount("data", "/made", false, Some("new/folder")),
            mount("memory", "/memory", false, None),
        ],
        ..agent.spec("u-1", "web", script)
    };
    let (_, said) = agent.said("u-1", spec).await;
    for words in
        ["keptkept", "written\n", "\nm\n", "size=1024k", "10.1.2.3\tdb", "nameserver 10.0.0.10", "web-1"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(at("data/own").exists() && at("data/new/folder").is_dir() && !at("data/inner/x").exists());
    let out = ContainerSpec {
        mounts: vec![mount("data", "/out", false, Some("out"))],
        ..agent.spec("u-1", "thief", "true")
    };
    let refused = agent.runtime.start_container("u-1", out).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "failed to prepare subPath \"out\" for the mount at /out: it leads out of its volume"
    );
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = daemon.data_dir().display().to_string();
    let of_worker = || mounts().lines().filter(|line| line.contains(&here)).count();
    assert_eq!(of_worker(), 1, "the volume in memory; no part of a volume stays bound: {}", mounts());
    agent.runtime.remove_pod("u-1").await.unwrap();
    assert_eq!(of_worker(), 0);
    assert!(!daemon.data_dir().join("pods/u-1").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_again_finds_its_pods_and_touches_no_others() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    agent.start_pod("u-1").await;
    agent.start_pod("u-2").await;
    // Of another worker on the same daemon.
    let others = CriConfig { data_dir: daemon.dir.path().join("others"), ..daemon.config() };
    let other = daemon.agent_of(others).await;
    other.start_pod("u-3").await;
    agent.runtime.start_container("u-1", agent.spec("u-1", "stays", FOR_EVER)).await.unwrap();
    agent.said("u-1", agent.spec("u-1", "told", "exit 5")).await;
    agent
        .runtime
        .start_container("u-1", agent.spec("u-1", "ends", "while [ ! -e /end ]; do sleep 0.1; done; exit 6"))
        .await
        .unwrap();
    let (image, stored) =
        (agent.spec("u-1", "x", "").image, PodSandbox { blob: b"newer".to_vec(), ..pod("u-1") });
    agent.runtime.start_pod(stored).await.unwrap();
    // Its sandbox ends while nobody looks, and a container does.
    agent.exec("u-1", "ends", "touch /end").await.unwrap();
    let pause = daemon.ctr(&["containers", "ls", "labels.\"io.kubernetes.pod.uid\"==u-2", "-q"]);
    drop(agent);
    daemon.ctr(&["tasks", "kill", "-s", "KILL", pause.trim()]);

    // The sandboxes of u-1 and u-3, and what stays.
    daemon.until(|daemon| daemon.ctr(&["tasks", "ls", "-q"]).lines().count() == 3).await;

    // The daemon itself notices what ended when it gets to it.
    let adopted = async {
        loop {
            let agent = daemon.agent().await;
            let found = agent.runtime.adopt().await.unwrap();
            if found.iter().all(|it| it.alive == (it.sandbox.uid == "u-1")) {
                return (agent, found);
            }
        }
    };
    let (mut agent, found) = tokio::time::timeout(HUNG, adopted).await.unwrap();
    let pods: Vec<_> = found.iter().map(|it| (it.sandbox.uid.as_str(), it.alive)).collect();
    assert_eq!(pods, [("u-1", true), ("u-2", false)], "only its own");
    assert_eq!(found[0].sandbox, PodSandbox { blob: b"newer".to_vec(), ..pod("u-1") });
    let seen: Vec<(&str, Option<i32>)> = found[0]
        .containers
        .iter()
        .map(|it| {
            assert_eq!(it.image, image);
            let code = match &it.phase {
                ContainerPhase::Running => None,
                ContainerPhase::Exited(exit) => Some(exit.code),
            };
            (it.name.as_str(), code)
        })
        .collect();
    assert_eq!(seen, [("ends", Some(6)), ("stays", None), ("told", Some(5))]);

    // What was told is not told again; what runs is this agent's now.
    agent.until("u-1", "stays", "true").await;
    agent.runtime.signal("u-1", "stays", KILL).await.unwrap();
    assert_eq!(agent.exit_of("stays").await.code, 137);
    for uid in ["u-1", "u-2"] {
        agent.runtime.remove_pod(uid).await.unwrap();
    }
    assert!(agent.runtime.adopt().await.unwrap().is_empty());
    assert_eq!(daemon.ctr(&["containers", "ls", "-q"]).lines().count(), 1, "that of the other worker");
    other.runtime.remove_pod("u-3").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_takes_nothing_along_and_a_sandbox_that_dies_does() {
    if cannot_run_containerd() {
        return;
    }
    let mut daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    agent.start_pod("u-1").await;
    let script = "trap 'exit 8' TERM; while [ ! -e /end ]; do sleep 0.1; done; exit 9";
    agent.runtime.start_container("u-1", agent.spec("u-1", "web", script)).await.unwrap();
    daemon.kill();
    let unheard = agent.exec("u-1", "web", "true").await.unwrap_err();
    assert!(matches!(unheard, RuntimeError::Daemon { .. }), "{unheard}");
    assert!(agent.runtime.adopt().await.is_err());
    daemon.run();
    let again = async {
        while agent.exec("u-1", "web", "touch /end").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert_eq!(agent.exit_of("web").await.code, 9, "no other news came before");

    let pause = daemon.ctr(&["containers", "ls", "labels.\"io.cri-containerd.kind\"==sandbox", "-q"]);
    daemon.ctr(&["tasks", "kill", "-s", "KILL", pause.trim()]);
    assert_eq!(agent.event().await, RuntimeEvent::PodLost { pod_uid: "u-1".into() });
    let gone = agent.exec("u-1", "web", "true").await.unwrap_err();
    assert!(matches!(gone, RuntimeError::PodUnknown(_)), "{gone}");
    // It is started anew in the place of what is left.
    agent.start_pod("u-1").await;
    agent.said("u-1", agent.spec("u-1", "web", "true")).await;
    agent.runtime.remove_pod("u-1").await.unwrap();
    assert_eq!(daemon.ctr(&["containers", "ls", "-q"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_pulled_with_credentials_and_go_when_room_is_needed() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    let missing = agent.runtime.pull_image(&daemon.registry.name("none"), &[]).await.unwrap_err();
    let PullError::Failed(cause) = missing else { panic!("{missing}") };
    assert!(
        cause.starts_with("rpc error: code = NotFound desc = failed to pull and unpack image"),
        "{cause}"
    );
    let invalid = agent.runtime.pull_image("No Name", &[]).await.unwrap_err();
    assert!(matches!(invalid, PullError::InvalidName(_)), "{invalid}");
    agent.start_pod("u-1").await;
    agent.runtime.start_container("u-1", agent.spec("u-1", "web", FOR_EVER)).await.unwrap();

    put_image(&daemon.registry, "secret", json!({ "Cmd": ["true"] }));
    // me:word
    daemon.registry.guard("Basic bWU6d29yZA==", "Basic realm=\"x\"", None);
    let secret = daemon.registry.name("secret");
    assert!(agent.runtime.pull_image(&secret, &[]).await.is_err());
    let login = |password: &str| {
        let auths =
            json!({ "auths": { &daemon.registry.address: { "username": "me", "password": password } } });
        Credential::from_config_json(auths.to_string().as_bytes()).unwrap()
    };
    let wrong = agent.runtime.pull_image(&secret, &login("other")).await.unwrap_err().to_string();
    assert!(!wrong.contains("other"), "{wrong}");
    let pulled = agent.runtime.pull_image(&secret, &login("word")).await.unwrap();
    assert_eq!(agent.runtime.resolve_image(&secret), Some(pulled.clone()));
    assert!(agent.runtime.images().contains(&pulled) && pulled.size_bytes > 0);
    let place = agent.runtime.image_place().await.unwrap();
    assert!(place.starts_with(daemon.dir.path()), "{}", place.display());

    let runtime = &agent.runtime;
    let free = |time| tokio::task::block_in_place(|| runtime.free_images(u64::MAX, time)).unwrap();
    assert_eq!(free(Duration::from_secs(3600)), 0, "it was used within this time");
    assert_eq!(free(Duration::ZERO), pulled.size_bytes);
    assert_eq!(agent.runtime.resolve_image(&secret), None);
    assert!(agent.runtime.resolve_image(&agent.image).is_some(), "it is in use");
    assert!(agent.runtime.resolve_image(&daemon.registry.name("pause")).is_some(), "pods begin with it");
    agent.runtime.signal("u-1", "web", KILL).await.unwrap();
    agent.exit_of("web").await;
    agent.runtime.remove_pod("u-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_begins_anew_and_containers_may_share_their_processes() {
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let agent = daemon.agent_of(CriConfig { log_bytes_max: 1 << 20, ..daemon.config() }).await;
    agent.start(PodSandbox { processes: Processes::Pod, ..pod("u-1") }).await;
    let script = "while :; do echo a line that is long enough to count; done";
    agent.runtime.start_container("u-1", agent.spec("u-1", "web", script)).await.unwrap();
    agent.runtime.start_container("u-1", agent.spec("u-1", "other", FOR_EVER)).await.unwrap();
    agent.until("u-1", "other", "ps | grep -q '[l]ong enough'").await;
    let log = agent.log_path("u-1", "web", 0);
    let older = log.with_extension("log.1");
    let rotated = async {
        while !(older.exists() && Path::new(&log).exists()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, rotated).await.unwrap();
    agent.runtime.remove_pod("u-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_reach_commands_and_containers_and_end_with_them() {
    use streams::ALL;
    if cannot_run_containerd() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut agent = daemon.agent().await;
    agent.start_pod("u-1").await;
    let echo = "while read word; do echo got $word; done; exit 5";
    let spec = ContainerSpec { stdin: true, stdin_once: true, ..agent.spec("u-1", "web", echo) };
    agent.runtime.start_container("u-1", spec).await.unwrap();
    let run = async |script: &str, streams| {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        agent.runtime.run("u-1", "web", command, streams).await
    };
    let missing = agent.runtime.run("u-1", "web", vec!["nothing".into()], ALL).await.unwrap();
    let told = missing.exit.await.unwrap_err();
    assert!(told.to_string().contains("executable file not found"), "{told}");
    let nobody = agent.runtime.run("u-1", "other", vec!["true".into()], ALL).await.err().unwrap();
    assert!(matches!(nobody, RuntimeError::ContainerUnknown { .. }), "{nobody}");

    // Who hangs up ends the command that waits for him.
    let streams = run("echo ready; cat; touch /tmp/ended", ALL).await.unwrap();
    let mut ready = [0; 6];
    streams.stdout.as_ref().unwrap().clone().read_exact(&mut ready).await.unwrap();
    drop(streams);
    agent.until("u-1", "web", "[ -e /tmp/ended ]").await;

    let attached = agent.runtime.attach("u-1", "web", ALL).await.unwrap();
    let (mut stdin, mut stdout) = (attached.stdin.unwrap(), attached.stdout.unwrap());
    stdin.write_all(b"one\n").await.unwrap();
    let mut said = [0; 8];
    stdout.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"got one\n");
    drop(stdin);
    attached.exit.await.unwrap();
    assert_eq!(agent.exit_of("web").await.code, 5, "its input was for one");
    agent.runtime.remove_pod("u-1").await.unwrap();
}
