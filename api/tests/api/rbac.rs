//! Role-based access control, from objects to answers.

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::client::{Client, peer};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAY_I: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const WHAT_MAY_I: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const GROUP: &str = "rbac.authorization.k8s.io";

fn namespaced(plural: &str) -> String {
    format!("{RBAC}/namespaces/default/{plural}")
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, subject: Value) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": [subject]})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

fn bob(client: &Client) -> Client {
    client.as_peer(Some(peer(Role::User, "bob", "dev")))
}

/// Gives bob, who is in the group dev, a role of these rules in the namespace default.
async fn grant(client: &Client, name: &str, rules: &[Value]) {
    client.post(&namespaced("roles"), &role(name, rules)).await.with(201);
    client.post(&namespaced("rolebindings"), &binding(name, "Role", name, user("bob"))).await.with(201);
}

#[tokio::test]
async fn a_role_gives_what_it_says_and_no_more() {
    let client = Client::new();
    let bob = bob(&client);
    bob.get(PODS).await.with(403);
    let mut named = rule(&["get", "update", "create"], "", &["configmaps"]);
    named["resourceNames"] = json!(["mine"]);
    grant(&client, "reader", &[rule(&["get", "list"], "", &["pods", "pods/status"]), named]).await;
    bob.get(PODS).await.with(200);
    bob.get(&format!("{PODS}/p")).await.with(404);
    bob.get(&format!("{PODS}/p/status")).await.with(404);
    for path in [
        format!("{PODS}?watch=1"),
        format!("{PODS}/p/log"),
        "/api/v1/namespaces/other/pods".to_owned(),
        "/api/v1/pods".to_owned(),
        "/api/v1/namespaces/default/secrets".to_owned(),
        "/apis/apps/v1/namespaces/default/deployments".to_owned(),
        MAPS.to_owned(),
        format!("{MAPS}/other"),
    ] {
        bob.get(&path).await.with(403);
    }
    bob.get(&format!("{MAPS}/mine")).await.with(404);
    // A collection that is limited to the name is that object; who creates has no name to show.
    bob.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dmine")).await.with(403);
    bob.post(MAPS, &json!({"metadata": {"name": "mine"}})).await.with(403);
    client.delete(&format!("{}/reader", namespaced("rolebindings"))).await.with(200);
    bob.get(PODS).await.with(403);
}

