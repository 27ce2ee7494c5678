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
