//! Tokens of service accounts: asked for, used, reviewed, and worth nothing when what they are bound to is gone.

use std::sync::Arc;

use kontiki_api::{
    FeedLimits, Options,
    token::{Bound, Claims, Issuer, Reference},
};
use kontiki_pki::{AccountKeys, Ca, Role};
use serde_json::{Value, json};

use crate::{
    audit::audited,
    client::{Client, peer, pod},
};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/robot/token";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const WHOSE: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const API: &str = "https://kubernetes.default.svc.cluster.local";

/// With an issuer, and an account named robot.
async fn cluster() -> Client {
    let keys = AccountKeys::of(&Ca::create("kontiki-test").unwrap()).unwrap();
    let options = Options { issuer: Some(Arc::new(Issuer::new(keys))), ..Options::default() };
    let client = Client::with(FeedLimits::default(), options);
    client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.with(201);
    client
}

async fn token(client: &Client, spec: Value) -> String {
    let made = client.post(TOKEN, &json!({"spec": spec})).await.with(201);
    made["status"]["token"].as_str().unwrap().to_owned()
}

async fn get(client: &Client, token: &str, path: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    client.as_peer(None).raw("GET", path, &[("authorization", &bearer)], "").await.code
}

async fn whose(client: &Client, token: &str, audiences: Value) -> Value {
    let question = json!({"spec": {"token": token, "audiences": audiences}});
    client.post(WHOSE, &question).await.with(201)["status"].clone()
}

#[tokio::test]
async fn an_account_does_what_it_was_given() {
    let client = cluster().await;
    let made = client.post(TOKEN, &json!({})).await.with(201);
    assert_eq!(made["kind"], "TokenRequest");
    assert_eq!(made["spec"], json!({"audiences": [API], "expirationSeconds": 3600}));
    assert!(made["status"]["expirationTimestamp"].as_str().unwrap().ends_with('Z'));
    let token = made["status"]["token"].as_str().unwrap();
    assert_eq!(get(&client, token, "/api").await, 200, "known");
    assert_eq!(get(&client, token, MAPS).await, 403, "and without rights");
    let binding = json!({"metadata": {"name": "robots"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    client.post(bindings, &binding).await.with(201);
    assert_eq!(get(&client, token, MAPS).await, 200);
    let bearer = format!("bearer {token}");
    let nobody = client.as_peer(None);
    let who = nobody.raw("POST", WHO, &[("authorization", &bearer)], "{}").await.with(201);
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:default:robot");
    assert_eq!(
        user["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    // A certificate decides alone.
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    bob.raw("GET", MAPS, &[("authorization", &bearer)], "").await.with(403);
    // Browsers cannot send the header with a WebSocket.
    let protocols = format!("v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{}", base64(token));
    nobody.raw("GET", MAPS, &[("sec-websocket-protocol", &protocols)], "").await.with(200);
}

fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_refused() {
    let client = cluster().await;
    let good = token(&client, json!({})).await;
    let other = token(&cluster().await, json!({})).await;
    for wrong in [format!("{good}x"), good.replacen('.', "..", 1), other, "x".into()] {
        for path in ["/livez", "/api", MAPS] {
            assert_eq!(get(&client, &wrong, path).await, 401, "{wrong}");
        }
    }
    let for_others = token(&client, json!({"audiences": ["vault"]})).await;
    assert_eq!(get(&client, &for_others, "/api").await, 401, "made for somebody else");
    // Without an issuer, none is believed.
    let without = Client::new();
    assert_eq!(get(&without, &good, "/api").await, 401);
    without.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.with(201);
    without.post(TOKEN, &json!({})).await.with(404);
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_its_pod() {
    let client = cluster().await;
    client.memory.add_node("n1");
    let mut value = pod("p");
    value["spec"]["serviceAccountName"] = "robot".into();
    let pods = "/api/v1/namespaces/default/pods";
    let uid = client.post(pods, &value).await.with(201)["metadata"]["uid"].clone();
    let to_pod = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}});
    let (bound, free) = (token(&client, to_pod).await, token(&client, json!({})).await);
    let user = whose(&client, &bound, json!([])).await["user"].clone();
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["n1"]));
    client.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.with(200);
    assert_eq!(get(&client, &bound, "/api").await, 401);
    assert_eq!(get(&client, &free, "/api").await, 200);
    client.delete(&format!("{ACCOUNTS}/robot")).await.with(200);
    assert_eq!(get(&client, &free, "/api").await, 401);
    client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.with(201);
    assert_eq!(get(&client, &free, "/api").await, 401, "another account of this name");
}

#[tokio::test]
async fn what_cannot_be_asked_for() {
    let client = cluster().await;
    let refused = client.post(TOKEN, &json!({"spec": {"expirationSeconds": 60}})).await.with(422);
    assert_eq!(
        refused["message"],
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a \
         duration less than 10 minutes"
    );
    client.post(TOKEN, &json!({"spec": {"expirationSeconds": (1_i64 << 32) + 1}})).await.with(422);
    client.post(&TOKEN.replace("robot", "nobody"), &json!({})).await.with(404);
    client.post(TOKEN, &json!({"metadata": {"name": "other"}})).await.with(400);
    client.get(TOKEN).await.with(405);
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    for (reference, code) in [
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "none"}), 404),
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "p"}), 400),
        (json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "older"}), 409),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "p"}), 400),
    ] {
        client.post(TOKEN, &json!({"spec": {"boundObjectRef": reference}})).await.with(code);
    }
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    assert_eq!(
        bob.post(TOKEN, &json!({})).await.with(403)["message"],
        "serviceaccounts \"robot\" is forbidden: User \"bob\" cannot create resource \"serviceaccounts/token\" in API group \"\" \
         in the namespace \"default\""
    );
}

