//! A container as a daemon is asked for it.
//!
//! Source: the kubelet's pkg/kubelet/kuberuntime, by which daemons are made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kontiki_proto::cri;
use kontiki_proto::cri::security_profile::ProfileType;
use kontiki_proto::cri::{NamespaceMode, SupplementalGroupsPolicy};

use super::super::{ContainerSpec, Mount, PodSandbox, RuntimeError, SeccompProfile};
use super::images::Held;
use super::{labels, sandbox};
use crate::shim::oci::{MASKED, READ_ONLY};

const CPU_PERIOD_US: i64 = 100_000;
/// Less the kernel does not take.
const CPU_QUOTA_MIN_US: i64 = 1000;
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_MAX: u64 = 262_144;
const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";
const HOSTS: &str = "/etc/hosts";
const RESOLVER: &str = "/etc/resolv.conf";

/// What a container is made for.
pub(super) struct Place<'a> {
    pub(super) pod: &'a PodSandbox,
    pub(super) pod_dir: &'a Path,
    /// Where the pod's logs are.
    pub(super) logs: &'a Path,
    /// The labels of the pod.
    pub(super) labels: &'a HashMap<String, String>,
    /// The id of the container whose processes it is to see.
    pub(super) target: Option<String>,
    /// The daemon can leave away the groups of the image's making.
    pub(super) strict_groups: bool,
    /// What of the worker it sees, sub-paths found.
    pub(super) volumes: &'a [Mount],
}

/// The folder of one attempt of a container. Beside it are only those of the one before and of what failed meanwhile.
pub(super) fn folder(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    sandbox::folder(pod_dir).join("containers").join(container).join(attempt.to_string())
}

/// The file behind the termination message path.
pub(super) fn message_file(folder: &Path) -> PathBuf {
    folder.join("termination-log")
}

/// The configuration of a container, or why there is none.
pub(super) fn config(
    spec: &ContainerSpec,
    image: &Held,
    place: &Place<'_>,
) -> Result<cri::ContainerConfig, RuntimeError> {
    let log_path = spec.log_path.strip_prefix(place.logs).map_err(|_| {
        RuntimeError::Invalid(format!(
            "the log {} is not below {}",
            spec.log_path.display(),
            place.logs.display()
        ))
    })?;
    if spec.pids_limit.is_some() {
        return Err(RuntimeError::Invalid(
            "this worker's runtime bounds the processes of pods, not of containers".to_owned(),
        ));
    }
    let env = |(key, value): &(String, String)| cri::KeyValue { key: key.clone(), value: value.clone() };
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: spec.name.clone(), attempt: spec.attempt }),
        image: Some(cri::ImageSpec { image: image.id.clone(), ..Default::default() }),
        command: spec.command.clone(),
        args: spec.args.clone(),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: spec.env.iter().map(env).collect(),
        mounts: mounts(spec, place),
        labels: labels::container(place.labels, &spec.name),
        annotations: labels::annotations(spec),
        log_path: log_path.to_string_lossy().into_owned(),
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        tty: spec.tty,
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources(spec)),
            security_context: Some(security(spec, image, place)?),
        }),
    })
}

fn mounts(spec: &ContainerSpec, place: &Place<'_>) -> Vec<cri::Mount> {
    let mount = |source: &Path, target: &Path, readonly| cri::Mount {
        container_path: target.to_string_lossy().into_owned(),
        host_path: source.to_string_lossy().into_owned(),
        readonly,
    };
    let mut mounts: Vec<cri::Mount> =
        place.volumes.iter().map(|it| mount(&it.source, &it.target, it.read_only)).collect();
    let message = match spec.termination_message_path.as_str() {
        "" => DEFAULT_MESSAGE_PATH,
        path => path,
    };
    let folder = folder(place.pod_dir, &spec.name, spec.attempt);
    for (source, target, read_only) in [
        (sandbox::hosts_file(place.pod_dir), HOSTS, spec.read_only_root),
        (sandbox::resolver_file(place.pod_dir), RESOLVER, spec.read_only_root),
        (message_file(&folder), message, false),
    ] {
        // What the pod mounts there itself goes first.
        if !place.volumes.iter().any(|volume| volume.target == Path::new(target)) {
            mounts.push(mount(&source, Path::new(target), read_only));
        }
    }
    mounts
}

fn resources(spec: &ContainerSpec) -> cri::LinuxContainerResources {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let quota = |milli: u64| signed(milli).saturating_mul(CPU_PERIOD_US) / 1000;
    let shares = spec.cpu_milli_request.map_or(CPU_SHARES_MIN, |milli| milli.saturating_mul(1024) / 1000);
    cri::LinuxContainerResources {
        cpu_period: CPU_PERIOD_US,
        cpu_quota: spec.cpu_milli_limit.map_or(0, |milli| quota(milli).max(CPU_QUOTA_MIN_US)),
        cpu_shares: signed(shares.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)),
        memory_limit_in_bytes: spec.memory_limit_bytes.map_or(0, signed),
        oom_score_adj: i64::from(spec.oom_score_adj.unwrap_or(0)),
    }
}

