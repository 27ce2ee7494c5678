//! What a pod's security contexts mean on this worker; and what of them it cannot give, which is told, never passed over.

use std::path::Path;

use super::document::{Container, Pod, Profile};
use crate::runtime::capabilities::capabilities;
use crate::runtime::{ContainerSpec, SeccompProfile, SyscallFilter};
use crate::seccomp;

/// Kernel settings that a pod may have: they are of its own namespaces, and bounded there. As in Kubernetes.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.conf.all.src_valid_mark",
    "net.ipv4.conf.default.src_valid_mark",
];
/// There it is, where SELinux is in force.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// The kernel settings of the pod's own namespaces, by their names with dots.
pub(super) fn sysctls(pod: &Pod) -> Vec<(String, String)> {
    let asked = pod.spec.security_context.sysctls.iter();
    let dotted = asked.map(|it| (it.name.replace('/', "."), it.value.clone()));
    dotted.filter(|(name, _)| is_safe(pod, name)).collect()
}

/// It is one of those, and not the machine's because the pod shares the machine's namespace.
fn is_safe(pod: &Pod, name: &str) -> bool {
    let shared = match name.split('.').next() {
        Some("net") => pod.spec.host_network,
        _ => pod.spec.host_ipc,
    };
    SAFE_SYSCTLS.contains(&name) && !shared
}

/// The groups that its processes have beside those of their user.
pub(super) fn groups(pod: &Pod) -> Vec<u32> {
    let context = &pod.spec.security_context;
    context.supplemental_groups.iter().copied().chain(context.fs_group).collect()
}

/// Its processes have no groups but those that the pod names.
pub(super) fn only_these_groups(pod: &Pod) -> bool {
    pod.spec.security_context.supplemental_groups_policy == "Strict"
}

/// What decides about a container's system calls. `by_default` confines those that do not say what they want.
pub(super) fn profile_of(
    pod: &Pod,
    container: &Container,
    profiles: &Path,
    by_default: bool,
) -> Result<SeccompProfile, String> {
    if container.security_context.privileged {
        return Ok(SeccompProfile::Unconfined);
    }
    match profile(pod, container, |context| &context.seccomp_profile) {
        Some(Profile { kind, .. }) if kind == "RuntimeDefault" => Ok(SeccompProfile::RuntimeDefault),
        Some(Profile { kind, localhost_profile }) if kind == "Localhost" => {
            seccomp::file(profiles, localhost_profile).map(SeccompProfile::Localhost)
        }
        Some(Profile { kind, .. }) if kind == "Unconfined" => Ok(SeccompProfile::Unconfined),
        Some(Profile { kind, .. }) => {
            Err(format!("seccomp profile type \"{kind}\" is not supported on this worker"))
        }
        None if by_default => Ok(SeccompProfile::RuntimeDefault),
        None => Ok(SeccompProfile::Unconfined),
    }
}

/// The filters that a container's profile becomes.
pub(super) fn filters(spec: &ContainerSpec) -> Result<Vec<SyscallFilter>, String> {
    match &spec.seccomp {
        SeccompProfile::Unconfined => Ok(Vec::new()),
        SeccompProfile::RuntimeDefault => {
            capabilities(spec).and_then(|capabilities| seccomp::runtime_default(&capabilities))
        }
        SeccompProfile::Localhost(path) => seccomp::localhost(path),
    }
}

fn profile<'a>(
    pod: &'a Pod,
    container: &'a Container,
    of: impl Fn(&'a super::document::SecurityContext) -> &'a Option<Profile>,
) -> Option<&'a Profile> {
    of(&container.security_context).as_ref().or(of(&pod.spec.security_context).as_ref())
}

