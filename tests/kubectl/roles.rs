use serde_json::{Value, json};

use crate::scenario::Scenario;

/// Roles and bindings as people make and ask about them.
pub fn roles_say_who_may_do_what(s: &Scenario) {
    let namespace = &s.namespace;
    let forbidden = |what: &str| {
        format!(
            "Error from server (Forbidden): {what} is forbidden: User \"jane\" cannot list resource \"{what}\" in API group \"\" in \
             the namespace \"{namespace}\""
        )
    };
    assert_eq!(s.refused(&["get", "pods", "--as", "jane"]).trim(), forbidden("pods"));
    s.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log"]);
    s.kubectl(&["create", "rolebinding", "readers", "--role=reader", "--user=jane"]);
    assert!(s.kubectl(&["get", "pods", "-o", "name", "--as", "jane"]).is_empty());
    assert_eq!(s.refused(&["get", "secrets", "--as", "jane"]).trim(), forbidden("secrets"));
    let elsewhere = s.cluster.kubectl_output(&["get", "pods", "-n", "default", "--as", "jane"]).unwrap();
    assert!(!elsewhere.status.success(), "a role counts in its namespace");
    let can = |args: &[&str]| {
        let args = [&["-n", namespace, "auth", "can-i"], args, &["--as", "jane"]].concat();
        let output = s.cluster.kubectl_output(&args).unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(can(&["get", "pods", "--subresource=log"]), "yes");
    assert_eq!(can(&["delete", "pods"]), "no");
    let list = can(&["--list"]);
    let held = |list: &str, resource: &str, verbs: &str| {
        list.lines().any(|line| line.split_whitespace().next() == Some(resource) && line.contains(verbs))
    };
    assert!(held(&list, "pods/log", "[get list]"), "{list}");
    assert!(held(&list, "selfsubjectaccessreviews.authorization.k8s.io", "[create]"), "{list}");
    assert!(!list.contains("*.*"), "{list}");
    // The default roles are there, with what they gather.
    s.kubectl(&["create", "rolebinding", "editors", "--clusterrole=edit", "--group=devs"]);
    s.kubectl(&["create", "configmap", "made", "--from-literal=a=b", "--as", "joe", "--as-group", "devs"]);
    let refused = s.refused(&["create", "role", "more", "--verb=get", "--resource=pods", "--as", "jane"]);
    assert!(refused.contains("cannot create resource \"roles\""), "{refused}");
}

/// Whoever writes roles gives no more than he has.
pub fn nobody_gives_more_than_he_has(s: &Scenario) {
    s.kubectl(&["create", "rolebinding", "admins", "--clusterrole=admin", "--user=jane"]);
    let jane = |args: &[&'static str]| [args, &["--as", "jane"]].concat();
    s.kubectl(&jane(&["create", "role", "own", "--verb=get", "--resource=pods"]));
    s.kubectl(&jane(&["create", "rolebinding", "own", "--role=own", "--user=joe"]));
    let role = s.refused(&jane(&["create", "role", "more", "--verb=get,delete", "--resource=nodes"]));
    assert!(
        role.contains(
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting \
             to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"delete\"]}"
        ),
        "{role}"
    );
    let bound =
        s.refused(&jane(&["create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=jane"]));
    assert!(bound.contains("is attempting to grant RBAC permissions not currently held"), "{bound}");
    assert!(bound.contains("{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"), "{bound}");
}

/// A service account's token, as a program would use it that has nothing else.
pub fn tokens_of_service_accounts(s: &Scenario) {
    if !s.knows(24) {
        // `kubectl create token` is of 1.24.
        return;
    }
    s.kubectl(&["create", "serviceaccount", "robot"]);
    let token = s.kubectl(&["create", "token", "robot", "--duration=10m"]);
    let token = token.trim();
    let config = config_with(s, json!({"token": token}));
    let robot = |args: &[&str]| {
        let args = [&["--kubeconfig", &config, "-n", &s.namespace], args].concat();
        let output = s.cluster.kubectl_output(&args).unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let account = format!("system:serviceaccount:{}:robot", s.namespace);
    let (done, said) = robot(&["get", "pods"]);
    assert!(!done && said.contains(&format!("User \"{account}\" cannot list resource \"pods\"")), "{said}");
    let to_robot = format!("--serviceaccount={}:robot", s.namespace);
    s.kubectl(&["create", "rolebinding", "robots", "--clusterrole=view", &to_robot]);
    let (done, said) = robot(&["get", "pods"]);
    assert!(done, "{said}");
    if s.knows(28) {
        let (_, who) = robot(&["auth", "whoami", "-o", "json"]);
        let who: Value = serde_json::from_str(&who).unwrap();
        assert_eq!(who["status"]["userInfo"]["username"], account);
    }
    // The same on every controller: each has a port of its own.
    for context in s.kubectl(&["config", "get-contexts", "-o", "name"]).lines() {
        let (done, said) = robot(&["get", "pods", "--context", context]);
        assert!(done, "{context}: {said}");
    }
    let broken = config_with(s, json!({"token": format!("{token}x")}));
    let output = s.cluster.kubectl_output(&["--kubeconfig", &broken, "get", "pods"]).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("You must be logged in to the server"), "{said}");
    s.kubectl(&["delete", "serviceaccount", "robot"]);
    kontiki_chaos_tests::eventually("the token is refused", || match robot(&["get", "pods"]) {
        (false, said) if said.contains("You must be logged in to the server") => Ok(()),
        (_, said) => Err(said),
    });
}

/// A kubeconfig of the same cluster, for a user with these credentials and no certificate.
pub fn config_with(s: &Scenario, user: Value) -> String {
    let mut config: Value =
        serde_json::from_str(&s.kubectl(&["config", "view", "--raw", "-o", "json"])).unwrap();
    for entry in config["users"].as_array_mut().unwrap() {
        entry["user"] = user.clone();
    }
    s.file("robot.json", &config.to_string())
}
