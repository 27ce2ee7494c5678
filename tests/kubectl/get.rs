use std::process::{Command, Stdio};

use kontiki_chaos_tests::{eventually, kubectl_path};

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
    let sets = s.kubectl(&["get", "rs", "-o", "wide"]);
    assert!(sets.contains("kontiki.local/web:1   app=web,pod-template-hash="), "{sets}");
    let sorted =
        s.kubectl(&["get", "pods", "--sort-by=.spec.nodeName", "-o", "custom-columns=N:.spec.nodeName"]);
    assert_eq!(sorted.split_whitespace().collect::<Vec<_>>(), ["N", "w1", "w2", "w3"]);
    describes(s, pods["items"][0]["metadata"]["name"].as_str().unwrap());
    assert!(s.refused(&["get", "pod", "nothing"]).contains("pods \"nothing\" not found"));
}

fn describes(s: &Scenario, pod: &str) {
    let described = s.kubectl(&["describe", "deployment", "web"]);
    assert!(
        described.contains("NewReplicaSetAvailable") && described.contains("ScalingReplicaSet"),
        "{described}"
    );
    let described = s.kubectl(&["describe", "pod", pod]);
    let account = described.lines().find_map(|line| line.strip_prefix("Service Account:"));
    if s.knows(27) {
        assert_eq!(account.map(str::trim), Some("default"), "{described}");
    }
    let (_, events) = described.split_once("\nEvents:").unwrap();
    let reasons = events.lines().skip(3).filter_map(|line| line.split_whitespace().nth(1));
    // A probe may have come before the server listened.
    let reasons: Vec<&str> = reasons.filter(|reason| *reason != "Unhealthy").collect();
    assert_eq!(reasons, ["Scheduled", "Pulled", "Created", "Started"], "{described}");
    let described = s.kubectl(&["describe", "rs"]);
    assert!(described.contains("3 Running / 0 Waiting / 0 Succeeded / 0 Failed"), "{described}");
    assert!(described.contains("Controlled By:  Deployment/web"), "{described}");
    assert!(s.kubectl(&["describe", "namespace", &s.namespace]).contains("Status:       Active"));
    if s.knows(27) {
        assert!(s.kubectl(&["events"]).contains("SuccessfulCreate"));
        let of_pod = s.kubectl(&["events", "--for", &format!("pod/{pod}")]);
        assert!(of_pod.contains("Successfully assigned") && !of_pod.contains("SuccessfulCreate"), "{of_pod}");
    }
    assert!(
        s.kubectl(&["get", "events", "--field-selector=reason=ScalingReplicaSet"]).contains("deployment/web")
    );
}

pub fn watches(s: &Scenario) {
    let mut watch = Command::new(kubectl_path())
        .args([
            "-n",
            &s.namespace,
            "get",
            "configmaps",
            "-w",
            "--output-watch-events",
            "--request-timeout=60s",
        ])
        .env("KUBECONFIG", s.cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut next = |name: &str| {
        loop {
            let line = lines.next().expect("the watch goes on").unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(1) == Some(&name) {
                return words[0].to_string();
            }
        }
    };
    // What is there already comes first; then it watches.
    assert_eq!(next("kube-root-ca.crt"), "ADDED");
    s.kubectl(&["create", "configmap", "seen", "--from-literal=a=1"]);
    assert_eq!(next("seen"), "ADDED");
    s.kubectl(&["label", "configmap", "seen", "a=b"]);
    assert_eq!(next("seen"), "MODIFIED");
    s.kubectl(&["delete", "configmap", "seen"]);
    assert_eq!(next("seen"), "DELETED");
    watch.kill().unwrap();
    watch.wait().unwrap();
    s.kubectl(&["create", "configmap", "there"]);
    if s.knows(31) {
        s.kubectl(&["wait", "--for=create", "configmap/there", "--timeout=30s"]);
    }
}

pub fn about_the_cluster(s: &Scenario) {
    let version = s.json(&["version"]);
    assert!(version["serverVersion"]["gitVersion"].as_str().unwrap().starts_with("v1."), "{version}");
    assert!(s.kubectl(&["cluster-info"]).contains("control plane"));
    let resources = s.kubectl(&["api-resources"]);
    assert!(resources.contains("deployments") && resources.contains("deploy "), "{resources}");
    assert_eq!(s.kubectl(&["get", "--raw", "/readyz"]), "ok");
    assert!(s.kubectl(&["get", "--raw", "/metrics"]).contains("kontiki_raft_leader"));
    let of_range = "jsonpath={.spec.cidrs[0]} {.status.conditions[0].type}";
    assert_eq!(s.kubectl(&["get", "servicecidr", "kubernetes", "-o", of_range]), "10.96.0.0/12 Ready");
    // Where the controllers are, told in both ways.
    eventually("all controllers are told of", || {
        let ports = |told: &[&str]| s.kubectl(told).split_whitespace().count();
        let endpoints = [
            "get",
            "-ndefault",
            "endpoints",
            "kubernetes",
            "--ignore-not-found",
            "-ojsonpath={.subsets[*].ports[*].port}",
        ];
        let of_service = "-lkubernetes.io/service-name=kubernetes";
        let slices =
            ["get", "-ndefault", "endpointslices", of_service, "-ojsonpath={.items[*].ports[*].port}"];
        let seen = (ports(&endpoints), ports(&slices));
        if seen == (3, 3) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let nodes = s.kubectl(&["get", "nodes"]);
    assert_eq!(nodes.matches(" Ready ").count(), 3, "{nodes}");
    assert_eq!(nodes.matches("   v1.").count(), 3, "{nodes}");
    if s.knows(27) {
        let explained = s.kubectl(&["explain", "deployment.spec.replicas"]);
        assert!(explained.contains("replicas <integer>"), "{explained}");
    }
}
