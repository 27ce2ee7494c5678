use crate::scenario::Scenario;

/// A deployment without pods.
fn manifest(name: &str, replicas: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  {replicas}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{containers: [{{name: c, image: kontiki.local/web:1{container}}}]}}\n"
    )
}

pub fn applies_to_the_server(s: &Scenario) {
    // Before that it knows only an alpha form of it.
    if !s.knows(27) {
        return;
    }
    let apply = |text: &str| s.file("applied.yaml", text);
    let ports = ", ports: [{containerPort: 80}, {containerPort: 81}]";
    let first = apply(&manifest("d", "replicas: 0", ports));
    let said = s.kubectl(&["apply", "--server-side", "-f", &first]);
    assert_eq!(said, "deployment.apps/d serverside-applied\n");
    let revision = || s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.metadata.resourceVersion}"]);
    s.kubectl(&["wait", "--for=jsonpath={.status.observedGeneration}=1", "deployment/d", "--timeout=60s"]);
    let before = revision();
    s.kubectl(&["apply", "--server-side", "-f", &first]);
    assert_eq!(revision(), before, "applied again, and nothing changed");
    assert_eq!(s.kubectl(&["diff", "--server-side", "-f", &first]), "");
    let shown = s.kubectl(&["get", "deploy", "d", "-o", "yaml", "--show-managed-fields"]);
    for line in [
        "manager: kubectl\n",
        "operation: Apply\n",
        "k:{\"containerPort\":80,\"protocol\":\"TCP\"}",
        "f:replicas: {}",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    // Somebody else changes what kubectl owns: that is a conflict until it is forced.
    s.kubectl(&["patch", "deploy", "d", "--field-manager=editor", "-p", r#"{"spec":{"minReadySeconds":5}}"#]);
    let second = apply(&manifest("d", "replicas: 0\n  minReadySeconds: 6", ports));
    let refused = s.refused(&["apply", "--server-side", "-f", &second]);
    let conflict =
        "Apply failed with 1 conflict: conflict with \"editor\" using apps/v1: .spec.minReadySeconds";
    assert!(refused.contains(conflict) && refused.contains("--force-conflicts"), "{refused}");
    s.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &second]);
    let seconds = "jsonpath={.spec.minReadySeconds}";
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", seconds]), "6");
    // What it no longer applies goes: a field, and an element of a list.
    let third = apply(&manifest("d", "replicas: 0", ", ports: [{containerPort: 81}]"));
    s.kubectl(&["apply", "--server-side", "-f", &third]);
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", seconds]), "");
    let ports = "jsonpath={.spec.template.spec.containers[0].ports[*].containerPort}";
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", ports]), "81");
    // A scale is somebody's, too.
    s.kubectl(&["scale", "deploy", "d", "--replicas=1"]);
    let refused = s.refused(&["apply", "--server-side", "--field-manager=other", "-f", &third]);
    assert!(
        refused.contains("with subresource \"scale\"") && refused.contains(".spec.replicas"),
        "{refused}"
    );
    let wrong = apply(&manifest("d", "replicaz: 0", ""));
    let refused = s.refused(&["apply", "--server-side", "--validate=false", "-f", &wrong]);
    assert!(refused.contains(".spec.replicaz: field not declared in schema"), "{refused}");
}

pub fn takes_over_from_client_side_apply(s: &Scenario) {
    if !s.knows(27) {
        return;
    }
    let old = s.file("old.yaml", &manifest("m", "replicas: 0\n  minReadySeconds: 1", ""));
    s.kubectl(&["apply", "-f", &old]);
    let managers = "jsonpath={.metadata.managedFields[*].manager}";
    let owned = || s.kubectl(&["get", "deploy", "m", "-o", managers, "--show-managed-fields"]);
    assert_eq!(owned(), "kubectl-client-side-apply");
    let new = s.file("new.yaml", &manifest("m", "replicas: 0", ""));
    s.kubectl(&["apply", "--server-side", "-f", &new]);
    assert_eq!(s.kubectl(&["get", "deploy", "m", "-o", "jsonpath={.spec.minReadySeconds}"]), "");
    assert!(owned().split(' ').any(|manager| manager == "kubectl"), "{}", owned());
    // And back again: the server kept the annotation true, so that what is gone from the manifest goes.
    s.kubectl(&["apply", "-f", &old]);
    assert_eq!(s.kubectl(&["get", "deploy", "m", "-o", "jsonpath={.spec.minReadySeconds}"]), "1");
    s.kubectl(&["apply", "-f", &new]);
    assert_eq!(s.kubectl(&["get", "deploy", "m", "-o", "jsonpath={.spec.minReadySeconds}"]), "");
}
