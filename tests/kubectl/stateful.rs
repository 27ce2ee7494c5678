use crate::scenario::Scenario;

const DB: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: db, image: kontiki.local/web:1, imagePullPolicy: IfNotPresent}
";

fn pods(s: &Scenario) -> String {
    s.kubectl(&["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].metadata.name}"])
}

pub fn identities_stay(s: &Scenario) {
    s.apply(DB);
    s.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"]);
    assert_eq!(pods(s), "db-0 db-1");
    assert!(s.apply(DB).contains("unchanged"));
    s.kubectl(&["set", "env", "statefulset/db", "STEP=2"]);
    let said = s.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"]);
    assert!(said.contains("complete"), "{said}");
    let env =
        s.kubectl(&["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].spec.containers[0].env}"]);
    assert_eq!(env.matches("STEP").count(), 2, "{env}");
    let history = s.kubectl(&["rollout", "history", "statefulset/db"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    s.kubectl(&["rollout", "undo", "statefulset/db"]);
    s.kubectl(&["rollout", "status", "statefulset/db", "--timeout=90s"]);
    let env =
        s.kubectl(&["get", "pods", "-l", "app=db", "-o", "jsonpath={.items[*].spec.containers[0].env}"]);
    assert!(!env.contains("STEP"), "{env}");
    s.kubectl(&["scale", "statefulset", "db", "--replicas=3"]);
    s.until(&["get", "statefulset", "db"], "3/3");
    let old = s.kubectl(&["get", "pod", "db-1", "-o", "jsonpath={.metadata.uid}"]);
    s.kubectl(&["delete", "pod", "db-1"]);
    s.until(&["get", "statefulset", "db"], "3/3");
    assert_ne!(s.kubectl(&["get", "pod", "db-1", "-o", "jsonpath={.metadata.uid}"]), old);
    let claims = "{\"spec\":{\"replicas\":1}}";
    s.kubectl(&["patch", "statefulset", "db", "-p", claims]);
    s.until(&["get", "statefulset", "db"], "1/1");
    let claims = "  volumeClaimTemplates:\n  - metadata: {name: data}\n    \
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n  template:\n";
    let mounted = "IfNotPresent, volumeMounts: [{name: data, mountPath: /data}]}";
    s.apply(
        &DB.replace("name: db}\nspec", "name: disk}\nspec")
            .replace("app: db", "app: disk")
            .replace("  template:\n", claims)
            .replace("IfNotPresent}", mounted),
    );
    s.until(&["get", "statefulset", "disk"], "2/2");
    s.kubectl(&["exec", "disk-0", "--", "sh", "-c", "echo kept > /data/word"]);
    let volume = s.kubectl(&["get", "pvc", "data-disk-0", "-o", "jsonpath={.spec.volumeName}"]);
    let old = s.kubectl(&["get", "pod", "disk-0", "-o", "jsonpath={.metadata.uid}"]);
    s.kubectl(&["delete", "pod", "disk-0"]);
    s.until(&["get", "statefulset", "disk"], "2/2");
    assert_ne!(s.kubectl(&["get", "pod", "disk-0", "-o", "jsonpath={.metadata.uid}"]), old);
    assert_eq!(s.kubectl(&["exec", "disk-0", "--", "cat", "/data/word"]).trim(), "kept");
    // The claims stay without the set; with them go the folders, and then the volumes.
    s.kubectl(&["delete", "statefulset", "disk"]);
    s.until(&["get", "pvc", "data-disk-0"], "Bound");
    s.kubectl(&["delete", "pvc", "data-disk-0", "data-disk-1"]);
    s.kubectl(&["wait", "--for=delete", &format!("pv/{volume}"), "--timeout=60s"]);
}
