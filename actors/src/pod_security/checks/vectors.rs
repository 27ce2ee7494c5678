//! What each check says, of what, in which versions: by the tables of
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::pod_security::{details, reasons};

/// A pod that is restricted in every version, with one init container `i` and one container `c`.
fn hardened() -> Value {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json!({
        "metadata": {},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [{"name": "i", "securityContext": security}],
            "containers": [{"name": "c", "securityContext": security}],
        },
    })
}

/// The hardened pod with values at some places of it.
fn with(values: &[(&str, Value)]) -> Value {
    let mut pod = hardened();
    for (path, value) in values {
        let mut at = &mut pod;
        for step in path.split('.') {
            at = match step.parse::<usize>() {
                Ok(index) => at.get_mut(index).unwrap(),
                Err(_) => &mut at[step],
            };
        }
        *at = value.clone();
    }
    pod
}

fn say(level: Level, version: Version, pod: &Value) -> String {
    let pod = Pod { metadata: &pod["metadata"], spec: &pod["spec"] };
    details(&violations(Standard { level, version }, pod))
}

const C: &str = "spec.containers.0";
const I: &str = "spec.initContainers.0";

fn at(container: &str, field: &str) -> String {
    format!("{container}.{field}")
}

/// Asserts what is said of a pod by a level: from a minor version to another one, and nothing in all others.
fn assert_said(level: Level, from: u32, to: u32, values: &[(&str, Value)], expected: &str) {
    let pod = with(values);
    for minor in 0..=40 {
        let said = say(level, Version::Minor(minor), &pod);
        let expected = if (from..=to).contains(&minor) { expected } else { "" };
        assert_eq!(said, expected, "{level} v1.{minor}: {values:?}");
    }
    let expected = if to >= 40 { expected } else { "" };
    assert_eq!(say(level, Version::Latest, &pod), expected, "{level} latest: {values:?}");
    assert_eq!(say(Level::Privileged, Version::Latest, &pod), "", "{values:?}");
}

const EVER: u32 = 40;

/// The same of baseline, of a check that restricted has as it is, too.
fn assert_baseline(from: u32, to: u32, values: &[(&str, Value)], expected: &str) {
    assert_said(Level::Baseline, from, to, values, expected);
    assert_said(Level::Restricted, from, to, values, expected);
}

#[test]
fn a_hardened_pod_violates_nothing() {
    assert_baseline(EVER, 0, &[], "");
    // Nor does one that says the same for each container.
    let security = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1,
        "capabilities": {"drop": ["KILL", "ALL"], "add": ["NET_BIND_SERVICE"]}, "seccompProfile": {"type": "Localhost"},
        "privileged": false, "procMount": "Default", "seLinuxOptions": {"type": "container_t", "level": "s0"},
        "appArmorProfile": {"type": "RuntimeDefault"}, "windowsOptions": {"hostProcess": false},
    });
    let (c, i) = (at(C, "securityContext"), at(I, "securityContext"));
    let ports = json!([{"containerPort": 80, "hostPort": 0}, {"containerPort": 81}]);
    let volumes: Vec<Value> = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
    .iter()
    .map(|source| json!({"name": source, *source: {}}))
    .collect();
    let values = [
        ("spec.securityContext", json!({})),
        (c.as_str(), security.clone()),
        (i.as_str(), security),
        ("spec.containers.0.ports", ports),
        ("spec.volumes", volumes.into()),
        ("spec.hostNetwork", json!(false)),
        ("metadata.annotations", json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/x"})),
    ];
    assert_baseline(EVER, 0, &values, "");
}

