//! What any runtime promises of containers: the same tests for the built-in one and for a daemon's.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    missing_docs,
    async_fn_in_trait,
    clippy::unwrap_used
)]

pub mod streams;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kontiki_worker::runtime::{
    ContainerPhase, ContainerSpec, ImageRef, Mount, PodSandbox, Processes, Runtime, RuntimeClass,
    RuntimeError, RuntimeEvent, SubPath,
};
use tokio::io::AsyncReadExt;

use crate::runtime_support::{Agent, PATIENCE, has_cgroups, sandbox};

/// A worker of a test, whatever runs its containers.
pub trait Node {
    /// Whether it knows processes by their numbers, and signals that ended them.
    const KNOWS_PROCESSES: bool;
    /// A handler of a RuntimeClass that it knows.
    const HANDLER: &str;
    /// How often a race is run.
    const ROUNDS: u32;

    /// An agent's runtime; several after another stand for restarts of the agent.
    async fn agent(&self) -> Agent;
    /// One whose pods may have so many processes.
    async fn agent_with_pids(&self, most: u64) -> Agent;
    /// All of it is there.
    fn dir(&self) -> &Path;
    /// The worker's own folder, in which that of the pods is.
    fn data_dir(&self) -> PathBuf;
    /// The cgroup directories of a pod that exist.
    fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf>;
}

/// A test for each promise. The expression answers a worker, or nothing where none can be.
macro_rules! promises {
    ($node:expr) => {
        crate::runtime_suite::promises! { $node;
            output_goes_to_the_log_and_the_end_is_told
            a_handler_is_known_or_refused_by_name
            a_container_sees_its_own_world
            signals_reach_the_process_and_kill_ends_all
            a_command_that_is_not_there_is_named
            commands_run_beside_the_process
            a_pods_containers_share_a_network_that_others_do_not_have
            a_container_beyond_its_memory_is_killed_and_says_so
            devices_of_the_machine_are_out_of_reach
            a_pod_has_no_more_processes_than_it_may
            containers_may_share_their_processes_with_their_pod
            a_container_may_see_the_processes_of_another_one
            containers_may_see_the_machines_processes_and_ipc
            a_removed_pod_leaves_nothing_but_its_log
            a_restarted_agent_finds_its_pods_and_misses_no_exit
            a_sub_path_is_all_that_a_container_sees_of_a_volume
            who_shares_a_volume_cannot_turn_a_sub_path_elsewhere
        }
    };
    ($node:expr; $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(node) = $node.await {
                    crate::runtime_suite::$promise(&node).await;
                }
            }
        )*
    };
}
pub(crate) use promises;

