//! What containers cannot do although they try: system calls, sub-paths that lead elsewhere, groups and kernel settings.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kontiki_worker::runtime::{
    ContainerSpec, MemoryVolume, Mount, PodSandbox, RuntimeClass, RuntimeError, SubPath, SyscallFilter,
};
use kontiki_worker::seccomp;
use runtime_support::{Agent, PATIENCE, Worker, cannot_run_containers, sandbox};
use rustix::fs::SealFlags;

/// The fields of a process's `/proc/<pid>/status`.
fn fields(status: &str) -> BTreeMap<String, String> {
    let pairs = status.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// How a container with this spec sees itself.
async fn status(
    agent: &mut Agent,
    name: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> BTreeMap<String, String> {
    let mut spec = agent.spec(name, "");
    spec.command = ["cat", "/proc/self/status"].map(str::to_owned).to_vec();
    change(&mut spec);
    let exit = agent.run("pod", spec).await;
    assert_eq!(exit.code, 0, "{}", agent.log(name, "stderr"));
    fields(&agent.log(name, "stdout"))
}

fn default_filters() -> Vec<SyscallFilter> {
    const CAPABILITIES: [&str; 2] = ["CAP_CHOWN", "CAP_SYS_CHROOT"];
    seccomp::runtime_default(&CAPABILITIES.map(str::to_owned)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_privileged_may_do_all_that_the_worker_may() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let own = fields(&std::fs::read_to_string("/proc/self/status").unwrap());
    let seen = status(&mut agent, "all", |spec| spec.privileged = true).await;
    assert_eq!((&seen["CapBnd"], &seen["CapEff"]), (&own["CapBnd"], &own["CapBnd"]));
    let seen = status(&mut agent, "by-name", |spec| spec.add_capabilities = vec!["ALL".to_owned()]).await;
    assert_eq!(seen["CapBnd"], own["CapBnd"]);
    let mut spec = agent.spec("mounts", "mount -t tmpfs none /tmp && touch /tmp/there");
    spec.privileged = true;
    assert_eq!(agent.run("pod", spec).await.code, 0, "{}", agent.log("mounts", "stderr"));

    // A worker that is confined itself cannot give what it has not.
    const SYS_RESOURCE: u32 = 24;
    if u64::from_str_radix(&own["CapBnd"], 16).unwrap() & (1 << SYS_RESOURCE) == 0 {
        let mut spec = agent.spec("wants", "true");
        spec.add_capabilities = vec!["SYS_RESOURCE".to_owned()];
        let refused = agent.runtime.start_container("pod", spec).await.unwrap_err().to_string();
        assert!(refused.contains("no capability \"SYS_RESOURCE\" to give"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_bound_every_process_and_leave_privileges_as_they_are() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let bounds = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid", "Groups"];
    for (kind, user, drop, strict) in [
        ("root", 0, vec![], false),
        ("bare", 0, vec!["ALL"], false),
        ("user", 1000, vec![], false),
        ("strict", 0, vec![], true),
        ("both", 1000, vec!["ALL"], true),
    ] {
        let set = |spec: &mut ContainerSpec| {
            spec.user = Some(user);
            spec.drop_capabilities = drop.iter().map(|name| (*name).to_owned()).collect();
            spec.no_new_privileges = strict;
        };
        let free = status(&mut agent, &format!("{kind}-free"), set).await;
        let confined = status(&mut agent, &format!("{kind}-confined"), |spec| {
            set(spec);
            spec.syscall_filters = default_filters();
        })
        .await;
        assert_eq!((free["Seccomp"].as_str(), confined["Seccomp"].as_str()), ("0", "2"), "{kind}");
        for field in bounds {
            assert_eq!(free[field], confined[field], "{kind}: {field}");
        }
    }
    // Making a namespace of users needs no privilege, and opens the way to much of the kernel.
    let script = "/bin/busybox unshare -U true && echo made";
    let attempt = async |agent: &mut Agent, name: &str, filters| {
        let mut spec = agent.spec(name, script);
        (spec.user, spec.syscall_filters) = (Some(1000), filters);
        agent.run("pod", spec).await;
        agent.log(name, "stdout") + &agent.log(name, "stderr")
    };
    let free = attempt(&mut agent, "free", Vec::new()).await;
    let confined = attempt(&mut agent, "confined", default_filters()).await;
    assert_eq!(free, "made\n", "or this machine shows nothing");
    assert!(confined.contains("Operation not permitted"), "{confined}");

    // Commands beside the first process are bound as it is.
    let mut spec = agent.spec("main", "sleep 1000");
    spec.syscall_filters = default_filters();
    agent.runtime.start_container("pod", spec).await.unwrap();
    let exec = async |words: &[&str]| {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        agent.runtime.exec("pod", "main", command, PATIENCE).await.unwrap()
    };
    let seen = fields(&String::from_utf8_lossy(&exec(&["cat", "/proc/self/status"]).await.stdout));
    let first = fields(&String::from_utf8_lossy(&exec(&["cat", "/proc/1/status"]).await.stdout));
    for field in bounds.iter().chain(&["Seccomp", "Seccomp_filters"]) {
        assert_eq!(seen[*field], first[*field], "{field}");
    }
    assert_eq!(seen["Seccomp"], "2");
    assert_ne!(exec(&["/bin/busybox", "unshare", "-U", "true"]).await.code, 0);
    agent.runtime.remove_pod("pod").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_of_the_machine_is_kept_to_the_letter() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let profiles = tempfile::tempdir().unwrap();
    let load = |name: &str, text: &str| {
        std::fs::write(profiles.path().join(name), text).unwrap();
        seccomp::file(profiles.path(), name).and_then(|path| seccomp::localhost(&path))
    };
    let filters = load(
        "no-folders.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":30},
            {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let script = "/bin/busybox mkdir /tmp/x; kill -0 $$ && echo asked; /bin/busybox kill -USR1 1; echo $?";
    let mut spec = agent.spec("local", script);
    spec.syscall_filters = filters.unwrap();
    agent.run("pod", spec).await;
    let (said, wrong) = (agent.log("local", "stdout"), agent.log("local", "stderr"));
    assert!(wrong.contains("Read-only file system"), "{wrong}");
    assert_eq!(said, "asked\n159\n", "the last one was ended by SIGSYS");

    // A profile under which nothing runs lets nothing run.
    let mut spec = agent.spec("mute", "true");
    spec.syscall_filters = load("nothing.json", r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#).unwrap();
    assert_ne!(agent.run("pod", spec).await.code, 0);
    let mut spec = agent.spec("broken", "true");
    spec.syscall_filters = vec![SyscallFilter(vec![1, 2, 3])];
    let error = agent.runtime.start_container("pod", spec).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Invalid(cause) if cause.contains("no program")), "{error}");
    agent.runtime.remove_pod("pod").await.unwrap();
}

/// What the shim has open is the machine's: a way out by any of it is the class of CVE-2024-21626.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_by_what_the_shim_has_open() {
    const NUMBERS: std::ops::Range<u32> = 3..64;
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let out = |number: u32| format!("/proc/self/fd/{number}{}", "/..".repeat(16));
    let program = |number: u32| format!("{}/usr/bin/busybox", out(number));
    let volume = worker.dir.path().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let script = |name: &str, text: String| {
        std::fs::write(volume.join(name), text).unwrap();
        std::fs::set_permissions(volume.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("fine", "#!/bin/sh\necho fine\n".to_owned());
    NUMBERS.for_each(|number| script(&number.to_string(), format!("#!{}\n", program(number))));
    let secret = worker.dir.path().join("secret");
    std::fs::write(&secret, "of the machine").unwrap();
    let mounts = vec![Mount {
        source: volume.clone(),
        target: "/scripts".into(),
        read_only: true,
        ..Mount::default()
    }];

    // Its image's directory is one of those that the shim has open as long as it runs.
    let mut spec = agent.spec("main", "sleep 1000");
    spec.mounts = mounts.clone();
    agent.runtime.start_container("pod", spec).await.unwrap();
    let fine = agent.runtime.exec("pod", "main", vec!["/scripts/fine".to_owned()], PATIENCE).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&fine.stdout), "fine\n");
    for number in NUMBERS {
        for command in [program(number), format!("/scripts/{number}")] {
            let mut spec = agent.spec("out", "");
            (spec.attempt, spec.mounts) = (number, mounts.clone());
            spec.command = vec![command.clone()];
            let refused = agent.runtime.start_container("pod", spec).await;
            assert!(matches!(refused, Err(RuntimeError::StartFailed(_))), "{command}: {refused:?}");
            let refused = agent.runtime.exec("pod", "main", vec![command.clone()], PATIENCE).await;
            assert!(matches!(refused, Err(RuntimeError::StartFailed(_))), "{command}: {refused:?}");
        }
        let read = format!("cat /proc/self/cwd{}{}", "/..".repeat(16), secret.display());
        let mut spec = agent.spec("there", &read);
        (spec.attempt, spec.working_dir) = (number, Some(format!("/proc/self/fd/{number}")));
        // If it is a directory after all, it must be the container's.
        if agent.runtime.start_container("pod", spec).await.is_ok() {
            assert_ne!(agent.exit_of("there").await.code, 0, "{number}");
        }
    }
    agent.runtime.remove_pod("pod").await.unwrap();
}

/// A script whose first line names `/proc/self/exe` is run by the shim's program, in the container: the way of CVE-2019-5736 to the
/// machine's own file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_that_starts_containers_is_nowhere_to_be_written() {
    if cannot_run_containers() {
        return;
    }
    let shim = env!("CARGO_BIN_EXE_kontiki-shim");
    let before = std::fs::read(shim).unwrap();
    let worker = Worker::default();
    let agent = worker.runtime_with(vec![shim.to_owned()]);
    agent.start_pod("pod", RuntimeClass::Container).await;
    let scripts = worker.dir.path().join("scripts");
    std::fs::create_dir_all(&scripts).unwrap();
    // The word makes it wait for the end of its input.
    std::fs::write(scripts.join("shim"), "#!/proc/self/exe hold\n").unwrap();
    std::fs::set_permissions(scripts.join("shim"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = agent.spec("main", "");
    (spec.command, spec.stdin) = (vec!["/scripts/shim".to_owned()], true);
    let mount = |source: &Path, target: &str| Mount {
        source: source.to_owned(),
        target: target.into(),
        read_only: true,
        ..Mount::default()
    };
    spec.mounts = vec![mount(&scripts, "/scripts")];
    // What the program is linked to, as an image that means harm would bring it along.
    let libraries =
        ["/lib", "/lib64"].into_iter().filter_map(|dir| Some((dir, std::fs::canonicalize(dir).ok()?)));
    spec.mounts.extend(libraries.map(|(target, source)| mount(&source, target)));
    let started = agent.runtime.start_container("pod", spec).await.unwrap();

    let command = ["sh", "-c", "echo harm >> /proc/1/exe"].map(str::to_owned).to_vec();
    let refused = agent.runtime.exec("pod", "main", command, PATIENCE).await.unwrap();
    assert_ne!(refused.code, 0);
    let state = std::fs::read(worker.dir.path().join("pods/pod/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let open = |pid: String| File::open(format!("/proc/{pid}/exe")).unwrap();
    let [inside, outside] = [started.pid.to_string(), state["shim_pid"].to_string()].map(open);
    assert_eq!(
        inside.metadata().unwrap().ino(),
        outside.metadata().unwrap().ino(),
        "it is the shim's program"
    );
    let name = std::fs::read_to_string(format!("/proc/{}/comm", state["shim_pid"])).unwrap();
    assert_eq!(name, "kontiki-shim\n");

    // While it runs, the kernel refuses anyway. Who keeps it open until nobody runs it must not get further.
    agent.runtime.remove_pod("pod").await.unwrap();
    // Asked first, so that without the fix this test does not harm the build's own file.
    let seals = rustix::fs::fcntl_get_seals(&inside).unwrap();
    assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
    let kept = format!("/proc/self/fd/{}", inside.as_raw_fd());
    let written = OpenOptions::new().write(true).open(kept).and_then(|mut file| file.write(b"harm"));
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert!(std::fs::read(shim).unwrap() == before, "the file is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_kernel_settings_are_the_pods() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    let sysctls = vec![("net.ipv4.ip_local_port_range".to_owned(), "40000\t40100".to_owned())];
    agent.runtime.start_pod(PodSandbox { sysctls, ..sandbox("pod", RuntimeClass::Container) }).await.unwrap();
    let volume = worker.dir.path().join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    std::os::unix::fs::chown(&volume, None, Some(4711)).unwrap();
    std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let script = "id -G; echo x > /data/file; cat /proc/sys/net/ipv4/ip_local_port_range";
    let mut spec = agent.spec("main", script);
    (spec.user, spec.groups) = (Some(1000), vec![50, 4711]);
    spec.mounts = vec![Mount { source: volume.clone(), target: "/data".into(), ..Mount::default() }];
    let exit = agent.run("pod", spec.clone()).await;
    assert_eq!(exit.code, 0, "{}", agent.log("main", "stderr"));
    assert_eq!(agent.log("main", "stdout"), "1000 50 2000 4711\n40000\t40100\n");
    let made = std::fs::metadata(volume.join("file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 4711));
    spec.name = "strict".to_owned();
    spec.log_path = agent.logs.join("strict/0.log");
    spec.only_these_groups = true;
    agent.run("pod", spec).await;
    assert!(agent.log("strict", "stdout").starts_with("1000 50 4711\n"));
    agent.runtime.remove_pod("pod").await.unwrap();

    let sysctls = vec![("kernel/../../etc/passwd".to_owned(), "1".to_owned())];
    let refused =
        agent.runtime.start_pod(PodSandbox { sysctls, ..sandbox("bad", RuntimeClass::Container) }).await;
    assert!(refused.unwrap_err().to_string().contains("no name of a sysctl"));
    agent.runtime.remove_pod("bad").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_in_memory_is_bounded_and_goes_with_the_pod() {
    if cannot_run_containers() {
        return;
    }
    let worker = Worker::default();
    let mut agent = worker.runtime();
    let path = worker.dir.path().join("volume");
    std::fs::create_dir_all(&path).unwrap();
    let volume = MemoryVolume { path: path.clone(), bytes: 1 << 20, mode: 0o2777, group: Some(4711) };
    let memory_volumes = vec![volume];
    agent
        .runtime
        .start_pod(PodSandbox { memory_volumes, ..sandbox("pod", RuntimeClass::Container) })
        .await
        .unwrap();
    let whole = Mount { source: path.clone(), target: "/data".into(), ..Mount::default() };
    let script = "echo kept > /data/file; dd if=/dev/zero of=/data/big bs=1024 count=4096; ls -ln /data/file; cat /proc/mounts";
    let mut spec = agent.spec("first", script);
    (spec.user, spec.mounts) = (Some(1000), vec![whole]);
    agent.run("pod", spec).await;
    let said = agent.log("first", "stdout");
    assert!(
        said.lines().any(|line| line.starts_with("tmpfs /data tmpfs") && line.contains("size=1024k")),
        "{said}"
    );
    assert!(said.contains("1000     4711"), "what is made in it is the group's: {said}");
    assert!(agent.log("first", "stderr").contains("No space left on device"));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing of it is on the machine's disk");

    // Another container of the pod sees it, or a part of it.
    let sub_path = Some(SubPath { path: "file".into(), make: false });
    let mut spec = agent.spec("second", "cat /part");
    spec.mounts = vec![Mount { source: path.clone(), target: "/part".into(), sub_path, read_only: true }];
    agent.run("pod", spec).await;
    assert_eq!(agent.log("second", "stdout"), "kept\n");
    agent.runtime.remove_pod("pod").await.unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()), "nothing is left mounted on the machine");
}