#[test]
fn what_is_the_hosts_is_not_shared() {
    assert_baseline(0, EVER, &[("spec.hostPID", json!(true))], "host namespaces (hostPID=true)");
    let all =
        [("spec.hostIPC", json!(true)), ("spec.hostPID", json!(true)), ("spec.hostNetwork", json!(true))];
    assert_baseline(0, EVER, &all, "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)");
    let ports = json!([{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 8080}]);
    let one = [("spec.containers.0.ports", json!([{"containerPort": 1, "hostPort": 80}]))];
    assert_baseline(0, EVER, &one, "hostPort (container \"c\" uses hostPort 80)");
    let two = [("spec.containers.0.ports", ports.clone()), ("spec.initContainers.0.ports", ports)];
    assert_baseline(0, EVER, &two, "hostPort (containers \"i\", \"c\" use hostPorts 80, 8080)");
}

#[test]
fn containers_are_not_privileged() {
    let c = at(C, "securityContext.privileged");
    let said = "privileged (container \"c\" must not set securityContext.privileged=true)";
    assert_baseline(0, EVER, &[(&c, json!(true))], said);
    // Ephemeral containers are containers.
    let mut debug = hardened()["spec"]["containers"][0].clone();
    debug["name"] = "debug".into();
    debug["securityContext"]["privileged"] = true.into();
    let said = "privileged (containers \"c\", \"debug\" must not set securityContext.privileged=true)";
    assert_baseline(0, EVER, &[(&c, json!(true)), ("spec.ephemeralContainers", json!([debug]))], said);
}

#[test]
fn volumes_are_those_that_need_no_rights() {
    let host =
        [("spec.volumes", json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]))];
    assert_said(Level::Baseline, 0, EVER, &host, "hostPath volumes (volume \"a\")");
    let said = "restricted volume types (volume \"a\" uses restricted volume type \"hostPath\")";
    assert_said(Level::Restricted, 0, EVER, &host, said);
    let two = [(
        "spec.volumes",
        json!([{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}, {"name": "c", "new": {}}]),
    )];
    let said = "restricted volume types (volumes \"a\", \"b\", \"c\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")";
    assert_said(Level::Restricted, 0, EVER, &two, said);
    assert_said(Level::Baseline, 0, EVER, &two[..1], "hostPath volumes (volume \"a\")");
}

#[test]
fn capabilities_are_the_usual_ones_or_none() {
    let (add, drop) = (at(C, "securityContext.capabilities.add"), at(C, "securityContext.capabilities.drop"));
    let usual = [(add.as_str(), json!(["CHOWN", "KILL"]))];
    assert_said(Level::Baseline, EVER, 0, &usual, "");
    let said = "unrestricted capabilities (container \"c\" must not include \"CHOWN\", \"KILL\" in securityContext.capabilities.add)";
    assert_said(Level::Restricted, 22, EVER, &usual, said);
    let unusual = [(add.as_str(), json!(["SYS_ADMIN", "NET_RAW", "CHOWN"]))];
    let said = "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add)";
    assert_said(Level::Baseline, 0, EVER, &unusual, said);
    assert_eq!(
        say(Level::Restricted, Version::Minor(21), &with(&unusual)),
        said,
        "restricted was baseline before 1.22"
    );
    let keeps = [
        (drop.as_str(), json!(["KILL"])),
        ("spec.initContainers.0.securityContext.capabilities", Value::Null),
    ];
    let said = "unrestricted capabilities (containers \"i\", \"c\" must set securityContext.capabilities.drop=[\"ALL\"])";
    assert_said(Level::Restricted, 22, EVER, &keeps, said);
    let both = [(drop.as_str(), Value::Null), (add.as_str(), json!(["NET_RAW"]))];
    let said = "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; \
                container \"c\" must not include \"NET_RAW\" in securityContext.capabilities.add)";
    assert_eq!(say(Level::Restricted, Version::Latest, &with(&both)), said);
}

#[test]
fn privileges_do_not_grow() {
    let (c, i) = (at(C, "securityContext.allowPrivilegeEscalation"), at(I, "securityContext"));
    let said = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)";
    assert_said(Level::Restricted, 8, EVER, &[(&c, json!(true))], said);
    assert_said(Level::Restricted, 8, EVER, &[(&c, Value::Null)], said);
    assert_said(Level::Baseline, EVER, 0, &[(&c, json!(true))], "");
    let said = "allowPrivilegeEscalation != false (containers \"i\", \"c\" must set securityContext.allowPrivilegeEscalation=false)";
    let both = [(i.as_str(), json!({"capabilities": {"drop": ["ALL"]}})), (c.as_str(), json!(true))];
    assert_said(Level::Restricted, 8, EVER, &both, said);
}

