use crate::scenario::Scenario;

const AGENT: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: agent, image: kontiki.local/web:1, imagePullPolicy: IfNotPresent}
";

fn nodes(s: &Scenario) -> Vec<String> {
    let said = s.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
    let mut nodes: Vec<String> = said.split_whitespace().map(String::from).collect();
    nodes.sort();
    nodes
}

/// Waits for these counts of wanted, present and ready pods.
fn counts(s: &Scenario, what: &str) {
    let counts =
        "jsonpath={.status.desiredNumberScheduled}/{.status.currentNumberScheduled}/{.status.numberReady}";
    s.until(&["get", "daemonset", "agent", "-o", counts], what);
}

pub fn run_on_every_node(s: &Scenario) {
    s.apply(AGENT);
    let said = s.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=90s"]);
    assert!(said.contains("daemon set \"agent\" successfully rolled out"), "{said}");
    assert_eq!(nodes(s), ["w1", "w2", "w3"]);
    assert!(s.apply(AGENT).contains("unchanged"));
    s.kubectl(&["set", "env", "daemonset/agent", "STEP=2"]);
    s.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=90s"]);
    let history = s.kubectl(&["rollout", "history", "daemonset/agent"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    let second = s.kubectl(&["rollout", "history", "daemonset/agent", "--revision=2"]);
    assert!(second.contains("STEP"), "{second}");
    s.kubectl(&["rollout", "undo", "daemonset/agent"]);
    s.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=90s"]);
    let env = s.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].env}"]);
    assert!(!env.contains("STEP"), "{env}");
    let history = s.kubectl(&["rollout", "history", "daemonset/agent"]);
    assert!(!history.contains("\n1 ") && history.contains("\n3 "), "{history}");
    s.kubectl(&["label", "node", "w1", "disk=fast"]);
    s.kubectl(&[
        "patch",
        "daemonset",
        "agent",
        "-p",
        "{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"disk\":\"fast\"}}}}}",
    ]);
    s.until(&["get", "daemonset", "agent"], "disk=fast");
    s.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=90s"]);
    counts(s, "1/1/1");
    s.kubectl(&["label", "node", "w1", "disk-"]);
    counts(s, "0/0/0");
    s.kubectl(&["delete", "daemonset", "agent"]);
}
