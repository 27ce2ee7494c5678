use std::process::{Command, Stdio};

use kontiki_chaos_tests::kubectl_path;

use crate::scenario::Scenario;

pub fn tables_formats_and_selectors(s: &Scenario) {
    s.web();
    let table = s.kubectl(&["get", "pods"]);
    assert!(table.starts_with("NAME"), "{table}");
    assert_eq!(table.matches("1/1     Running").count(), 3, "{table}");
    assert!(s.kubectl(&["get", "pods", "-o", "wide"]).contains("NOMINATED NODE"));
    let deployments = s.kubectl(&["get", "deploy"]);
    assert!(deployments.contains("3/3     3            3"), "{deployments}");

    let pods = s.json(&["get", "pods", "-l", "app=web"]);
    let nodes: std::collections::BTreeSet<&str> =
        pods["items"].as_array().unwrap().iter().map(|p| p["spec"]["nodeName"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), 3, "one pod in each zone");
    assert_eq!(s.kubectl(&["get", "pods", "-l", "app!=web", "-o", "name"]), "");
    assert_eq!(s.kubectl(&["get", "pods", "-l", "app in (web,x)", "-o", "name"]).lines().count(), 3);
    let running = s.kubectl(&["get", "pods", "--field-selector=status.phase=Running", "-o", "name"]);
    assert_eq!(running.lines().count(), 3);
    assert!(s.kubectl(&["get", "deploy", "web", "-o", "yaml"]).contains("kind: Deployment"));
    assert_eq!(s.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}"]), "3");
    assert!(s.kubectl(&["get", "pods", "-A"]).contains("test-get"));
    assert!(s.kubectl(&["get", "pods", "--chunk-size=1", "-o", "name"]).lines().count() == 3);
    let all = s.kubectl(&["get", "all"]);
    for kind in ["pod/web-", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(kind), "{all}");
    }
    let described = s.kubectl(&["describe", "deployment", "web"]);
    assert!(described.contains("NewReplicaSetAvailable") && described.contains("ScalingReplicaSet"), "{described}");
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    let described = s.kubectl(&["describe", "pod", pod]);
    for reason in ["Scheduled", "Created", "Started"] {
        assert!(described.contains(reason), "{described}");
    }
    assert!(s.kubectl(&["events"]).contains("SuccessfulCreate"));
    assert!(s.refused(&["get", "pod", "nothing"]).contains("pods \"nothing\" not found"));
}

pub fn watches(s: &Scenario) {
    let mut watch = Command::new(kubectl_path())
        .args(["-n", &s.namespace, "get", "configmaps", "-w", "--output-watch-events", "-o", "name"])
        .args(["--request-timeout=60s"])
        .env("KUBECONFIG", s.cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    s.kubectl(&["create", "configmap", "seen", "--from-literal=a=1"]);
    s.kubectl(&["delete", "configmap", "seen"]);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let line = lines.next().expect("the watch goes on").unwrap();
        if line.contains("configmap/seen") {
            seen.push(line.split_whitespace().next().unwrap().to_string());
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(seen, ["ADDED", "DELETED"]);
    s.kubectl(&["create", "configmap", "there"]);
    s.kubectl(&["wait", "--for=create", "configmap/there", "--timeout=30s"]);
}

pub fn about_the_cluster(s: &Scenario) {
    assert!(s.kubectl(&["version"]).contains("Server Version: v1."));
    assert!(s.kubectl(&["cluster-info"]).contains("control plane"));
    let resources = s.kubectl(&["api-resources"]);
    assert!(resources.contains("deployments") && resources.contains("deploy "), "{resources}");
    assert_eq!(s.kubectl(&["get", "--raw", "/readyz"]), "ok");
    assert!(s.kubectl(&["get", "--raw", "/metrics"]).contains("kontiki_raft_leader"));
    let nodes = s.kubectl(&["get", "nodes"]);
    assert_eq!(nodes.matches(" Ready ").count(), 3, "{nodes}");
}