pub async fn output_goes_to_the_log_and_the_end_is_told(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let script = "echo out; echo err >&2; printf gone > /dev/termination-log; exit 7";
    let exit = agent.run("pod", agent.spec("main", script)).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert_eq!((exit.message.as_str(), exit.reason()), ("gone", "Error"));
    assert!(exit.started_at_ms > 0 && exit.finished_at_ms >= exit.started_at_ms);
    assert_eq!(agent.log("main", "stdout"), "out\n");
    assert_eq!(agent.log("main", "stderr"), "err\n");

    // Without a message of its own, a failed container's last words stand in for it if the pod says so.
    let mut spec = agent.spec("wordy", "echo first; echo last words; exit 1");
    spec.termination_message_from_log = true;
    assert_eq!(agent.run("pod", spec).await.message, "first\nlast words");
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_handler_is_known_or_refused_by_name<N: Node>(node: &N) {
    let mut agent = node.agent().await;
    let with =
        |handler: &str| PodSandbox { handler: handler.to_owned(), ..sandbox("pod", RuntimeClass::Container) };
    let refused = agent.runtime.start_pod(with("odd")).await.unwrap_err().to_string();
    assert!(refused.contains("no runtime for \"odd\" is configured"), "{refused}");
    agent.runtime.start_pod(with(N::HANDLER)).await.unwrap();
    assert_eq!(agent.run("pod", agent.spec("main", "exit 6")).await.code, 6);
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_container_sees_its_own_world(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let config = node.dir().join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("color"), "blue").unwrap();

    let script = "hostname; cat /etc/hostname; echo $$; id -u; id -G; echo $GREETING; cat /config/color; echo; \
                  echo x > /config/color || echo read-only; echo x > /new && cat /new; pwd; ls /sys/class/net";
    let mut spec = agent.spec("main", script);
    spec.env = vec![("GREETING".to_owned(), "hello".to_owned())];
    spec.working_dir = Some("/tmp".to_owned());
    (spec.user, spec.group) = (Some(0), Some(0));
    spec.mounts =
        vec![Mount { source: config.clone(), target: "/config".into(), read_only: true, sub_path: None }];
    let exit = agent.run("pod", spec).await;
    let output = agent.log("main", "stdout");
    assert_eq!(exit.code, 0, "{output}{}", agent.log("main", "stderr"));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines, ["web-1", "web-1", "1", "0", "0", "hello", "blue", "read-only", "x", "/tmp", "lo"]);
    assert_eq!(std::fs::read_to_string(config.join("color")).unwrap(), "blue");

    // A shell has its own mind about signals, so ask without one.
    let mut spec = agent.spec("signals", "");
    spec.command = ["cat", "/proc/self/status"].map(str::to_owned).to_vec();
    agent.run("pod", spec).await;
    let output = agent.log("signals", "stdout");
    let signals = |name: &str| {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap();
        // The numbers above are the C library's own.
        u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap() & 0x7fff_ffff
    };
    assert_eq!(
        (signals("SigBlk:"), signals("SigIgn:")),
        (0, 0),
        "what the shim blocks and ignores is not handed on"
    );

    // All names that Kubernetes lets a variable have; a shell would drop some.
    let mut spec = agent.spec("named", "");
    spec.command = ["cat", "/proc/self/environ"].map(str::to_owned).to_vec();
    let odd = [("data-1", "one"), ("1. ~!", "two"), ("a.b", "x=y")];
    spec.env = odd.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    agent.run("pod", spec).await;
    let output = agent.log("named", "stdout");
    for (name, value) in odd {
        let pair = format!("{name}={value}");
        assert!(output.split('\0').any(|found| found == pair), "{pair} in {output:?}");
    }

    // A user with the groups that the image gives it; and nothing that an earlier attempt wrote.
    let mut spec = agent.spec("user", "id -u; id -g; id -G; ls /new || echo clean");
    spec.user = Some(1000);
    agent.run("pod", spec).await;
    assert_eq!(agent.log("user", "stdout"), "1000\n1000\n1000 2000\nclean\n");
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn signals_reach_the_process_and_kill_ends_all(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let script = "trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.01; done";
    agent.runtime.start_container("pod", agent.spec("polite", script)).await.unwrap();
    wait_for_log(&agent, "polite", "up\n").await;
    agent.runtime.signal("pod", "polite", 15).await.unwrap();
    assert_eq!(agent.exit_of("polite").await.code, 3);
    assert!(agent.log("polite", "stdout").ends_with("bye\n"));

    agent.runtime.start_container("pod", agent.spec("stubborn", "sleep 1000 & sleep 1000")).await.unwrap();
    agent.runtime.signal("pod", "stubborn", 9).await.unwrap();
    let exit = agent.exit_of("stubborn").await;
    assert_eq!((exit.code, exit.signal), (137, knows(node).then_some(9)));
    agent.runtime.signal("pod", "stubborn", 9).await.expect("a signal to one that ended is no error");
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_command_that_is_not_there_is_named(node: &impl Node) {
    let agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let start = async |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let spec = ContainerSpec { command, ..agent.spec("main", "") };
        agent.runtime.start_container("pod", spec).await.unwrap_err()
    };
    let error = start(&["no-such-program"]).await;
    let expected =
        "unable to start container process: exec: \"no-such-program\": executable file not found in $PATH";
    assert!(
        matches!(&error, RuntimeError::StartFailed(cause) if cause.contains(expected)),
        "a daemon says where it heard it, too: {error}"
    );
    assert!(!knows(node) || error == RuntimeError::StartFailed(expected.to_owned()), "{error}");
    assert_eq!(error.reason(), "StartError");
    let error = start(&["/no/such"]).await.to_string();
    assert!(error.contains("exec: \"/no/such\": stat /no/such: no such file or directory"), "{error}");
    let error = start(&["/etc/passwd"]).await.to_string();
    assert!(error.contains("exec: \"/etc/passwd\": permission denied"), "{error}");

    // The pod is none the worse for it.
    let exec = agent.runtime.exec("pod", "main", vec!["true".to_owned()], PATIENCE).await;
    assert!(matches!(exec, Err(RuntimeError::ContainerUnknown { .. })));
    let image = ImageRef { name: "nothing:1".to_owned(), ..Default::default() };
    let spec = ContainerSpec { image, ..agent.spec("main", "") };
    let missing = agent.runtime.start_container("pod", spec).await.unwrap_err();
    assert_eq!(missing.reason(), "ErrImageNeverPull");
    agent.runtime.start_container("pod", agent.spec("main", "sleep 1000")).await.unwrap();
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn commands_run_beside_the_process(node: &impl Node) {
    let agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let mut spec = agent.spec("main", "echo mine > /tmp/file; sleep 1000");
    spec.env = vec![("COLOR".to_owned(), "blue".to_owned())];
    (spec.user, spec.group) = (Some(1000), Some(1000));
    agent.runtime.start_container("pod", spec).await.unwrap();
    let exec = async |script: &str, timeout| {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        agent.runtime.exec("pod", "main", command, timeout).await
    };
    let output = exec(
        "until cat /tmp/file 2>/dev/null; do :; done; echo $COLOR; id -u; echo oops >&2; exit 4",
        PATIENCE,
    )
    .await
    .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mine\nblue\n1000\n");
    assert_eq!((output.code, output.stderr.as_slice(), output.timed_out), (4, &b"oops\n"[..], false));

    let output = exec("sleep 1000", Duration::from_millis(100)).await.unwrap();
    assert!(output.timed_out);
    assert_eq!(output.code, 137);

    let big = exec("dd if=/dev/zero bs=1024 count=2048 2>/dev/null", PATIENCE).await.unwrap();
    assert_eq!(big.code, 0);
    assert!(big.stdout.len() >= 64 * 1024 && big.stdout.len() <= 256 * 1024, "{}", big.stdout.len());

    let missing = agent.runtime.exec("pod", "main", vec!["no-such".to_owned()], PATIENCE).await.unwrap_err();
    assert!(
        missing.to_string().contains("exec: \"no-such\": executable file not found in $PATH"),
        "{missing}"
    );
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_pods_containers_share_a_network_that_others_do_not_have(node: &impl Node) {
    let agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    agent.start_pod("other", RuntimeClass::Container).await;
    let server = "nc -l -p 80 -e echo hello";
    let mut spec = agent.spec("server", server);
    (spec.user, spec.group) = (Some(1000), Some(1000));
    agent.runtime.start_container("pod", spec).await.unwrap();
    // A connection is refused until the server listens.
    let mut stream = loop {
        match agent.runtime.connect("pod", 80, PATIENCE).await {
            Ok(stream) => break stream,
            Err(RuntimeError::Connect { cause, .. }) => assert_eq!(cause, "connection refused"),
            Err(other) => panic!("{other}"),
        }
    };
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello\n");
    let refused = agent.runtime.connect("other", 80, PATIENCE).await.err().unwrap();
    assert!(refused.to_string().ends_with("connection refused"), "{refused}");
    agent.runtime.remove_pod("pod").await.unwrap();
    agent.runtime.remove_pod("other").await.unwrap();
}

pub async fn a_container_beyond_its_memory_is_killed_and_says_so(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let mut spec = agent.spec("greedy", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.memory_limit_bytes = Some(32 << 20);
    spec.cpu_milli_limit = Some(500);
    spec.cpu_milli_request = Some(100);
    spec.pids_limit = knows(node).then_some(100);
    match agent.runtime.start_container("pod", spec).await {
        Ok(_) => {
            let exit = agent.exit_of("greedy").await;
            assert_eq!((exit.code, exit.oom_killed, exit.reason()), (137, true, "OOMKilled"));
        }
        Err(error) => assert!(error.to_string().contains("limit: this machine has no"), "{error}"),
    }
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn devices_of_the_machine_are_out_of_reach(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    // Where nothing keeps a container from a device it may make no files of devices. Which device is behind the number does not count.
    let script = "echo x >/dev/null && dd if=/dev/zero bs=3 count=1 2>/dev/null | /bin/busybox wc -c; \
                  /bin/busybox mknod /odd c 10 229 || exit 0; true </odd; true >/odd; true";
    let exit = agent.run("pod", agent.spec("main", script)).await;
    let (said, wrong) = (agent.log("main", "stdout"), agent.log("main", "stderr"));
    assert_eq!((exit.code, said.trim()), (0, "3"), "{wrong}");
    assert!(wrong.contains("odd: Operation not permitted"), "{wrong}");
    let spec = ContainerSpec { privileged: true, ..agent.spec("mighty", script) };
    agent.run("pod", spec).await;
    let wrong = agent.log("mighty", "stderr");
    assert!(!wrong.contains("Operation not permitted"), "nothing keeps who is privileged: {wrong}");
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_pod_has_no_more_processes_than_it_may(node: &impl Node) {
    if !Path::new("/sys/fs/cgroup/pids").exists() {
        return;
    }
    // A daemon's programs that start a container are among them.
    let mut agent = node.agent_with_pids(20).await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let script = "i=0; while [ $i -lt 25 ]; do sleep 1000 & i=$((i+1)); done; echo all";
    let exit = agent.run("pod", agent.spec("bomb", script)).await;
    assert_eq!((exit.code, agent.log("bomb", "stdout").as_str()), (2, ""));
    assert!(agent.log("bomb", "stderr").contains("can't fork"), "{}", agent.log("bomb", "stderr"));
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn containers_may_share_their_processes_with_their_pod(node: &impl Node) {
    if !has_cgroups() {
        return;
    }
    let mut agent = node.agent().await;
    let shared = PodSandbox { processes: Processes::Pod, ..sandbox("pod", RuntimeClass::Container) };
    agent.runtime.start_pod(shared).await.unwrap();
    let mut server = agent.spec("server", "");
    server.command = ["sleep", "1000"].map(str::to_owned).to_vec();
    agent.runtime.start_container("pod", server).await.unwrap();
    // What a container leaves behind ends with it here, too.
    assert_eq!(agent.run("pod", agent.spec("leaver", "sleep 1234 & exit 3")).await.code, 3);
    assert_eq!(agent.run("pod", agent.spec("peer", "echo $$; ps")).await.code, 0);
    let seen = agent.log("peer", "stdout");
    assert!(seen.contains("sleep 1000") && !seen.contains("sleep 1234"), "{seen}");
    assert!(!seen.starts_with("1\n"), "the first process is none of its own: {seen}");
    let command = ["ps"].map(str::to_owned).to_vec();
    let output = agent.runtime.exec("pod", "server", command, PATIENCE).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("sleep 1000"));

    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_container_may_see_the_processes_of_another_one(node: &impl Node) {
    if !has_cgroups() {
        return;
    }
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let sleeper = |agent: &Agent, name: &str, seconds: &str| {
        let mut spec = agent.spec(name, "");
        spec.command = ["sleep", seconds].map(str::to_owned).to_vec();
        spec
    };
    let beside = |spec: ContainerSpec| ContainerSpec { process_target: Some("app".to_owned()), ..spec };
    let alone = agent.runtime.start_container("pod", beside(agent.spec("early", "true"))).await.unwrap_err();
    assert_eq!(
        alone,
        RuntimeError::CreateFailed("unable to find target container app: it does not run".into())
    );
    agent.runtime.start_container("pod", sleeper(&agent, "app", "1000")).await.unwrap();
    agent.runtime.start_container("pod", sleeper(&agent, "other", "1001")).await.unwrap();

    let looker = beside(agent.spec("looker", "ps; echo $$; hostname; sleep 1234 & exit 3"));
    assert_eq!(agent.run("pod", looker).await.code, 3);
    let seen = agent.log("looker", "stdout");
    assert!(seen.contains("sleep 1000") && !seen.contains("sleep 1001"), "{seen}");
    assert!(!seen.lines().any(|line| line == "1"), "the first process is the target's: {seen}");
    // What it leaves behind ends with it, and not with its target.
    let ps = || ["ps"].map(str::to_owned).to_vec();
    let left = agent.runtime.exec("pod", "app", ps(), PATIENCE).await.unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("sleep 1234"));

    // Commands in it see the same; and it ends with its target, by the kernel.
    agent.runtime.start_container("pod", beside(sleeper(&agent, "guest", "1002"))).await.unwrap();
    let output = agent.runtime.exec("pod", "guest", ps(), PATIENCE).await.unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(seen.contains("sleep 1000") && seen.contains("sleep 1002"), "{seen}");
    agent.runtime.signal("pod", "app", 9).await.unwrap();
    let mut ended = Vec::new();
    for _ in 0..2 {
        let RuntimeEvent::Exited { container, exit, .. } = agent.event().await else {
            panic!("the pod lives")
        };
        ended.push((container, exit.code));
    }
    ended.sort();
    assert_eq!(ended, [("app".to_owned(), 137), ("guest".to_owned(), 137)]);
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn containers_may_see_the_machines_processes_and_ipc(node: &impl Node) {
    if !has_cgroups() {
        return;
    }
    let mut agent = node.agent().await;
    let (processes, host_ipc) = (Processes::Machine, true);
    let open = PodSandbox { processes, host_ipc, ..sandbox("pod", RuntimeClass::Container) };
    agent.runtime.start_pod(open).await.unwrap();
    let script = format!(
        "ls -d /proc/{}; ls -l /proc/self/ns/ipc; ls -l /proc/self/ns/pid; sleep 1235 & echo $!; exit 4",
        std::process::id()
    );
    assert_eq!(agent.run("pod", agent.spec("main", &script)).await.code, 4);
    let seen = agent.log("main", "stdout");
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    for wanted in [format!("/proc/{}", std::process::id()).into(), own("ipc"), own("pid")] {
        assert!(seen.contains(wanted.to_str().unwrap()), "{wanted:?} in {seen}");
    }
    let left = seen.lines().last().unwrap();
    // What is dead and not buried yet has no command line any more.
    let command_line = std::fs::read(format!("/proc/{left}/cmdline")).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(&command_line), "", "what it left behind ended with it");
    agent.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_removed_pod_leaves_nothing_but_its_log(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let started =
        agent.runtime.start_container("pod", agent.spec("main", "echo up; sleep 1000")).await.unwrap();
    wait_for_log(&agent, "main", "up\n").await;
    // Where the machine gives none, the runtime does without.
    assert!(!node.cgroups_of("pod").is_empty() || !has_cgroups());
    agent.runtime.remove_pod("pod").await.unwrap();
    assert_eq!(node.cgroups_of("pod"), Vec::<PathBuf>::new());
    assert!(!node.data_dir().join("pods/pod").exists());
    assert!(!knows(node) || !Path::new(&format!("/proc/{}", started.pid)).exists());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(node.dir().to_str().unwrap()), "{mounts}");
    assert_eq!(agent.log("main", "stdout"), "up\n");
    agent.runtime.remove_pod("pod").await.expect("once more is no error");
    assert!(agent.events.try_recv().is_err(), "a removal that was asked for is no news");
}

pub async fn a_restarted_agent_finds_its_pods_and_misses_no_exit(node: &impl Node) {
    let first = node.agent().await;
    first.start_pod("pod", RuntimeClass::Container).await;
    let waiting = "trap 'exit 5' TERM; echo up; while true; do sleep 0.01; done";
    let started = first.runtime.start_container("pod", first.spec("long", waiting)).await.unwrap();
    wait_for_log(&first, "long", "up\n").await;
    first.runtime.start_container("pod", first.spec("short", "sleep 0.2; exit 9")).await.unwrap();
    drop(first);
    // Ends while no agent is there to hear it.
    let mut second = node.agent().await;
    let pods = loop {
        let pods = node.agent().await.runtime.adopt().await.unwrap();
        let short = pods[0].containers.iter().find(|container| container.name == "short").unwrap();
        if matches!(short.phase, ContainerPhase::Exited(_)) {
            break second.runtime.adopt().await.unwrap();
        }
    };
    assert_eq!(pods.len(), 1);
    assert!(pods[0].alive);
    assert_eq!(pods[0].sandbox, sandbox("pod", RuntimeClass::Container));
    let [long, short] = &pods[0].containers[..] else { panic!("{pods:?}") };
    assert_eq!((long.name.as_str(), &long.started), ("long", &started));
    let ContainerPhase::Exited(exit) = &short.phase else { panic!("{short:?}") };
    assert_eq!(exit.code, 9);

    // The same start asked for again, as after a lost answer, finds the running one.
    let again = second.runtime.start_container("pod", second.spec("long", waiting)).await.unwrap();
    assert_eq!(again, started);
    second.runtime.signal("pod", "long", 15).await.unwrap();
    assert_eq!(second.exit_of("long").await.code, 5, "and the exit of short is not told twice");
    second.runtime.remove_pod("pod").await.unwrap();
}

pub async fn a_sub_path_is_all_that_a_container_sees_of_a_volume(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let volume = node.dir().join("volume");
    std::fs::create_dir_all(volume.join("part")).unwrap();
    std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(volume.join("part/file"), "inside\n").unwrap();
    std::fs::write(volume.join("other"), "not this\n").unwrap();
    symlink("part", volume.join("near")).unwrap();
    symlink("/", volume.join("far")).unwrap();
    symlink("../..", volume.join("up")).unwrap();
    let mount = |path: &str, target: &str| Mount {
        source: volume.clone(),
        target: target.into(),
        read_only: false,
        sub_path: Some(SubPath { path: path.into(), make: true }),
    };
    let mut spec =
        agent.spec("main", "ls /data; cat /data/file /one; echo more > /data/new; echo deep > /deep/x");
    spec.user = Some(1000);
    spec.mounts = vec![mount("near", "/data"), mount("part/file", "/one"), mount("made/here", "/deep")];
    std::fs::set_permissions(volume.join("part"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let exit = agent.run("pod", spec).await;
    assert_eq!(exit.code, 0, "{}", agent.log("main", "stderr"));
    assert_eq!(agent.log("main", "stdout"), "file\ninside\ninside\n");
    assert_eq!(std::fs::read_to_string(volume.join("part/new")).unwrap(), "more\n");
    assert_eq!(std::fs::read_to_string(volume.join("made/here/x")).unwrap(), "deep\n");

    for (path, container) in [("far/etc", "far"), ("up", "up"), ("../images", "dots")] {
        let mut spec = agent.spec(container, "ls /data");
        spec.mounts = vec![mount("part", "/fine"), mount(path, "/data")];
        let error = agent.runtime.start_container("pod", spec).await.unwrap_err().to_string();
        assert!(
            error.contains("failed to prepare subPath") && error.ends_with("it leads out of its volume"),
            "{error}"
        );
    }
    // What was refused may be tried again, as it is after its volume was put right.
    let mut spec = agent.spec("far", "ls /data");
    spec.mounts = vec![mount("part", "/fine"), mount("near", "/data")];
    assert_eq!(agent.run("pod", spec).await.code, 0, "{}", agent.log("far", "stderr"));
    // Nothing of the volume is left bound where a removal could follow it.
    let state = std::fs::read(node.data_dir().join("pods/pod/state.json")).unwrap_or_default();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    let binder = state["shim_pid"].as_u64().map_or("self".to_owned(), |pid| pid.to_string());
    let mounts = std::fs::read_to_string(format!("/proc/{binder}/mountinfo")).unwrap();
    let here = node.dir().to_str().unwrap();
    assert!(!mounts.lines().any(|line| line.contains("sub-paths") && line.contains(here)), "{mounts}");
    agent.runtime.remove_pod("pod").await.unwrap();
    assert_eq!(std::fs::read_to_string(volume.join("part/file")).unwrap(), "inside\n");
    assert_eq!(std::fs::read_to_string(volume.join("part/new")).unwrap(), "more\n");
}

/// A container that shares the volume swaps the folder for a link to the machine's root all the time.
pub async fn who_shares_a_volume_cannot_turn_a_sub_path_elsewhere(node: &impl Node) {
    let mut agent = node.agent().await;
    agent.start_pod("pod", RuntimeClass::Container).await;
    let volume = node.dir().join("volume");
    std::fs::create_dir_all(volume.join("real")).unwrap();
    std::fs::write(volume.join("real/mark"), "").unwrap();
    let whole = Mount { source: volume.clone(), target: "/data".into(), ..Mount::default() };
    let swap =
        "cd /data; ln -s /etc link; while true; do mv real a; mv link real; mv real link; mv a real; done";
    let mut spec =
        agent.spec("attacker", &swap.replace("ln ", "/bin/busybox ln ").replace("mv ", "/bin/busybox mv "));
    spec.mounts = vec![whole];
    agent.runtime.start_container("pod", spec).await.unwrap();
    let (mut seen, mut refused) = (0, 0);
    for round in 0..rounds(node) {
        let mut spec = agent.spec("victim", "ls /part");
        spec.attempt = round;
        let sub_path = Some(SubPath { path: "real".into(), make: false });
        spec.mounts =
            vec![Mount { source: volume.clone(), target: "/part".into(), read_only: true, sub_path }];
        std::fs::remove_file(agent.logs.join("victim/0.log")).ok();
        match agent.runtime.start_container("pod", spec).await {
            Ok(_) => {
                agent.exit_of("victim").await;
                assert_eq!(agent.log("victim", "stdout"), "mark\n", "round {round}");
                seen += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("failed to prepare subPath"), "{error}");
                refused += 1;
            }
        }
    }
    eprintln!("{seen} saw the folder, {refused} were refused");
    agent.runtime.remove_pod("pod").await.unwrap();
}

fn knows<N: Node>(_: &N) -> bool {
    N::KNOWS_PROCESSES
}

fn rounds<N: Node>(_: &N) -> u32 {
    N::ROUNDS
}

async fn wait_for_log(agent: &Agent, container: &str, text: &str) {
    let written = async {
        while agent.log(container, "stdout") != text {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the log is written");
}
