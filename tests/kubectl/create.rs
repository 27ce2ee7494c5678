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

pub fn kinds_that_are_only_stored(s: &Scenario) {
    s.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    s.kubectl(&["create", "rolebinding", "readers", "--role=reader", "--user=jo"]);
    let bindings = s.kubectl(&["get", "rolebindings", "-o", "wide"]);
    assert!(bindings.contains("Role/reader") && bindings.contains("jo"), "{bindings}");
    let role = s.json(&["get", "role", "reader"]);
    assert_eq!(role["rules"][0]["resources"], serde_json::json!(["pods"]));
    s.kubectl(&["create", "job", "once", "--image=kontiki.local/nothing:1"]);
    assert_eq!(s.kubectl(&["get", "job", "once", "-o", "jsonpath={.spec.backoffLimit}"]), "6");
    // Older ones ask for versions that are gone.
    if s.knows(27) {
        s.kubectl(&[
            "create",
            "cronjob",
            "nightly",
            "--image=kontiki.local/nothing:1",
            "--schedule=0 2 * * *",
        ]);
        s.kubectl(&["create", "job", "now", "--from=cronjob/nightly"]);
        let jobs = s.kubectl(&["get", "jobs"]);
        assert!(jobs.contains("COMPLETIONS") && jobs.contains("now") && jobs.contains("0/1"), "{jobs}");
        s.kubectl(&["create", "poddisruptionbudget", "quorum", "--selector=app=web", "--min-available=60%"]);
        let budgets = s.kubectl(&["get", "pdb"]);
        assert!(budgets.contains("MIN AVAILABLE") && budgets.contains("60%"), "{budgets}");
        let all = s.kubectl(&["get", "all"]);
        assert!(all.contains("job.batch/once") && all.contains("cronjob.batch/nightly"), "{all}");
        let refused = s.refused(&["create", "cronjob", "never", "--image=x", "--schedule=99 * * * *"]);
        assert!(refused.contains("spec.schedule: Invalid value: \"99 * * * *\""), "{refused}");
    }
    let service = ["-n", &s.namespace, "create", "service", "clusterip", "warned", "--tcp=80"];
    let said = String::from_utf8(s.cluster.kubectl_output(&service).unwrap().stderr).unwrap();
    let warning = "Warning: Services get addresses and node ports, but nothing routes to their pods yet";
    assert!(said.contains(warning), "{said}");
    s.kubectl(&["create", "quota", "few", "--hard=count/leases.coordination.k8s.io=3,secrets=1"]);
    s.kubectl(&["create", "secret", "generic", "one"]);
    let refused = s.refused(&["create", "secret", "generic", "two"]);
    let words =
        "is forbidden: exceeded quota: few, requested: secrets=1, used: secrets=1, limited: secrets=1";
    assert!(refused.contains(words), "{refused}");
    let quotas = s.kubectl(&["get", "quota", "few"]);
    assert!(quotas.contains("secrets: 1/1"), "{quotas}");
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
