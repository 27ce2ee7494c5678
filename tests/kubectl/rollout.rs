use crate::scenario::Scenario;

pub fn rolls_out_and_back(s: &Scenario) {
    s.web();
    s.kubectl(&["set", "env", "deployment/web", "STEP=2"]);
    s.rolled_out("web");
    let history = s.kubectl(&["rollout", "history", "deployment/web"]);
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    s.kubectl(&["rollout", "undo", "deployment/web"]);
    s.rolled_out("web");
    let env = s.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"]);
    assert!(!env.contains("STEP"), "{env}");
    let history = s.kubectl(&["rollout", "history", "deployment/web"]);
    assert!(!history.contains("\n1 ") && history.contains("\n3 "), "{history}");
    s.kubectl(&["rollout", "pause", "deployment/web"]);
    s.kubectl(&["set", "env", "deployment/web", "STEP=4"]);
    assert_eq!(
        s.kubectl(&["get", "rs", "-o", "name"]).lines().count(),
        2,
        "paused: nothing new is rolled out"
    );
    s.kubectl(&["rollout", "resume", "deployment/web"]);
    s.rolled_out("web");
    s.kubectl(&["set", "image", "deployment/web", "web=kontiki.local/nothing:1"]);
    s.until(&["get", "pods"], "ImagePull");
    let said = s.refused(&["rollout", "status", "deployment/web", "--timeout=1s"]);
    assert!(said.contains("timed out"), "{said}");
    let deployment = s.json(&["get", "deploy", "web"]);
    assert_eq!(
        deployment["status"]["availableReplicas"], 3,
        "the old pods stay while the new ones cannot run"
    );
    s.kubectl(&["rollout", "undo", "deployment/web"]);
    s.rolled_out("web");
    let image =
        s.kubectl(&["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    assert_eq!(image, "kontiki.local/web:1");
}

pub fn scales_and_restarts(s: &Scenario) {
    s.web();
    s.kubectl(&["scale", "deployment", "web", "--replicas=5"]);
    s.rolled_out("web");
    assert_eq!(s.kubectl(&["get", "pods", "-o", "name"]).lines().count(), 5);
    s.kubectl(&["scale", "deployment", "web", "--current-replicas=5", "--replicas=1"]);
    s.until(&["get", "deploy", "web"], "1/1 ");
    let before = s.kubectl(&["get", "rs", "-o", "name"]).lines().count();
    s.kubectl(&["rollout", "restart", "deployment/web"]);
    s.rolled_out("web");
    assert_eq!(s.kubectl(&["get", "rs", "-o", "name"]).lines().count(), before + 1);
}

pub fn says_what_is_wrong_with_a_pod(s: &Scenario) {
    let pod = |name: &str, image: &str, command: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: c\n    image: {image}\n    \
             imagePullPolicy: IfNotPresent\n    command: {command}\n"
        )
    };
    s.apply(&pod("missing", "kontiki.local/nothing:1", "[\"/web\"]"));
    s.apply(&pod("nocommand", "kontiki.local/web:1", "[\"/no/such/file\"]"));
    s.apply(&pod("exits", "kontiki.local/web:1", "[\"sh\", \"-c\", \"exit 3\"]"));
    s.until(&["get", "pod", "missing"], "ImagePull");
    s.until(&["get", "pod", "nocommand"], "CrashLoopBackOff");
    let reason = "jsonpath={.status.containerStatuses[0].lastState.terminated.reason}";
    assert_eq!(s.kubectl(&["get", "pod", "nocommand", "-o", reason]), "StartError");
    s.until(&["get", "pod", "exits"], "CrashLoopBackOff");
    let code = s.kubectl(&[
        "get",
        "pod",
        "exits",
        "-o",
        "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}",
    ]);
    assert_eq!(code, "3");
    s.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: huge}\nspec:\n  containers:\n  - name: c\n    image: kontiki.local/web:1\n    \
         resources: {requests: {cpu: \"1000\"}}\n",
    );
    let described = s.until(&["describe", "pod", "huge"], "FailedScheduling");
    assert!(described.contains("0/3 nodes are available: 3 Insufficient cpu"), "{described}");
}
