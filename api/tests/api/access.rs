//! Who may do what, and that even a defect in deciding it is an answer.

use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::client::{Client, peer, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn who_may_do_what() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.memory.add_node("n2");
    client.post(PODS, &pod("p")).await.with(201);
    let home =
        client.get(&format!("{PODS}/p")).await.with(200)["spec"]["nodeName"].as_str().unwrap().to_owned();
    let other = if home == "n1" { "n2" } else { "n1" };
    let anonymous = client.as_peer(None);
    assert_eq!(anonymous.get("/livez").await.code, 200);
    assert_eq!(anonymous.get("/version").await.code, 200);
    let refused = anonymous.get(MAPS).await.with(403);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        anonymous.get("/api").await.with(403)["message"],
        "forbidden: User \"system:anonymous\" cannot get path \"/api\""
    );
    assert_eq!(anonymous.get("/nope").await.code, 403, "not even which paths exist");
    let nobody = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    assert_eq!(nobody.delete(&format!("{PODS}/p")).await.code, 403);
    let worker = client.as_peer(Some(peer(Role::Worker, &home, "system:nodes")));
    worker.get(&format!("/api/v1/nodes/{home}")).await.with(200);
    worker.get(&format!("{PODS}/p")).await.with(200);
    worker.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{home}")).await.with(200);
    worker.get(&format!("/api/v1/nodes/{other}")).await.with(403);
    worker.get("/api/v1/pods").await.with(403);
    let by_name = format!("?fieldSelector=metadata.name%3D{home}");
    worker.get(&format!("/api/v1/nodes{by_name}")).await.with(200);
    worker.delete(&format!("/api/v1/nodes{by_name}")).await.with(403);
    let new = json!({"metadata": {"name": "n3"}});
    worker.post(&format!("/api/v1/nodes{by_name}"), &new).await.with(403);
    worker.delete(&format!("{PODS}?fieldSelector=metadata.name%3Dp")).await.with(403);
    worker.get("/api/v1/namespaces/default/secrets").await.with(403);
    let stranger = client.as_peer(Some(peer(Role::Worker, other, "system:nodes")));
    stranger.get(&format!("{PODS}/p")).await.with(403);
    let review = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(client.post(uri, &review).await.with(201)["status"]["allowed"], true);
    let who = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.with(201);
    assert_eq!(who["status"]["userInfo"]["username"], "admin");
}

#[tokio::test]
async fn workers_may_not_say_which_pods_come_to_their_nodes() {
    const MERGE: &str = "application/merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";
    let client = Client::new();
    client.memory.add_node("n1");
    let (own, worker) = ("/api/v1/nodes/n1", client.as_peer(Some(peer(Role::Worker, "n1", "system:nodes"))));
    let taints = json!([{"key": "quarantine", "effect": "NoSchedule"}]);
    client.patch(own, MERGE, &json!({"spec": {"taints": taints}})).await.with(200);
    let labels = |labels: &Value| json!({"metadata": {"labels": labels}});
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}]);
    for (change, what) in [
        (json!({"spec": {"taints": null}}), "taints"),
        (json!({"metadata": {"ownerReferences": owner}}), "ownerReferences"),
        (
            labels(&json!({"node-restriction.kubernetes.io/tier": "pci", "k8s.io/x": "", "disk": "ssd"})),
            "labels: k8s.io/x, node-restriction.kubernetes.io/tier",
        ),
        (labels(&json!({"node-role.kubernetes.io/db": ""})), "labels: node-role.kubernetes.io/db"),
    ] {
        let refused = worker.patch(own, MERGE, &change).await.with(403);
        let told = format!("nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify {what}");
        assert_eq!((&refused["reason"], &refused["message"]), (&json!("Forbidden"), &json!(told)));
    }
    let mut whole = client.get(own).await.with(200);
    whole["metadata"]["labels"]["node-restriction.kubernetes.io/tier"] = "pci".into();
    worker.put(own, &whole).await.with(403);
    let applied = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/tier": "pci"}},
    });
    worker.patch(&format!("{own}?fieldManager=t"), APPLY, &applied).await.with(403);
    // What it knows best, and what is nobody's.
    let fine =
        json!({"disk": "ssd", "topology.kubernetes.io/region": "r", "node.kubernetes.io/instance-type": "m"});
    let now = worker.patch(own, MERGE, &labels(&fine)).await.with(200);
    assert_eq!(now["metadata"]["labels"]["disk"], "ssd");
    assert_eq!(now["spec"]["taints"][0]["key"], "quarantine");
    // People may, and what they set the worker leaves.
    client.patch(own, MERGE, &labels(&json!({"node-restriction.kubernetes.io/tier": "pci"}))).await.with(200);
    // Nor by way of the status, whatever roles allow.
    let mut node = peer(Role::User, "system:node:n1", "system:masters");
    node.groups.push("system:nodes".into());
    let node = client.as_peer(Some(node));
    let (own_status, tier) = (format!("{own}/status"), json!({"node-restriction.kubernetes.io/tier": "x"}));
    node.patch(&own_status, MERGE, &labels(&tier)).await.with(403);
    node.patch(&own_status, MERGE, &labels(&json!({"disk": "ssd"}))).await.with(200);
    client.post(PODS, &pod("labelled")).await.with(201);
    let pod_status = format!("{PODS}/labelled/status");
    let refused = node.patch(&pod_status, MERGE, &labels(&json!({"app": "db"}))).await.with(403);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot update labels through pod status"), "{refused}");
    worker.patch(own, MERGE, &labels(&json!({"disk": null}))).await.with(200);
    worker.patch(own, MERGE, &labels(&json!({"node-restriction.kubernetes.io/tier": null}))).await.with(403);
}

