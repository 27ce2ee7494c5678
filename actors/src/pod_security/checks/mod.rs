//! The checks of the Pod Security Standards, <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, each as of the
//! versions of Kubernetes in which it means something else. What they say is what Kubernetes' own checks say. One is not of Kubernetes:
//! `hostRuntimeClass`, since the runtime class `host` exists here only.

mod app_armor;
mod capabilities;
mod escalation;
mod host;
mod privileged;
mod proc_mount;
mod root;
mod se_linux;
mod seccomp;
mod sysctls;
#[cfg(test)]
mod vectors;
mod volumes;
mod windows;

use std::collections::BTreeSet;

use super::{
    pod::Pod,
    standard::{Level, Standard, Version},
};

/// What a pod has that a standard does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In short: `host namespaces`.
    pub reason: String,
    /// What exactly: `hostPID=true`.
    pub detail: String,
}

impl Violation {
    fn new(reason: &str, detail: String) -> Option<Violation> {
        Some(Violation { reason: reason.to_owned(), detail })
    }
}

type Test = fn(Pod<'_>) -> Option<Violation>;

struct Check {
    /// As Kubernetes names it. What is violated is told in the order of the names, baseline first.
    name: &'static str,
    level: Level,
    /// What it is from a minor version on, the oldest first.
    versions: &'static [(u32, Test)],
    /// The check of baseline that it has in it: where it applies, that one does not.
    covers: &'static str,
}

const fn baseline(name: &'static str, versions: &'static [(u32, Test)]) -> Check {
    Check { name, level: Level::Baseline, versions, covers: "" }
}

const fn restricted(name: &'static str, versions: &'static [(u32, Test)], covers: &'static str) -> Check {
    Check { name, level: Level::Restricted, versions, covers }
}

const CHECKS: [Check; 18] = [
    baseline("appArmorProfile", &[(0, app_armor::profile)]),
    baseline("capabilities_baseline", &[(0, capabilities::baseline)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, volumes::host_path)]),
    baseline("hostPorts", &[(0, host::ports)]),
    baseline("hostRuntimeClass", &[(0, host::runtime_class)]),
    baseline("privileged", &[(0, privileged::privileged)]),
    baseline("procMount", &[(0, proc_mount::proc_mount)]),
    baseline("seLinuxOptions", &[(0, se_linux::options), (31, se_linux::options_1_31)]),
    baseline("seccompProfile_baseline", &[(0, seccomp::annotations), (19, seccomp::baseline)]),
    baseline(
        "sysctls",
        &[(0, sysctls::of_1_0), (27, sysctls::of_1_27), (29, sysctls::of_1_29), (32, sysctls::of_1_32)],
    ),
    baseline("windowsHostProcess", &[(0, windows::host_process)]),
    restricted("allowPrivilegeEscalation", &[(8, escalation::of_1_8), (25, escalation::of_1_25)], ""),
    restricted(
        "capabilities_restricted",
        &[(22, capabilities::restricted), (25, capabilities::restricted_1_25)],
        "capabilities_baseline",
    ),
    restricted("restrictedVolumes", &[(0, volumes::restricted)], "hostPathVolumes"),
    restricted("runAsNonRoot", &[(0, root::non_root)], ""),
    restricted("runAsUser", &[(23, root::user)], ""),
    restricted(
        "seccompProfile_restricted",
        &[(19, seccomp::restricted), (25, seccomp::restricted_1_25)],
        "seccompProfile_baseline",
    ),
];

impl Check {
    /// What it is in a standard; none if it is no part of it.
    fn of(&self, standard: Standard) -> Option<Test> {
        let known = self.versions.iter().rev().find(|(minor, _)| Version::Minor(*minor) <= standard.version);
        known.filter(|_| self.level <= standard.level).map(|(_, test)| *test)
    }
}

/// What a pod has that a standard does not allow, in a fixed order.
pub fn violations(standard: Standard, pod: Pod<'_>) -> Vec<Violation> {
    let covered: Vec<&str> =
        CHECKS.iter().filter(|check| check.of(standard).is_some()).map(|check| check.covers).collect();
    let checks = CHECKS.iter().filter(|check| !covered.contains(&check.name));
    checks.filter_map(|check| check.of(standard)?(pod)).collect()
}

/// `"a", "b"`.
fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names.iter().copied()))
}

/// One, or several.
fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Who sets something: `pod and container "a"`; none if nobody does.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let named = (!names.is_empty()).then(|| containers(names));
    let all: Vec<String> = pod.then(|| "pod".to_owned()).into_iter().chain(named).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// Texts in order, each once.
type Texts<'a> = BTreeSet<&'a str>;