/// Why this worker cannot run a container as it is to be, if so. Where Kubernetes' node agent refuses the same, in its words.
pub(super) fn refusal(pod: &Pod, container: &Container) -> Option<String> {
    let (own, pods) = (&container.security_context, &pod.spec.security_context);
    if !matches!(pod.spec.os.name.as_str(), "" | "linux") {
        return Some("Failed to admit pod as the OS field doesn't match node OS".to_owned());
    }
    if own.windows_options.host_process || pods.windows_options.host_process {
        return Some("hostProcess containers need a node that runs Windows".to_owned());
    }
    if pod.spec.host_users == Some(false) {
        return Some("hostUsers: false: user namespaces are not supported on this worker".to_owned());
    }
    if !matches!(own.proc_mount.as_str(), "" | "Default") {
        return Some(format!("procMount {} is not supported on this worker", own.proc_mount));
    }
    let armor = profile(pod, container, |context| &context.app_armor_profile);
    if armor.is_some_and(|profile| profile.kind != "Unconfined") {
        return Some("Cannot enforce AppArmor: AppArmor is not supported on this worker".to_owned());
    }
    let selinux = own.se_linux_options.is_some() || pods.se_linux_options.is_some();
    // Where SELinux is not in force its labels mean nothing, as in Kubernetes.
    if selinux && Path::new(SELINUX).exists() {
        return Some(
            "seLinuxOptions are not supported on this worker, and SELinux is in force on its machine"
                .to_owned(),
        );
    }
    let mut names = pods.sysctls.iter().map(|it| it.name.replace('/', "."));
    names.find(|name| !is_safe(pod, name)).map(|name| format!("forbidden sysctl: \"{name}\" not allowlisted"))
}