#[tokio::test]
async fn workers_look_at_pods_by_name_only_once() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.post(PODS, &pod("p")).await.with(201);
    let worker = client.as_peer(Some(peer(Role::Worker, "n1", "system:nodes")));
    worker.get(&format!("{PODS}/p")).await.with(200);
    // When it has moved, its watch would tell of it still.
    for path in [
        format!("{PODS}/p?watch=1&timeoutSeconds=1"),
        format!("{PODS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dp"),
        format!("{PODS}?fieldSelector=metadata.name%3Dp"),
    ] {
        worker.get(&path).await.with(403);
    }
}

#[tokio::test]
async fn whoever_is_known_may_look_around() {
    let client = Client::new();
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    for path in ["/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v3", "/version"] {
        bob.get(path).await.with(200);
    }
    let who = bob.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.with(201);
    let groups = json!(["dev", "system:authenticated"]);
    assert_eq!(who["status"]["userInfo"], json!({"username": "bob", "groups": groups}));
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let rules = bob.post(rules, &json!({"spec": {"namespace": "default"}})).await.with(201);
    let paths = rules["status"]["nonResourceRules"][0]["nonResourceURLs"].as_array().unwrap();
    assert!(paths.contains(&json!("/apis/*")), "{paths:?}");
    assert_eq!(rules["status"]["resourceRules"].as_array().unwrap().len(), 2);
    for (path, message) in [
        ("/metrics", "forbidden: User \"bob\" cannot get path \"/metrics\""),
        (
            "/apis/no.such/v1/things/t",
            "things.no.such \"t\" is forbidden: User \"bob\" cannot get resource \"things\" in API group \"no.such\" at the \
             cluster scope",
        ),
        (
            "/api/v1/namespaces/default",
            "namespaces \"default\" is forbidden: User \"bob\" cannot get resource \"namespaces\" in API group \"\" in the \
             namespace \"default\"",
        ),
        (
            "/apis/apps/v1/deployments?watch=1",
            "deployments.apps is forbidden: User \"bob\" cannot watch resource \"deployments\" in API group \"apps\" at the \
             cluster scope",
        ),
        (
            "/api/v1/namespaces/default/pods/p/log",
            "pods \"p\" is forbidden: User \"bob\" cannot get resource \"pods/log\" in API group \"\" in the namespace \
             \"default\"",
        ),
    ] {
        assert_eq!(bob.get(path).await.with(403)["message"], message);
    }
    let anonymous = client.as_peer(None);
    anonymous.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.with(403);
}

