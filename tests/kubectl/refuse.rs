use crate::scenario::Scenario;

pub fn bad_input_gets_a_status(s: &Scenario) {
    let refused = |manifest: &str| {
        let file = s.file("bad.yaml", manifest);
        s.refused(&["create", "-f", &file])
    };
    let map = |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\n{rest}\n");
    // Before 1.25 kubectl looked at fields by itself, and the server only warns.
    if s.knows(27) {
        assert!(refused(&map("dataa: {a: b}")).contains("unknown field \"dataa\""));
    }
    assert!(refused(&map("data: 7")).contains("cannot unmarshal"));
    let name = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: No_Good}\n");
    assert!(name.contains("RFC 1123"), "{name}");
    let label = refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, labels: {a: '-x-'}}\n");
    assert!(label.contains("metadata.labels"), "{label}");
    assert!(refused("apiVersion: v9\nkind: Thing\nmetadata: {name: m}\n").contains("no matches for kind"));
    let negative = refused(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: -1, selector: {matchLabels: {a: b}}, \
         template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}\n",
    );
    assert!(
        negative.contains("spec.replicas") && negative.contains("greater than or equal to 0"),
        "{negative}"
    );
    s.kubectl(&["create", "configmap", "m", "--from-literal=a=1"]);
    let mut stale = s.json(&["get", "configmap", "m"]);
    s.kubectl(&["label", "configmap", "m", "changed=yes"]);
    stale["data"]["a"] = "2".into();
    let file = s.file("stale.json", &stale.to_string());
    assert!(s.refused(&["replace", "-f", &file]).contains("the object has been modified"));
}