#[test]
fn nobody_is_root() {
    const POD: &str = "spec.securityContext.runAsNonRoot";
    let c = at(C, "securityContext.runAsNonRoot");
    let said =
        "runAsNonRoot != true (pod or containers \"i\", \"c\" must set securityContext.runAsNonRoot=true)";
    assert_said(Level::Restricted, 0, EVER, &[(POD, Value::Null)], said);
    let said = "runAsNonRoot != true (pod or container \"i\" must set securityContext.runAsNonRoot=true)";
    assert_said(Level::Restricted, 0, EVER, &[(POD, Value::Null), (&c, json!(true))], said);
    let said =
        "runAsNonRoot != true (pod and container \"c\" must not set securityContext.runAsNonRoot=false)";
    assert_said(Level::Restricted, 0, EVER, &[(POD, json!(false)), (&c, json!(false))], said);
    let said = "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)";
    assert_said(Level::Restricted, 0, EVER, &[(&c, json!(false))], said);
    let (pod, c) = ("spec.securityContext.runAsUser", at(C, "securityContext.runAsUser"));
    assert_said(
        Level::Restricted,
        23,
        EVER,
        &[(pod, json!(0))],
        "runAsUser=0 (pod must not set runAsUser=0)",
    );
    let said = "runAsUser=0 (pod and container \"c\" must not set runAsUser=0)";
    assert_said(Level::Restricted, 23, EVER, &[(pod, json!(0)), (&c, json!(0))], said);
    assert_said(Level::Baseline, EVER, 0, &[(pod, json!(0)), (POD, json!(false))], "");
}

#[test]
fn system_calls_are_filtered() {
    const POD: &str = "spec.securityContext.seccompProfile";
    let c = at(C, "securityContext.seccompProfile");
    let off = json!({"type": "Unconfined"});
    let said = "seccompProfile (pod and container \"c\" must not set securityContext.seccompProfile.type to \"\", \"Unconfined\")";
    assert_baseline(19, EVER, &[(POD, off.clone()), (&c, json!({}))], said);
    let said =
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")";
    assert_baseline(19, EVER, &[(&c, off)], said);
    let said = "seccompProfile (pod or containers \"i\", \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    assert_said(Level::Restricted, 19, EVER, &[(POD, Value::Null)], said);
    assert_said(Level::Baseline, EVER, 0, &[(POD, Value::Null)], "");
    // Before there were fields for it, annotations said so.
    const ANNOTATIONS: &str = "metadata.annotations";
    let (of_pod, of_c) =
        ("seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/c");
    let bad = json!({of_pod: "unconfined", of_c: "x", "container.seccomp.security.alpha.kubernetes.io/nobody": "x"});
    let said = format!("seccompProfile (forbidden annotations {of_c}=\"x\", {of_pod}=\"unconfined\")");
    assert_baseline(0, 18, &[(ANNOTATIONS, bad)], &said);
    let good = json!({of_pod: "runtime/default", of_c: "localhost/x"});
    assert_baseline(EVER, 0, &[(ANNOTATIONS, good)], "");
    let said = format!("seccompProfile (forbidden annotation {of_pod}=\"unconfined\")");
    assert_baseline(0, 18, &[(ANNOTATIONS, json!({of_pod: "unconfined", of_c: "docker/default"}))], &said);
}