#[tokio::test]
async fn credentials_that_prove_nothing_are_not_anonymous() {
    let client = Client::new();
    let anonymous = client.as_peer(None);
    let token = [("authorization", "Bearer stolen")];
    // Also where anybody may: whoever believes to be somebody is told.
    for path in [MAPS, "/api", "/livez", "/nope"] {
        let refused = anonymous.raw("GET", path, &token, "").await.with(401);
        let expected = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
        });
        assert_eq!(refused, expected, "{path}");
    }
    assert_eq!(anonymous.raw("GET", "/livez", &[("authorization", "")], "").await.code, 200);
    // A certificate decides alone.
    client.raw("GET", MAPS, &token, "").await.with(200);
    let nobody = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    nobody.raw("GET", MAPS, &token, "").await.with(403);
}

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const MAY_I: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn masters_act_as_others() {
    let client = Client::new();
    let jane = [("impersonate-user", "jane"), ("impersonate-group", "devs"), ("impersonate-uid", "7")];
    let who = client.raw("POST", WHO, &jane, "{}").await.with(201);
    let groups = json!(["devs", "system:authenticated"]);
    assert_eq!(who["status"]["userInfo"], json!({"username": "jane", "uid": "7", "groups": groups}));
    let extra = [("impersonate-user", "jane"), ("impersonate-extra-acme.com%2Fteam", "a")];
    let who = client.raw("POST", WHO, &extra, "{}").await.with(201);
    assert_eq!(who["status"]["userInfo"]["extra"], json!({"acme.com/team": ["a"]}));
    // What the other may not do is forbidden, whatever one may do oneself.
    let refused = client.raw("GET", PODS, &jane, "").await.with(403);
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let question = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}}).to_string();
    let answer = client.raw("POST", MAY_I, &jane, question.clone()).await.with(201);
    assert_eq!(answer["status"]["allowed"], false);
    let master = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
    let answer = client.raw("POST", MAY_I, &master, question).await.with(201);
    assert_eq!(answer["status"]["allowed"], true);
    client.raw("GET", PODS, &master, "").await.with(200);
    let anonymous = [("impersonate-user", "system:anonymous")];
    client.raw("GET", "/api", &anonymous, "").await.with(403);
    assert_eq!(client.raw("GET", "/livez", &anonymous, "").await.code, 200);
    client.raw("GET", PODS, &[("impersonate-group", "devs")], "").await.with(500);
}

#[tokio::test]
async fn nobody_else_acts_as_another() {
    let client = Client::new();
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    for (headers, message) in [
        (
            vec![("impersonate-user", "jane")],
            "users \"jane\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:ns:sa")],
            "serviceaccounts \"sa\" is forbidden: User \"bob\" cannot impersonate resource \"serviceaccounts\" in API group \
             \"\" in the namespace \"ns\"",
        ),
    ] {
        // Not even where anybody may.
        for path in [PODS, "/livez"] {
            assert_eq!(bob.raw("GET", path, &headers, "").await.with(403)["message"], message);
        }
    }
    let jane = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
    client.as_peer(None).raw("GET", PODS, &jane, "").await.with(403);
    let worker = client.as_peer(Some(peer(Role::Worker, "w1", "system:nodes")));
    worker.raw("GET", PODS, &jane, "").await.with(403);
}