fn security(
    spec: &ContainerSpec,
    image: &Held,
    place: &Place<'_>,
) -> Result<cri::LinuxContainerSecurityContext, RuntimeError> {
    let number = |id: u32| cri::Int64Value { value: i64::from(id) };
    // A daemon takes a group only beside a user.
    let of_image = || image.uid.map(|value| cri::Int64Value { value });
    let run_as_user = spec.user.map(number).or_else(of_image);
    let run_as_username = if run_as_user.is_some() { String::new() } else { image.username.clone() };
    let unnamed = run_as_user.is_none() && run_as_username.is_empty();
    let run_as_user = run_as_user.or_else(|| (unnamed && spec.group.is_some()).then(|| number(0)));
    if spec.only_these_groups && !place.strict_groups {
        return Err(RuntimeError::Invalid(
            "SupplementalGroupsPolicy=Strict is not supported in this node".to_owned(),
        ));
    }
    let policy = match spec.only_these_groups {
        true => SupplementalGroupsPolicy::Strict,
        false => SupplementalGroupsPolicy::Merge,
    };
    let mut namespaces = sandbox::namespaces(place.pod);
    if let Some(target) = &place.target {
        namespaces.pid = NamespaceMode::Target.into();
        namespaces.target_id.clone_from(target);
    }
    let (profile_type, localhost_ref) = match &spec.seccomp {
        SeccompProfile::Unconfined => (ProfileType::Unconfined, String::new()),
        SeccompProfile::RuntimeDefault => (ProfileType::RuntimeDefault, String::new()),
        SeccompProfile::Localhost(path) => (ProfileType::Localhost, path.to_string_lossy().into_owned()),
    };
    let hidden = |paths: &[&str]| match spec.privileged {
        true => Vec::new(),
        false => paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let plain = |names: &[String]| -> Vec<String> {
        names.iter().map(|name| name.trim_start_matches("CAP_").to_uppercase()).collect()
    };
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: plain(&spec.add_capabilities),
            drop_capabilities: plain(&spec.drop_capabilities),
        }),
        privileged: spec.privileged,
        namespace_options: Some(namespaces),
        run_as_user,
        run_as_username,
        run_as_group: spec.group.map(number),
        readonly_rootfs: spec.read_only_root,
        supplemental_groups: spec.groups.iter().copied().map(i64::from).collect(),
        supplemental_groups_policy: policy.into(),
        no_new_privs: spec.no_new_privileges,
        masked_paths: hidden(MASKED),
        readonly_paths: hidden(READ_ONLY),
        seccomp: Some(cri::SecurityProfile { profile_type: profile_type.into(), localhost_ref }),
    })
}

/// Makes the folder of an attempt, with an empty message that any user may write, in the place of what is left of another try; those
/// of attempts before the last go. Answers where sub-paths may be bound. Blocking.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(of_container) = folder.parent() {
        clear(of_container, folder)?;
    }
    let message = message_file(folder);
    let told = |source: std::io::Error| format!("make {}: {source}", message.display());
    std::fs::create_dir_all(folder).map_err(told)?;
    std::fs::write(&message, b"").map_err(told)?;
    std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666)).map_err(told)?;
    Ok(folder.join("sub-paths"))
}

