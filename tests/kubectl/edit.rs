use std::process::Command;

use kontiki_chaos_tests::kubectl_path;

use crate::scenario::Scenario;

pub fn patches_labels_and_annotations(s: &Scenario) {
    s.kubectl(&["create", "deployment", "d", "--image=kontiki.local/web:1", "--replicas=0"]);
    let replicas = || s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.spec.replicas}"]);
    s.kubectl(&["patch", "deployment", "d", "-p", r#"{"spec":{"minReadySeconds":3}}"#]);
    s.kubectl(&["patch", "deployment", "d", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#]);
    assert_eq!(replicas(), "1");
    s.kubectl(&[
        "patch",
        "deployment",
        "d",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/replicas","value":0}]"#,
    ]);
    assert_eq!(replicas(), "0");
    s.kubectl(&["label", "deployment", "d", "tier=front"]);
    s.kubectl(&["annotate", "deployment", "d", "note=yes"]);
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.metadata.annotations.note}"]), "yes");
    s.kubectl(&["annotate", "deployment", "d", "note-"]);
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.metadata.annotations.note}"]), "");
    let test = r#"[{"op":"test","path":"/spec/replicas","value":9}]"#;
    let refused = s.refused(&["patch", "deployment", "d", "--type=json", "-p", test]);
    assert!(refused.contains("/spec/replicas") || !s.knows(27), "{refused}");
    assert_eq!(s.kubectl(&["get", "deploy", "-l", "tier=front", "-o", "name"]), "deployment.apps/d\n");
    s.kubectl(&["label", "deployment", "d", "tier-"]);
    assert_eq!(s.kubectl(&["get", "deploy", "-l", "tier=front", "-o", "name"]), "");
    let edited = Command::new(kubectl_path())
        .args(["-n", &s.namespace, "edit", "deployment", "d"])
        .env("KUBECONFIG", s.cluster.kubeconfig())
        .env("KUBE_EDITOR", "sed -i s/minReadySeconds:.*/minReadySeconds:\\ 7/")
        .output()
        .unwrap();
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.spec.minReadySeconds}"]), "7");
}