#[tokio::test]
async fn what_others_may_do_can_be_asked() {
    let client = Client::new();
    let uri = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let pods = json!({"verb": "list", "resource": "pods"});
    let anything =
        json!({"verb": "frobnicate", "group": "no.such", "resource": "things", "subresource": "x"});
    let metrics = json!({"verb": "get", "path": "/metrics"});
    let api = json!({"verb": "get", "path": "/apis/apps"});
    for (spec, allowed) in [
        (json!({"user": "jane", "resourceAttributes": pods}), false),
        (json!({"user": "jane", "groups": ["system:masters"], "resourceAttributes": pods}), true),
        (json!({"groups": ["system:masters"], "resourceAttributes": anything}), true),
        (
            json!({"user": "jane", "groups": ["system:authenticated"], "nonResourceAttributes": metrics}),
            false,
        ),
        (json!({"user": "jane", "groups": ["system:authenticated"], "nonResourceAttributes": api}), true),
        // The groups are those of the question, and no others.
        (json!({"user": "jane", "nonResourceAttributes": api}), false),
    ] {
        let answer = client.post(uri, &json!({"spec": spec})).await.with(201);
        assert_eq!(answer["status"]["allowed"], json!(allowed), "{spec}");
    }
    for (spec, message) in [
        (
            json!({"resourceAttributes": pods}),
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
        (
            json!({"user": "jane"}),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            json!({"user": "jane", "resourceAttributes": pods, "nonResourceAttributes": api}),
            "cannot be specified in combination with resourceAttributes",
        ),
    ] {
        let refused = client.post(uri, &json!({"spec": spec})).await.with(422);
        let told = refused["message"].as_str().unwrap();
        assert!(told.starts_with("SubjectAccessReview.authorization.k8s.io \"\" is invalid: "), "{told}");
        assert!(told.contains(message), "{told}");
    }
    let named = json!({"metadata": {"name": "x"}, "spec": {"user": "jane", "resourceAttributes": pods}});
    client.post(uri, &named).await.with(422);
    // Whoever may ask about others learns what they may do: not everybody may.
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    let question = json!({"spec": {"user": "jane", "resourceAttributes": pods}});
    assert_eq!(
        bob.post(uri, &question).await.with(403)["message"],
        "subjectaccessreviews.authorization.k8s.io is forbidden: User \"bob\" cannot create resource \"subjectaccessreviews\" in \
         API group \"authorization.k8s.io\" at the cluster scope"
    );
}

#[tokio::test]
async fn a_namespace_can_be_asked_about() {
    let client = Client::new();
    let uri = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let question = |namespace: &str| {
        let pods = json!({"verb": "list", "resource": "pods", "namespace": namespace});
        json!({"spec": {"groups": ["system:masters"], "resourceAttributes": pods}})
    };
    let answer = client.post(uri, &question("default")).await.with(201);
    assert_eq!(answer["status"]["allowed"], true);
    assert_eq!(answer["metadata"]["namespace"], "default");
    let refused = client.post(uri, &question("other")).await.with(422);
    let told = refused["message"].as_str().unwrap();
    assert!(
        told.contains(
            "spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace"
        ),
        "{told}"
    );
    let path = json!({"verb": "get", "path": "/"});
    client.post(uri, &json!({"spec": {"user": "a", "nonResourceAttributes": path}})).await.with(422);
    let nowhere = "/apis/authorization.k8s.io/v1/localsubjectaccessreviews";
    client.post(nowhere, &question("default")).await.with(400);
}

#[tokio::test]
async fn no_token_is_known() {
    let client = Client::new();
    let uri = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = client.post(uri, &json!({"spec": {"token": "abc"}})).await.with(201);
    assert_eq!(answer["status"]["authenticated"], false);
    assert_eq!(answer["status"]["error"], "invalid bearer token");
    client.post(uri, &json!({})).await.with(400);
}

/// Lets everybody impersonate users, and nothing else but what a user named jane does.
struct UsersOnly;

impl kontiki_api::rest::Authorizer for UsersOnly {
    fn allows(
        &self,
        user: &kontiki_api::rest::User,
        access: &kontiki_api::rest::Access<'_>,
        _: &kontiki_actors::State,
    ) -> bool {
        let users = matches!(access.on, kontiki_api::rest::On::Resource(on) if on.resource == "users");
        if access.verb == "impersonate" { users } else { user.name == "jane" }
    }
}

#[tokio::test]
async fn each_part_of_another_is_asked_for() {
    let options = kontiki_api::Options { authorizer: std::sync::Arc::new(UsersOnly), ..Default::default() };
    let client = Client::with(kontiki_api::FeedLimits::default(), options);
    let jane = ("impersonate-user", "jane");
    client.get(MAPS).await.with(403);
    client.raw("GET", MAPS, &[jane], "").await.with(200);
    for (part, message) in [
        (("impersonate-group", "a"), "cannot impersonate resource \"groups\" in API group \"\""),
        (
            ("impersonate-uid", "7"),
            "cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\"",
        ),
        (
            ("impersonate-extra-k", "v"),
            "userextras.authentication.k8s.io \"v\" is forbidden: User \"admin\" cannot impersonate",
        ),
        (
            ("impersonate-extra-k", "v"),
            "resource \"userextras/k\" in API group \"authentication.k8s.io\" at the cluster scope",
        ),
    ] {
        let refused = client.raw("GET", MAPS, &[jane, part], "").await.with(403);
        let told = refused["message"].as_str().unwrap();
        assert!(told.contains(message), "{told}");
    }
}

struct Broken;

impl kontiki_api::rest::Authorizer for Broken {
    fn allows(
        &self,
        _: &kontiki_api::rest::User,
        _: &kontiki_api::rest::Access<'_>,
        _: &kontiki_actors::State,
    ) -> bool {
        panic!("a defect")
    }
}

#[tokio::test]
async fn a_defect_is_an_answer_too() {
    let options = kontiki_api::Options { authorizer: std::sync::Arc::new(Broken), ..Default::default() };
    let client = Client::with(kontiki_api::FeedLimits::default(), options);
    let status = client.get(MAPS).await.with(500);
    assert_eq!(status["reason"], "InternalError");
    assert!(!status["message"].as_str().unwrap().contains("a defect"), "inner details stay inside");
    client.get("/livez").await;
}
