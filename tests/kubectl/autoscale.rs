use crate::scenario::Scenario;

/// A pod that works as much as it may: twice what it asks for.
const BURNER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: burner}
spec:
  selector: {matchLabels: {app: burner}}
  template:
    metadata: {labels: {app: burner}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: burner
          image: kontiki.local/web:1
          command: ["sh", "-c", "while :; do :; done"]
          resources:
            requests: {cpu: 50m}
            limits: {cpu: 100m}
"#;

/// Figures of a pod come with the second reading of its worker, which reads every 15 s; autoscalers are looked at as often.
pub fn pods_that_work_much_become_more(s: &Scenario) {
    s.apply(BURNER);
    s.rolled_out("burner");
    let said = s.kubectl(&["autoscale", "deployment", "burner", "--min=1", "--max=3", "--cpu-percent=50"]);
    assert!(said.contains("horizontalpodautoscaler.autoscaling/burner autoscaled"), "{said}");
    s.until(&["get", "hpa", "burner", "-o", "jsonpath=desired {.status.desiredReplicas}"], "desired 3");
    s.rolled_out("burner");
    let table = s.kubectl(&["get", "hpa", "burner"]);
    let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..2], ["burner", "Deployment/burner"], "{table}");
    assert!(table.contains("%/50%") && !table.contains("<unknown>"), "{table}");
    let told = s.kubectl(&["describe", "hpa", "burner"]);
    for part in [
        "AbleToScale",
        "ValidMetricFound",
        "TooManyReplicas",
        "SuccessfulRescale",
        "New size: 3; reason: cpu resource utilization (percentage of request) above target",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let deployment = s.json(&["get", "deployment", "burner"]);
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["status"]["readyReplicas"]),
        (&3.into(), &3.into())
    );
    s.kubectl(&["delete", "hpa/burner", "deployment/burner"]);
}