#[tokio::test]
async fn who_may_update_may_not_create_by_it() {
    let client = Client::new();
    let bob = bob(&client);
    let leases = "coordination.k8s.io";
    grant(&client, "renews", &[rule(&["get", "update", "patch"], leases, &["leases"])]).await;
    let url = format!("/apis/{leases}/v1/namespaces/default/leases/l");
    let lease = json!({"apiVersion": format!("{leases}/v1"), "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "bob"}});
    let refused = bob.put(&url, &lease).await.with(403);
    assert!(refused["message"].as_str().unwrap().contains("cannot create resource \"leases\""), "{refused}");
    bob.patch(&format!("{url}?fieldManager=bob"), "application/apply-patch+yaml", &lease).await.with(403);
    client.get(&url).await.with(404);
    grant(&client, "makes", &[rule(&["create"], leases, &["leases"])]).await;
    bob.put(&url, &lease).await.with(201);
}

#[tokio::test]
async fn groups_and_cluster_roles() {
    let client = Client::new();
    let bob = bob(&client);
    let dev = json!({"kind": "Group", "name": "dev"});
    let roles = namespaced("rolebindings");
    client.post(&roles, &binding("devs", "ClusterRole", "view", dev.clone())).await.with(201);
    bob.get(PODS).await.with(200);
    bob.get("/api/v1/namespaces/kube-system/pods").await.with(403);
    bob.get("/api/v1/namespaces/default/secrets").await.with(403);
    let everywhere = format!("{RBAC}/clusterrolebindings");
    client.post(&everywhere, &binding("devs", "ClusterRole", "view", dev)).await.with(201);
    bob.get("/api/v1/pods").await.with(200);
    bob.get("/api/v1/namespaces/kube-system/pods").await.with(200);
    // What is added to the role by label counts at once, also through those that gather from it.
    let mut more = role("more", &[rule(&["list"], "", &["nodes"])]);
    more["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    bob.get("/api/v1/nodes").await.with(403);
    client.post(&format!("{RBAC}/clusterroles"), &more).await.with(201);
    bob.get("/api/v1/nodes").await.with(200);
    let edit = client.get(&format!("{RBAC}/clusterroles/edit")).await.with(200);
    assert!(edit["rules"].as_array().unwrap().contains(&more["rules"][0]));
}

#[tokio::test]
async fn paths_are_given_for_the_whole_cluster_only() {
    let client = Client::new();
    let bob = bob(&client);
    let metrics = json!({"verbs": ["get"], "nonResourceURLs": ["/metr*"]});
    client.post(&format!("{RBAC}/clusterroles"), &role("scraper", &[metrics])).await.with(201);
    let in_namespace = binding("scraper", "ClusterRole", "scraper", user("bob"));
    client.post(&namespaced("rolebindings"), &in_namespace).await.with(201);
    bob.get("/metrics").await.with(403);
    client.post(&format!("{RBAC}/clusterrolebindings"), &in_namespace).await.with(201);
    assert_eq!(bob.get("/metrics").await.code, 200);
    assert_eq!(
        bob.post("/metrics", &json!({})).await.with(403)["message"],
        "forbidden: User \"bob\" cannot post path \"/metrics\""
    );
    // Who shows nothing may ask for the version and no more; even that can be taken away, but health cannot.
    let nobody = client.as_peer(None);
    nobody.get("/version").await.with(200);
    nobody.get("/api").await.with(403);
    client.delete(&format!("{RBAC}/clusterrolebindings/system:public-info-viewer")).await.with(200);
    assert_eq!(
        nobody.get("/version").await.with(403)["message"],
        "forbidden: User \"system:anonymous\" cannot get path \"/version\""
    );
    assert_eq!(nobody.get("/livez").await.code, 200);
}

#[tokio::test]
async fn a_role_that_is_not_there_is_named() {
    let client = Client::new();
    let bob = bob(&client);
    let to_bob = |name: &str, kind: &str, role: &str| binding(name, kind, role, user("bob"));
    client.post(&namespaced("rolebindings"), &to_bob("a", "Role", "gone")).await.with(201);
    let start = "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(
        bob.get(PODS).await.with(403)["message"],
        format!("{start}: RBAC: role.rbac.authorization.k8s.io \"gone\" not found")
    );
    client.post(&namespaced("rolebindings"), &to_bob("b", "ClusterRole", "far")).await.with(201);
    assert_eq!(
        bob.get(PODS).await.with(403)["message"],
        format!(
            "{start}: RBAC: [role.rbac.authorization.k8s.io \"gone\" not found, clusterrole.rbac.authorization.k8s.io \
             \"far\" not found]"
        )
    );
}

#[tokio::test]
async fn questions_are_answered_from_roles() {
    let client = Client::new();
    let bob = bob(&client);
    grant(&client, "reader", &[rule(&["get"], "", &["pods/log"])]).await;
    let question = |subresource: &str| {
        let what =
            json!({"verb": "get", "resource": "pods", "subresource": subresource, "namespace": "default"});
        json!({"spec": {"resourceAttributes": what}})
    };
    let answer = bob.post(MAY_I, &question("log")).await.with(201);
    assert_eq!(
        answer["status"],
        json!({"allowed": true,
            "reason": "RBAC: allowed by RoleBinding \"reader/default\" of Role \"reader\" to User \"bob\""})
    );
    assert_eq!(bob.post(MAY_I, &question("")).await.with(201)["status"], json!({"allowed": false}));
    let mut about = question("log");
    about["spec"]["user"] = "system:serviceaccount:default:robot".into();
    let uri = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(client.post(uri, &about).await.with(201)["status"]["allowed"], false);
    let robot = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    client.post(&namespaced("rolebindings"), &binding("robots", "Role", "reader", robot)).await.with(201);
    let told = client.post(uri, &about).await.with(201);
    assert_eq!(
        told["status"]["reason"],
        "RBAC: allowed by RoleBinding \"robots/default\" of Role \"reader\" to ServiceAccount \"robot/default\""
    );
    let rules = bob.post(WHAT_MAY_I, &json!({"spec": {"namespace": "default"}})).await.with(201);
    let status = &rules["status"];
    assert_eq!(status["incomplete"], false);
    assert!(status["resourceRules"].as_array().unwrap().contains(&rule(&["get"], "", &["pods/log"])));
    let elsewhere = bob.post(WHAT_MAY_I, &json!({"spec": {"namespace": "other"}})).await.with(201);
    assert!(!elsewhere["status"]["resourceRules"].to_string().contains("pods/log"));
    bob.post(WHAT_MAY_I, &json!({})).await.with(400);
    let all = client.post(WHAT_MAY_I, &json!({"spec": {"namespace": "x"}})).await.with(201);
    assert_eq!(all["status"]["resourceRules"][0], rule(&["*"], "*", &["*"]));
}

#[tokio::test]
async fn who_may_act_as_others_is_a_role_too() {
    let client = Client::new();
    let bob = bob(&client);
    let mut jane = rule(&["impersonate"], "", &["users"]);
    jane["resourceNames"] = json!(["jane"]);
    client.post(&format!("{RBAC}/clusterroles"), &role("as-jane", &[jane])).await.with(201);
    let given = binding("as-jane", "ClusterRole", "as-jane", user("bob"));
    client.post(&format!("{RBAC}/clusterrolebindings"), &given).await.with(201);
    let as_jane = ("impersonate-user", "jane");
    assert_eq!(bob.raw("GET", "/api", &[as_jane], "").await.code, 200);
    bob.raw("GET", "/api", &[("impersonate-user", "joe")], "").await.with(403);
    bob.raw("GET", "/api", &[as_jane, ("impersonate-group", "system:masters")], "").await.with(403);
    // `edit` lets act as the service accounts of its namespace.
    let edit = binding("edit", "ClusterRole", "edit", user("bob"));
    client.post(&namespaced("rolebindings"), &edit).await.with(201);
    let account = |namespace| format!("system:serviceaccount:{namespace}:robot");
    let (own, other) = (account("default"), account("kube-system"));
    assert_eq!(bob.raw("GET", "/api", &[("impersonate-user", &own)], "").await.code, 200);
    bob.raw("GET", "/api", &[("impersonate-user", &other)], "").await.with(403);
}

fn all_verbs() -> [&'static str; 4] {
    ["create", "update", "patch", "get"]
}

#[tokio::test]
async fn nobody_writes_roles_that_may_more_than_he() {
    let client = Client::new();
    let bob = bob(&client);
    let own = [rule(&all_verbs(), GROUP, &["roles"]), rule(&["get"], "", &["pods"])];
    grant(&client, "writer", &own).await;
    let roles = namespaced("roles");
    bob.post(&roles, &role("less", &[rule(&["get"], "", &["pods"])])).await.with(201);
    let more = role("more", &[rule(&["get", "list"], "", &["pods", "secrets"])]);
    let refused = bob.post(&roles, &more).await.with(403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    assert_eq!(
        (refused["reason"].as_str(), refused["details"]["kind"].as_str()),
        (Some("Forbidden"), Some("roles"))
    );
    // By whatever way it is written.
    let less = format!("{roles}/less");
    bob.put(&less, &role("less", more["rules"].as_array().unwrap())).await.with(403);
    bob.put(&format!("{roles}/more"), &more).await.with(403);
    bob.patch(&less, "application/merge-patch+json", &json!({"rules": more["rules"]})).await.with(403);
    let add = json!([{"op": "add", "path": "/rules/0/verbs/0", "value": "delete"}]);
    bob.patch(&less, "application/json-patch+json", &add).await.with(403);
    bob.post(&format!("{roles}?dryRun=All"), &more).await.with(403);
    for name in ["less", "applied"] {
        let mut applied = role(name, more["rules"].as_array().unwrap());
        applied["apiVersion"] = format!("{GROUP}/v1").into();
        applied["kind"] = "Role".into();
        let url = format!("{roles}/{name}?fieldManager=bob&force=true");
        let refused = bob.patch(&url, "application/apply-patch+yaml", &applied).await.with(403);
        assert!(refused["message"].as_str().unwrap().contains("not currently held"), "{refused}");
    }
    // What the garbage collector needs may change, and nothing else.
    client.post(&roles, &more).await.with(201);
    let more_url = format!("{roles}/more");
    let finalizers = json!({"metadata": {"finalizers": ["example.com/x"]}});
    bob.patch(&more_url, "application/merge-patch+json", &finalizers).await.with(200);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    bob.patch(&more_url, "application/merge-patch+json", &labels).await.with(403);
    // The right to escalate is a right, too; that of one name does not count where the name is not in the URL.
    let mut escalate = rule(&["escalate"], GROUP, &["roles"]);
    escalate["resourceNames"] = json!(["more", "fresh"]);
    grant(&client, "escalate", &[escalate]).await;
    bob.patch(&more_url, "application/merge-patch+json", &labels).await.with(200);
    bob.patch(&less, "application/json-patch+json", &add).await.with(403);
    bob.post(&roles, &role("fresh", &[rule(&["list"], "", &["pods"])])).await.with(403);
    grant(&client, "escalate-all", &[rule(&["escalate"], GROUP, &["roles"])]).await;
    bob.post(&roles, &role("fresh", &[rule(&["list"], "", &["pods"])])).await.with(201);
}

#[tokio::test]
async fn nobody_binds_roles_that_may_more_than_he() {
    let client = Client::new();
    let bob = bob(&client);
    let own = [rule(&all_verbs(), GROUP, &["rolebindings"]), rule(&["get"], "", &["pods"])];
    grant(&client, "binder", &own).await;
    client.post(&namespaced("roles"), &role("less", &[rule(&["get"], "", &["pods"])])).await.with(201);
    let bindings = namespaced("rolebindings");
    bob.post(&bindings, &binding("less", "Role", "less", user("jane"))).await.with(201);
    let admin = binding("admin", "ClusterRole", "cluster-admin", user("bob"));
    let refused = bob.post(&bindings, &admin).await.with(403);
    assert_eq!(
        refused["message"],
        "rolebindings.rbac.authorization.k8s.io \"admin\" is forbidden: user \"bob\" (groups=[\"dev\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
    );
    let gone = bob.post(&bindings, &binding("gone", "ClusterRole", "nope", user("bob"))).await.with(404);
    assert_eq!(gone["message"], "clusterroles.rbac.authorization.k8s.io \"nope\" not found");
    let view = binding("view", "ClusterRole", "view", user("jane"));
    bob.post(&bindings, &view).await.with(403);
    client.post(&bindings, &view).await.with(201);
    let subjects = json!({"subjects": [user("bob")]});
    let url = format!("{bindings}/view");
    bob.patch(&url, "application/merge-patch+json", &subjects).await.with(403);
    let mut bind = rule(&["bind"], GROUP, &["clusterroles"]);
    bind["resourceNames"] = json!(["view"]);
    grant(&client, "bind-view", &[bind]).await;
    bob.patch(&url, "application/merge-patch+json", &subjects).await.with(200);
    bob.post(&bindings, &admin).await.with(403);
}

#[tokio::test]
async fn gathering_rules_takes_all_rights() {
    let client = Client::new();
    let bob = bob(&client);
    let roles = format!("{RBAC}/clusterroles");
    let all = rule(&["*"], "*", &["*"]);
    client.post(&roles, &role("nearly", std::slice::from_ref(&all))).await.with(201);
    let nearly = binding("nearly", "ClusterRole", "nearly", user("bob"));
    client.post(&format!("{RBAC}/clusterrolebindings"), &nearly).await.with(201);
    // Who may all on resources may also escalate.
    let gathers = json!({"metadata": {"name": "g"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    bob.post(&roles, &gathers).await.with(201);
    let mut most = all.clone();
    most["verbs"] = json!(["get", "create", "update"]);
    client.put(&format!("{roles}/nearly"), &role("nearly", &[most])).await.with(200);
    let mut other = gathers.clone();
    other["metadata"]["name"] = "h".into();
    assert_eq!(
        bob.post(&roles, &other).await.with(403)["message"],
        "clusterroles.rbac.authorization.k8s.io \"h\" is forbidden: must have cluster-admin privileges to use the \
         aggregationRule"
    );
}

#[tokio::test]
async fn a_namespaces_admin_gives_what_he_has() {
    let client = Client::new();
    let bob = bob(&client);
    let admin = binding("admin", "ClusterRole", "admin", user("bob"));
    client.post(&namespaced("rolebindings"), &admin).await.with(201);
    let bindings = namespaced("rolebindings");
    for given in ["view", "edit", "admin"] {
        let to_jane = binding(&format!("jane-{given}"), "ClusterRole", given, user("jane"));
        bob.post(&bindings, &to_jane).await.with(201);
    }
    bob.post(&bindings, &binding("x", "ClusterRole", "cluster-admin", user("jane"))).await.with(403);
    let elsewhere = format!("{RBAC}/namespaces/kube-system/rolebindings");
    bob.post(&elsewhere, &binding("x", "ClusterRole", "view", user("jane"))).await.with(403);
}

#[tokio::test]
async fn a_right_counts_at_once_and_one_that_is_taken_where_that_is_known() {
    let client = Client::new();
    let bob = bob(&client);
    *client.memory.behind.lock() = Some(client.memory.state());
    grant(&client, "reader", &[rule(&["list"], "", &["pods"])]).await;
    bob.get(PODS).await.with(200);
    client.memory.quorum.store(false, std::sync::atomic::Ordering::Relaxed);
    bob.get(PODS).await.with(403);
    client.memory.quorum.store(true, std::sync::atomic::Ordering::Relaxed);
    *client.memory.behind.lock() = Some(client.memory.state());
    client.delete(&format!("{}/reader", namespaced("rolebindings"))).await.with(200);
    bob.get(PODS).await.with(200);
    *client.memory.behind.lock() = None;
    bob.get(PODS).await.with(403);
}

/// Gives bob a role of these rules in the whole cluster.
async fn grant_everywhere(client: &Client, name: &str, rules: &[Value]) {
    client.post(&format!("{RBAC}/clusterroles"), &role(name, rules)).await.with(201);
    let bound = binding(name, "ClusterRole", name, user("bob"));
    client.post(&format!("{RBAC}/clusterrolebindings"), &bound).await.with(201);
}

#[tokio::test]
async fn who_may_write_secrets_makes_no_join_tokens() {
    const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
    const MERGE: &str = "application/merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";
    let client = Client::new();
    let bob = bob(&client);
    grant_everywhere(&client, "secrets", &[rule(&["*"], "", &["secrets"])]).await;
    let secret = |name: &str, of: &str| {
        let metadata = json!({"name": name, "namespace": "kube-system"});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": of, "data": {"role": "d29ya2Vy"}})
    };
    let (token, token_type) = ("join-token-1", "kontiki.io/join-token");
    let own = format!("{SECRETS}/{token}");
    let why = |name: &str| {
        format!(
            "secrets {name:?} is forbidden: only users of the group system:masters may write secrets of type {token_type}"
        )
    };
    let refused = bob.post(SECRETS, &secret(token, token_type)).await.with(403);
    assert_eq!((&refused["reason"], &refused["message"]), (&json!("Forbidden"), &json!(why(token))));
    let apply = |name: &str| format!("{SECRETS}/{name}?fieldManager=t");
    bob.patch(&apply(token), APPLY, &secret(token, token_type)).await.with(403);
    client.get(&own).await.with(404);

    let made = client.post(SECRETS, &secret(token, token_type)).await.with(201);
    let other_role = json!({"data": {"role": "Y29udHJvbGxlcg=="}});
    assert_eq!(bob.patch(&own, MERGE, &other_role).await.with(403)["message"], why(token));
    bob.patch(&apply(token), APPLY, &secret(token, token_type)).await.with(403);
    let mut replaced = made.clone();
    replaced["data"] = other_role["data"].clone();
    bob.put(&own, &replaced).await.with(403);
    assert_eq!(client.get(&own).await.with(200)["data"], made["data"]);
    // Administrators may, whoever may delete secrets takes tokens away, and other secrets are as ever.
    client.put(&own, &replaced).await.with(200);
    bob.delete(&own).await.with(200);
    bob.post(SECRETS, &secret("other", "Opaque")).await.with(201);
    bob.patch(&format!("{SECRETS}/other"), MERGE, &other_role).await.with(200);
}

#[tokio::test]
async fn who_approves_for_one_signer_does_not_for_others() {
    const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    const MERGE: &str = "application/merge-patch+json";
    let client = Client::new();
    let bob = bob(&client);
    let group = "certificates.k8s.io";
    let subresources = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
    let mut one = rule(&["approve"], group, &["signers"]);
    one["resourceNames"] = json!(["example.com/dev"]);
    let mut domain = rule(&["approve", "sign"], group, &["signers"]);
    domain["resourceNames"] = json!(["whole.example/*"]);
    grant_everywhere(&client, "approver", &[rule(&["update", "patch"], group, &subresources), one, domain])
        .await;
    let pem =
        STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n");
    for (name, signer) in
        [("dev", "example.com/dev"), ("prod", "example.com/prod"), ("any", "whole.example/any")]
    {
        let spec = json!({"request": pem, "signerName": signer, "usages": ["client auth"]});
        client.post(REQUESTS, &json!({"metadata": {"name": name}, "spec": spec})).await.with(201);
    }
    let verdict = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]}});
    let signed = json!({"status": {"certificate": "eA=="}});
    for (name, approves, signs) in [("dev", 200, 403), ("prod", 403, 403), ("any", 200, 200)] {
        bob.patch(&format!("{REQUESTS}/{name}/approval"), MERGE, &verdict).await.with(approves);
        bob.patch(&format!("{REQUESTS}/{name}/status"), MERGE, &signed).await.with(signs);
    }
    let url = format!("{REQUESTS}/prod/approval");
    let mut whole = client.get(&format!("{REQUESTS}/prod")).await.with(200);
    whole["status"] = verdict["status"].clone();
    assert_eq!(
        bob.put(&url, &whole).await.with(403)["message"],
        "certificatesigningrequests.certificates.k8s.io \"prod\" is forbidden: user not permitted to approve requests with \
         signerName \"example.com/prod\""
    );
    bob.patch(&format!("{REQUESTS}/none/approval"), MERGE, &verdict).await.with(404);
}