/// What a program is that read its token when it started, and never again.
#[tokio::test]
async fn a_token_that_should_have_been_read_anew_is_told_of() {
    let keys = AccountKeys::of(&Ca::create("kontiki-test").unwrap()).unwrap();
    let issuer = Arc::new(Issuer::new(keys));
    let options = Options { issuer: Some(issuer.clone()), ..Options::default() };
    let (client, _, lines) = audited("- {level: Metadata}", options);
    let account = client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await.with(201);
    let mut value = pod("p");
    value["spec"]["serviceAccountName"] = "robot".into();
    let pod = client.post("/api/v1/namespaces/default/pods", &value).await.with(201);
    let reference = |object: &Value| Reference {
        name: object["metadata"]["name"].as_str().unwrap().to_owned(),
        uid: object["metadata"]["uid"].as_str().unwrap().to_owned(),
    };
    let bound = Bound {
        namespace: "default".into(),
        serviceaccount: reference(&account),
        pod: Some(reference(&pod)),
        ..Bound::default()
    };
    let now_s = jiff::Timestamp::now().as_second();
    let token = |made_s: i64| {
        let claims = Claims::new(bound.clone(), vec![API.into()], 3607, made_s, "1".into());
        issuer.sign(&claims).unwrap()
    };
    let annotation = || lines.last()["annotations"]["authentication.k8s.io/stale-token"].clone();
    assert_eq!(get(&client, &token(now_s), "/api").await, 200);
    assert_eq!(annotation(), Value::Null);
    assert_eq!(get(&client, &token(now_s - 4000), "/api").await, 200, "taken all the same");
    let told = annotation();
    let late = told
        .as_str()
        .unwrap()
        .strip_prefix("subject: system:serviceaccount:default:robot, seconds after warning threshold: ");
    assert!(late.unwrap().parse::<i64>().unwrap() >= 393, "{told}");
    let metrics = String::from_utf8(client.get("/metrics").await.bytes.to_vec()).unwrap();
    for line in ["kontiki_serviceaccount_valid_tokens_total 1", "kontiki_serviceaccount_stale_tokens_total 1"]
    {
        assert!(metrics.lines().any(|told| told == line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn others_can_ask_whose_a_token_is() {
    let client = cluster().await;
    let shared = token(&client, json!({"audiences": ["vault", "shop"]})).await;
    let told = whose(&client, &shared, json!(["shop", "bank"])).await;
    assert_eq!((&told["authenticated"], &told["audiences"]), (&json!(true), &json!(["shop"])));
    assert_eq!(told["user"]["username"], "system:serviceaccount:default:robot");
    let told = whose(&client, &shared, json!([])).await;
    assert_eq!(told["authenticated"], false);
    assert_eq!(
        told["error"],
        format!("token audiences [\"vault\", \"shop\"] is invalid for the target audiences [{API:?}]")
    );
    assert_eq!(whose(&client, "x.y.z", json!([])).await["error"], "invalid bearer token");
}

#[tokio::test]
async fn others_can_verify_tokens_themselves() {
    let client = cluster().await;
    let token = token(&client, json!({})).await;
    for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
        assert_eq!(get(&client, &token, path).await, 200, "an account may");
        client.as_peer(None).get(path).await.with(403);
    }
    let told = client.get("/.well-known/openid-configuration").await.with(200);
    assert_eq!(
        (&told["issuer"], &told["jwks_uri"]),
        (&json!(API), &json!("https://127.0.0.1:6443/openid/v1/jwks"))
    );
    let answer = client.get("/openid/v1/jwks").await;
    assert_eq!(answer.headers["content-type"], "application/jwk-set+json");
    let key = &answer.json()["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
}

#[tokio::test]
async fn a_controller_that_has_not_heard_of_an_account_asks() {
    let client = cluster().await;
    *client.memory.behind.lock() = Some(Default::default());
    let token = token(&client, json!({})).await;
    assert_eq!(get(&client, &token, "/api").await, 200);
    client.memory.quorum.store(false, std::sync::atomic::Ordering::Relaxed);
    // Whether it is really gone cannot be said now: that is no refusal.
    assert_eq!(get(&client, &token, "/api").await, 503);
}

#[tokio::test]
async fn a_pod_needs_its_account_and_gets_what_reaches_the_api() {
    let client = cluster().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut value = pod("p");
    value["spec"]["serviceAccountName"] = "nobody".into();
    let refused = client.post(pods, &value).await.with(403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
    value["spec"]["serviceAccountName"] = "robot".into();
    let dry = client.post(&format!("{pods}?dryRun=All"), &value).await.with(201);
    assert!(dry["spec"]["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
    let made = client.post(pods, &value).await.with(201);
    let volume = &made["spec"]["volumes"][0];
    assert_eq!(
        volume["projected"]["sources"][0],
        json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}})
    );
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
    // As it was read, and with another label; it may have got a condition meanwhile.
    let mut again = made.clone();
    again["metadata"]["labels"] = json!({"a": "b"});
    again["metadata"]["resourceVersion"] = json!(null);
    let put = client.put(&format!("{pods}/p"), &again).await.with(200);
    assert_eq!(put["spec"], made["spec"]);
}