#[test]
fn profiles_of_app_armor_are_not_turned_off() {
    let c = at(C, "securityContext.appArmorProfile");
    let said =
        "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")";
    assert_baseline(0, EVER, &[(&c, json!({"type": "Unconfined"}))], said);
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    let said = format!(
        "forbidden AppArmor profiles (pod and container \"c\" and annotation must not set AppArmor profile type to \"\", \"Unconfined\", \"{key}=\"unconfined\"\")"
    );
    let values = [
        ("spec.securityContext.appArmorProfile", json!({"type": "Unconfined"})),
        (c.as_str(), json!({})),
        ("metadata.annotations", json!({key: "unconfined"})),
    ];
    assert_baseline(0, EVER, &values, &said);
}

#[test]
fn the_kernels_parameters_are_the_pods_own() {
    let set = |names: &[&str]| {
        let sysctls: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        [("spec.securityContext.sysctls", Value::from(sysctls))]
    };
    assert_baseline(
        0,
        EVER,
        &set(&["kernel.msgmax", "net.ipv4.tcp_syncookies", "a.b"]),
        "forbidden sysctls (kernel.msgmax, a.b)",
    );
    for (name, allowed_from) in [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ] {
        for minor in 0..EVER {
            let said = say(Level::Baseline, Version::Minor(minor), &with(&set(&[name])));
            assert_eq!(said.is_empty(), minor >= allowed_from, "{name} v1.{minor}");
        }
    }
}

#[test]
fn the_rest_of_baseline() {
    let c = at(C, "securityContext.procMount");
    let said = "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")";
    assert_baseline(0, EVER, &[(&c, json!("Unmasked"))], said);
    let (pod, c) = ("spec.securityContext.seLinuxOptions", at(C, "securityContext.seLinuxOptions"));
    let said = "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)";
    assert_baseline(
        0,
        EVER,
        &[(pod, json!({"type": "spc_t", "user": "u"})), (&c, json!({"role": "r"}))],
        said,
    );
    let said =
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")";
    assert_baseline(0, 30, &[(pod, json!({"type": "container_engine_t"}))], said);
    let (pod, c) = ("spec.securityContext.windowsOptions", at(C, "securityContext.windowsOptions"));
    let on = json!({"hostProcess": true});
    let said =
        "hostProcess (pod and container \"c\" must not set securityContext.windowsOptions.hostProcess=true)";
    assert_baseline(0, EVER, &[(pod, on.clone()), (&c, on)], said);
}

#[test]
fn plain_processes_of_the_machine_are_for_privileged_alone() {
    let said = "host processes (pod must not set runtimeClassName=\"host\": it is no container)";
    assert_baseline(0, EVER, &[("spec.runtimeClassName", json!("host"))], said);
    for class in ["", "hosts", "vm"] {
        assert_baseline(EVER, 0, &[("spec.runtimeClassName", json!(class))], "");
    }
}

#[test]
fn windows_has_no_need_of_what_is_linuxs_own() {
    let bare = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]});
    let pod = json!({"metadata": {}, "spec": bare});
    for minor in 25..=EVER {
        assert_eq!(say(Level::Restricted, Version::Minor(minor), &pod), "");
    }
    let said = say(Level::Restricted, Version::Minor(24), &pod);
    for reason in ["allowPrivilegeEscalation", "unrestricted capabilities", "seccompProfile"] {
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn all_is_told_in_the_order_of_the_checks() {
    let pod = json!({"metadata": {}, "spec": {"hostPID": true, "containers": [{"name": "c", "securityContext": {"privileged": true}}]}});
    let said = violations(
        Standard { level: Level::Restricted, version: Version::Latest },
        Pod { metadata: &pod["metadata"], spec: &pod["spec"] },
    );
    assert_eq!(
        reasons(&said),
        "host namespaces, privileged, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
    );
    assert_eq!(
        say(Level::Restricted, Version::Minor(0), &pod),
        "host namespaces (hostPID=true), privileged (container \"c\" must not set securityContext.privileged=true), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"
    );
    let names = |level| -> Vec<&str> {
        CHECKS.iter().filter(|check| check.level == level).map(|check| check.name).collect()
    };
    assert!(names(Level::Baseline).is_sorted() && names(Level::Restricted).is_sorted());
}