/// Removes the folders of all attempts but the one before.
fn clear(of_container: &Path, folder: &Path) -> Result<(), String> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let before = number(folder).and_then(|attempt| attempt.checked_sub(1));
    for entry in std::fs::read_dir(of_container).into_iter().flatten().flatten() {
        let path = entry.path();
        if before.is_some() && number(&path) == before {
            continue;
        }
        // An agent that was killed may have left parts of volumes bound there.
        sandbox::unmount_all(&path)?;
        crate::remove::remove_dir_all(&path)
            .map_err(|source| format!("remove {}: {source}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn made(spec: ContainerSpec, image: Held) -> Result<cri::ContainerConfig, RuntimeError> {
        let pod = PodSandbox::default();
        let place = Place {
            pod: &pod,
            pod_dir: Path::new("/data/pods/u"),
            logs: Path::new("/data/logs/p"),
            labels: &HashMap::new(),
            target: None,
            strict_groups: false,
            volumes: &spec.mounts.clone(),
        };
        let log_path = "/data/logs/p/web/0.log".into();
        config(&ContainerSpec { name: "web".into(), log_path, ..spec }, &image, &place)
    }

    fn secured(spec: ContainerSpec, image: Held) -> cri::LinuxContainerSecurityContext {
        made(spec, image).unwrap().linux.unwrap().security_context.unwrap()
    }

    #[test]
    fn limits_are_those_of_the_kubelet() {
        let of = |spec: ContainerSpec| made(spec, Held::default()).unwrap().linux.unwrap().resources.unwrap();
        let none = of(ContainerSpec::default());
        assert_eq!((none.cpu_quota, none.cpu_shares, none.memory_limit_in_bytes), (0, 2, 0));
        let some = of(ContainerSpec {
            cpu_milli_limit: Some(1500),
            cpu_milli_request: Some(250),
            memory_limit_bytes: Some(64 << 20),
            oom_score_adj: Some(-997),
            ..ContainerSpec::default()
        });
        assert_eq!((some.cpu_quota, some.cpu_period, some.cpu_shares), (150_000, 100_000, 256));
        assert_eq!((some.memory_limit_in_bytes, some.oom_score_adj), (64 << 20, -997));
        assert_eq!(
            of(ContainerSpec { cpu_milli_limit: Some(1), ..ContainerSpec::default() }).cpu_quota,
            1000
        );
    }

    #[test]
    fn who_it_runs_as_is_the_pods_word_and_then_the_images() {
        let of = |user, group, uid, username: &str| {
            let image = Held { uid, username: username.to_owned(), ..Held::default() };
            let made = secured(ContainerSpec { user, group, ..ContainerSpec::default() }, image);
            let number = |id: Option<cri::Int64Value>| id.map(|id| id.value);
            (number(made.run_as_user), made.run_as_username, number(made.run_as_group))
        };
        assert_eq!(of(None, None, None, ""), (None, String::new(), None));
        assert_eq!(of(Some(7), Some(8), Some(5), ""), (Some(7), String::new(), Some(8)));
        assert_eq!(of(None, None, Some(5), ""), (Some(5), String::new(), None));
        assert_eq!(of(None, None, None, "web"), (None, "web".to_owned(), None));
        assert_eq!(of(Some(7), None, None, "web"), (Some(7), String::new(), None));
        assert_eq!(of(None, Some(8), None, ""), (Some(0), String::new(), Some(8)), "that of root");
        assert_eq!(of(None, Some(8), None, "web"), (None, "web".to_owned(), Some(8)));
    }

    #[test]
    fn what_a_daemon_cannot_do_is_refused() {
        let strict = ContainerSpec { only_these_groups: true, ..ContainerSpec::default() };
        let told = made(strict, Held::default()).unwrap_err();
        assert!(told.to_string().contains("SupplementalGroupsPolicy=Strict"), "{told}");
        let bounded = ContainerSpec { pids_limit: Some(1), ..ContainerSpec::default() };
        assert!(made(bounded, Held::default()).is_err());
    }

    #[test]
    fn what_a_pod_mounts_itself_goes_before_what_it_is_given() {
        let own = Mount { source: "/v".into(), target: HOSTS.into(), ..Mount::default() };
        let spec = ContainerSpec { mounts: vec![own], ..ContainerSpec::default() };
        let mounts = made(spec, Held::default()).unwrap().mounts;
        let seen: Vec<(&str, &str)> =
            mounts.iter().map(|it| (it.container_path.as_str(), it.host_path.as_str())).collect();
        let given = [
            ("/etc/hosts", "/v"),
            ("/etc/resolv.conf", "/data/pods/u/cri/resolv.conf"),
            ("/dev/termination-log", "/data/pods/u/cri/containers/web/0/termination-log"),
        ];
        assert_eq!(seen, given);
    }

    #[test]
    fn what_is_left_of_another_try_and_of_old_attempts_goes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |attempt| folder(dir.path(), "web", attempt);
        for attempt in 0..4 {
            prepare(&of(attempt)).unwrap();
            std::fs::write(message_file(&of(attempt)), "words").unwrap();
        }
        assert!(!of(1).exists() && of(2).exists());
        // A try that came as far as that.
        std::fs::create_dir_all(of(3).join("sub-paths/0")).unwrap();
        let sub_paths = prepare(&of(3)).unwrap();
        assert_eq!(std::fs::read_to_string(message_file(&of(2))).unwrap(), "words");
        assert_eq!(std::fs::read_to_string(message_file(&of(3))).unwrap(), "");
        assert!(!sub_paths.exists());
    }

    #[test]
    fn who_is_privileged_sees_all_of_proc() {
        let hidden = |privileged| {
            let made = secured(ContainerSpec { privileged, ..ContainerSpec::default() }, Held::default());
            (made.masked_paths.len(), made.readonly_paths.len())
        };
        assert_eq!(hidden(true), (0, 0));
        assert_eq!(hidden(false), (MASKED.len(), READ_ONLY.len()));
    }
}
