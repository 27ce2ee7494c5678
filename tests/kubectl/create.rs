use kontiki_chaos_tests::eventually;

use crate::scenario::Scenario;

pub fn every_kind_of_create(s: &Scenario) {
    s.kubectl(&["create", "configmap", "c", "--from-literal=a=1"]);
    s.kubectl(&["create", "secret", "generic", "s", "--from-literal=p=x"]);
    s.kubectl(&["create", "serviceaccount", "robot"]);
    s.kubectl(&["create", "service", "clusterip", "svc", "--tcp=80:8080"]);
    s.kubectl(&["create", "deployment", "d", "--image=kontiki.local/web:1", "--replicas=0"]);
    assert_eq!(s.kubectl(&["get", "deploy", "d", "-o", "jsonpath={.spec.replicas}"]), "0");
    assert_eq!(s.kubectl(&["get", "secret", "s", "-o", "jsonpath={.data.p}"]), "eA==");
    s.kubectl(&["run", "lone", "--image=kontiki.local/web:1"]);
    s.kubectl(&["wait", "--for=condition=Ready", "pod/lone", "--timeout=60s"]);
    s.kubectl(&["delete", "pod", "lone", "--grace-period=1"]);
    if s.knows(27) {
        s.kubectl(&["wait", "--for=delete", "pod/lone", "--timeout=60s"]);
    }
    s.kubectl(&["label", "configmap,secret", "--all", "which=these"]);
    s.kubectl(&["delete", "configmap,secret", "-l", "which=these,which notin (those)", "--wait=false"]);
    assert_eq!(s.kubectl(&["get", "secrets", "-o", "name"]), "");
    s.kubectl(&["create", "configmap", "c", "--from-literal=a=1"]);
    assert!(s.refused(&["create", "configmap", "c"]).contains("already exists"));
    let generated =
        s.file("generated.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: gen-}\n");
    let said = s.kubectl(&["create", "-f", &generated]);
    assert!(said.starts_with("configmap/gen-"), "{said}");
}

pub fn dry_runs_change_nothing(s: &Scenario) {
    if s.knows(27) {
        s.kubectl(&["create", "configmap", "never", "--dry-run=server"]);
        assert!(s.refused(&["get", "configmap", "never"]).contains("not found"));
    }
    s.web();
    assert!(s.apply(crate::scenario::WEB).contains("unchanged"));
    let file = s.file("web.yaml", crate::scenario::WEB);
    if s.knows(27) {
        assert_eq!(s.kubectl(&["diff", "-f", &file]), "");
    }
    s.kubectl(&["delete", "-f", &file]);
    assert!(s.refused(&["get", "deployment", "web"]).contains("not found"));
}

pub fn namespaces_go_with_everything_in_them(s: &Scenario) {
    s.web();
    s.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=90s"]);
    assert_eq!(s.kubectl(&["get", "pods", "-o", "name"]), "");
    s.web();
    s.cluster.kubectl(&["delete", "namespace", &s.namespace, "--timeout=90s"]).unwrap();
    eventually("nothing of the namespace is left", || {
        let left = s.cluster.kubectl(&["get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.namespace}"]);
        match left {
            Ok(left) if !left.contains(&s.namespace) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let refused = s.refused(&["create", "configmap", "late"]);
    assert!(refused.contains(&format!("namespaces \"{}\" not found", s.namespace)), "{refused}");
}
