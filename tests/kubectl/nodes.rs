use crate::scenario::Scenario;

pub fn cordon_drain_and_taint(s: &Scenario) {
    s.web();
    let on = |node: &str| {
        let selector = format!("--field-selector=spec.nodeName={node}");
        let pods = s.json(&["get", "pods", &selector]);
        let alive = |p: &&serde_json::Value| p["metadata"]["deletionTimestamp"].is_null();
        pods["items"].as_array().unwrap().iter().filter(alive).count()
    };
    s.kubectl(&["cordon", "w1"]);
    s.until(&["get", "node", "w1"], "SchedulingDisabled");
    s.kubectl(&["drain", "w1", "--ignore-daemonsets", "--force", "--timeout=90s"]);
    assert_eq!(on("w1"), 0);
    s.rolled_out("web");
    s.kubectl(&["uncordon", "w1"]);
    s.kubectl(&["taint", "node", "w2", "away=yes:NoExecute"]);
    s.until(&["get", "node", "w2", "-o", "jsonpath={.spec.taints}"], "away");
    s.rolled_out("web");
    assert_eq!(on("w2"), 0);
    s.kubectl(&["taint", "node", "w2", "away-"]);
    assert!(s.kubectl(&["describe", "node", "w2"]).contains("Allocated resources"));
}

/// `kontiki worker drain`, by the same rules as kubectl's.
pub fn kontiki_drains_a_worker(s: &Scenario) {
    let drain = |more: &[&str]| {
        let args = [&["worker", "drain", "w1"], more].concat();
        s.cluster.kontiki(&args).map_err(|error| format!("{error:#}"))
    };
    let all = ["--force", "--delete-emptydir-data"];
    let unschedulable = || s.kubectl(&["get", "node", "w1", "-o", "jsonpath={.spec.unschedulable}"]);
    s.web();
    s.apply(BUDGET);
    let on_it = || {
        let pods = s.json(&["get", "pods", "-l", "app=web", "--field-selector=spec.nodeName=w1"]);
        pods["items"].as_array().unwrap().len()
    };
    assert_eq!(on_it(), 1, "they are spread over the zones");
    s.kubectl(&[
        "run",
        "bare",
        "--image=kontiki.local/web:1",
        "--overrides",
        r#"{"spec":{"nodeName":"w1"}}"#,
    ]);
    let refused = drain(&["--delete-emptydir-data"]).unwrap_err();
    assert!(
        refused.contains("nothing was done") && refused.contains("bare: nobody makes it anew"),
        "{refused}"
    );
    let told = drain(&[&all[..], &["--dry-run"]].concat()).unwrap();
    assert!(told.contains("bare would be evicted (dry run)"), "{told}");
    assert_eq!(unschedulable(), "");
    let held = drain(&[&all[..], &["--timeout=2"]].concat()).unwrap_err();
    assert!(held.contains("2 s are over") && held.contains("disruption budget"), "{held}");
    assert_eq!((unschedulable().as_str(), on_it()), ("true", 1));
    s.kubectl(&["delete", "poddisruptionbudget", "web"]);
    let told = drain(&[&all[..], &["--timeout=90"]].concat()).unwrap();
    assert!(told.ends_with("w1 is empty\n"), "{told}");
    assert_eq!(on_it(), 0);
    s.rolled_out("web");
    s.kubectl(&["uncordon", "w1"]);
    let unknown = s.cluster.kontiki(&["worker", "drain", "nobody"]).unwrap_err();
    assert!(format!("{unknown:#}").contains("\"nobody\" not found"), "{unknown:#}");
}

const BUDGET: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: web
spec:
  minAvailable: 3
  selector:
    matchLabels:
      app: web
";