/// What of a container's wishes means nothing for a plain process of the machine.
pub(super) fn without_effect(pod: &Pod, container: &Container) -> Vec<&'static str> {
    let (own, pods) = (&container.security_context, &pod.spec.security_context);
    let confined = profile(pod, container, |context| &context.seccomp_profile);
    [
        ("runAsUser", own.run_as_user.or(pods.run_as_user).is_some()),
        ("runAsGroup", own.run_as_group.or(pods.run_as_group).is_some()),
        ("supplementalGroups", !pods.supplemental_groups.is_empty()),
        ("fsGroup", pods.fs_group.is_some()),
        ("seccompProfile", confined.is_some_and(|profile| profile.kind != "Unconfined")),
        ("capabilities", !own.capabilities.add.is_empty() || !own.capabilities.drop.is_empty()),
        ("allowPrivilegeEscalation", own.allow_privilege_escalation == Some(false)),
        ("readOnlyRootFilesystem", own.read_only_root_filesystem),
        ("sysctls", !pods.sysctls.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, asked)| asked.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(spec: &str, pods: &str, own: &str) -> Pod {
        let json = format!(
            r#"{{"spec":{{{spec}"securityContext":{{{pods}}},"containers":[{{"name":"c","securityContext":{{{own}}}}}]}}}}"#
        );
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn refused(spec: &str, pods: &str, own: &str) -> Option<String> {
        let pod = pod(spec, pods, own);
        refusal(&pod, &pod.spec.containers[0])
    }

    #[test]
    fn what_cannot_be_given_is_told() {
        for (spec, pods, own, told) in [
            (r#""os":{"name":"windows"},"#, "", "", "OS field doesn't match"),
            (r#""hostUsers":false,"#, "", "", "user namespaces"),
            ("", "", r#""windowsOptions":{"hostProcess":true}"#, "Windows"),
            ("", "", r#""procMount":"Unmasked""#, "procMount Unmasked"),
            ("", r#""appArmorProfile":{"type":"RuntimeDefault"}"#, "", "AppArmor"),
            (
                "",
                r#""sysctls":[{"name":"kernel/msgmax","value":"1"}]"#,
                "",
                "\"kernel.msgmax\" not allowlisted",
            ),
        ] {
            let refusal = refused(spec, pods, own).unwrap();
            assert!(refusal.contains(told), "{refusal}");
        }
        // The API refuses these, but what is stored may be older: they would be the machine's.
        let net = r#""sysctls":[{"name":"net.ipv4.tcp_syncookies","value":"0"}]"#;
        assert!(
            refused(r#""hostNetwork":true,"#, net, "").is_some()
                && refused(r#""hostIPC":true,"#, net, "").is_none()
        );
        assert!(sysctls(&pod(r#""hostNetwork":true,"#, net, "")).is_empty());
        let own = r#""procMount":"Default","appArmorProfile":{"type":"Unconfined"},"windowsOptions":{"runAsUserName":"x"}"#;
        let pods = r#""appArmorProfile":{"type":"RuntimeDefault"},"sysctls":[{"name":"net/ipv4/tcp_rmem","value":"1 2 3"}]"#;
        assert_eq!(refused(r#""os":{"name":"linux"},"hostUsers":true,"#, pods, own), None);
        assert_eq!(sysctls(&pod("", pods, "")), [("net.ipv4.tcp_rmem".to_owned(), "1 2 3".to_owned())]);
    }

    #[test]
    fn the_containers_profile_counts_more_than_the_pods() {
        let profiles = tempfile::tempdir().unwrap();
        std::fs::write(profiles.path().join("a.json"), r#"{"defaultAction":"SCMP_ACT_LOG"}"#).unwrap();
        let of = |pods: &str, own: &str, privileged: bool, by_default: bool| {
            let seccomp = |text: &str| {
                if text.is_empty() { String::new() } else { format!(r#""seccompProfile":{text}"#) }
            };
            let mut pod = pod("", &seccomp(pods), &seccomp(own));
            pod.spec.containers[0].security_context.privileged = privileged;
            let seccomp = profile_of(&pod, &pod.spec.containers[0], profiles.path(), by_default)?;
            filters(&ContainerSpec { privileged, seccomp, ..ContainerSpec::default() })
                .map(|filters| filters.len())
        };
        const DEFAULT: &str = r#"{"type":"RuntimeDefault"}"#;
        const NONE: &str = r#"{"type":"Unconfined"}"#;
        const LOCAL: &str = r#"{"type":"Localhost","localhostProfile":"a.json"}"#;
        assert_eq!(of("", "", false, false), Ok(0), "as in Kubernetes");
        assert_eq!(of("", "", false, true), Ok(2));
        assert_eq!(of("", "", true, true), Ok(0), "who is privileged is not confined");
        assert_eq!(of(DEFAULT, "", false, false), Ok(2));
        assert_eq!(of(DEFAULT, NONE, false, true), Ok(0));
        assert_eq!(of(NONE, LOCAL, false, true), Ok(1));
        for missing in ["b.json", "../a.json", "/etc/passwd", ""] {
            let local = format!(r#"{{"type":"Localhost","localhostProfile":"{missing}"}}"#);
            assert!(of("", &local, false, false).unwrap_err().contains("seccomp profile"), "{missing}");
        }
        assert!(of(r#"{"type":"Novel"}"#, "", false, false).unwrap_err().contains("Novel"));
    }

    #[test]
    fn plain_processes_are_told_what_means_nothing_to_them() {
        let all = |pods: &str, own: &str| {
            let pod = pod("", pods, own);
            without_effect(&pod, &pod.spec.containers[0]).join(" ")
        };
        assert_eq!(all("", ""), "");
        assert_eq!(
            all(
                r#""fsGroup":1,"seccompProfile":{"type":"RuntimeDefault"}"#,
                r#""capabilities":{"drop":["ALL"]}"#
            ),
            "fsGroup seccompProfile capabilities"
        );
    }

    #[test]
    fn the_pods_groups_are_all_that_it_names() {
        let pod =
            pod("", r#""supplementalGroups":[5,6],"fsGroup":7,"supplementalGroupsPolicy":"Strict""#, "");
        assert_eq!((groups(&pod), only_these_groups(&pod)), (vec![5, 6, 7], true));
    }
}
