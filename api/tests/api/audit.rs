//! Audit: what is told of requests, when, and what is not.

use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use kontiki_actors::State;
use kontiki_api::{
    FeedLimits, Options,
    audit::{Audit, Policy, Sink},
    rest::{Access, Authorizer, User},
};
use kontiki_pki::Role;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Client, MERGE, peer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";

/// The lines, as they are told.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Value>>);

impl Sink for Lines {
    fn take(&self, line: Vec<u8>) {
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        self.0.lock().push(serde_json::from_slice(&line).unwrap());
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.lock().len() as u64, 7)
    }
}

impl Lines {
    pub(crate) fn all(&self) -> Vec<Value> {
        self.0.lock().clone()
    }

    pub(crate) fn take_all(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock())
    }

    /// The last event.
    pub(crate) fn last(&self) -> Value {
        self.take_all().pop().unwrap()
    }
}

/// An audit by these rules, and what is told.
pub(crate) fn audit(rules: &str) -> (Audit, Arc<Lines>) {
    let lines = Arc::new(Lines::default());
    let policy =
        Policy::read(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).unwrap();
    (Audit { policy: Arc::new(policy), sink: lines.clone() }, lines)
}

/// An administrator, a user who may do nothing, and what is told of both.
pub(crate) fn audited(rules: &str, options: Options) -> (Client, Client, Arc<Lines>) {
    let (audit, lines) = audit(rules);
    let admin = Client::with(FeedLimits::default(), Options { audit: Some(audit), ..options });
    let jane = admin.as_peer(Some(peer(Role::User, "jane", "staff")));
    (admin, jane, lines)
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn who_asked_for_what_and_what_came_of_it() {
    let (admin, _, lines) = audited("- {level: Metadata}", Options::default());
    let headers =
        [("user-agent", "kubectl/v1.33"), ("x-forwarded-for", "10.0.0.1, 10.0.0.2"), ("audit-id", "a-1")];
    let body = json!({"metadata": {"name": "m"}, "data": {"secret": "s3cr3t"}});
    let answer = admin.raw("POST", &format!("{MAPS}?fieldManager=x"), &headers, body.to_string()).await;
    assert_eq!((answer.code, answer.headers["audit-id"].to_str().unwrap()), (201, "a-1"));
    let events = lines.take_all();
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    let event = &events[1];
    for (pointer, expected) in [
        ("/kind", json!("Event")),
        ("/apiVersion", json!("audit.k8s.io/v1")),
        ("/level", json!("Metadata")),
        ("/auditID", json!("a-1")),
        ("/requestURI", json!(format!("{MAPS}?fieldManager=x"))),
        ("/verb", json!("create")),
        ("/user", json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]})),
        ("/sourceIPs", json!(["10.0.0.1", "10.0.0.2"])),
        ("/userAgent", json!("kubectl/v1.33")),
        (
            "/objectRef",
            json!({"resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1"}),
        ),
        ("/responseStatus", json!({"metadata": {}, "code": 201})),
        ("/annotations/authorization.k8s.io~1decision", json!("allow")),
        ("/requestObject", Value::Null),
        ("/responseObject", Value::Null),
    ] {
        assert_eq!(event.pointer(pointer).unwrap_or(&Value::Null), &expected, "{pointer} of {event}");
    }
    assert!(!event.to_string().contains("s3cr3t"));
    let time = event["stageTimestamp"].as_str().unwrap();
    assert!(time.len() == "2026-11-29T10:11:12.123456Z".len() && time.ends_with('Z'), "{time}");
    assert_eq!(events[0].get("responseStatus"), None, "nothing has come of it yet");
    // What is not built in is known by its path alone.
    admin.get("/apis/shop.example.com/v1beta1/namespaces/default/carts/c").await.with(404);
    let cart = json!({
        "resource": "carts", "namespace": "default", "name": "c", "apiGroup": "shop.example.com", "apiVersion": "v1beta1",
    });
    assert_eq!(lines.last()["objectRef"], cart);
    admin.get("/apis/apps/v1").await.with(200);
    let event = lines.last();
    assert_eq!((&event["verb"], event.get("objectRef")), (&json!("get"), None));
}

#[tokio::test]
async fn contents_are_told_where_the_policy_says_so() {
    let rules = "- {level: None, resources: [{group: '', resources: [secrets]}]}\n\
                 - {level: Request, verbs: [create, patch], omitStages: [RequestReceived]}\n\
                 - {level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived]}";
    let (admin, _, lines) = audited(rules, Options::default());
    let body = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
    admin.post(MAPS, &body).await.with(201);
    let event = lines.last();
    assert_eq!((&event["requestObject"], event.get("responseObject")), (&body, None));
    admin.raw("POST", MAPS, &[("content-type", YAML)], "metadata: {name: yaml}").await.with(201);
    assert_eq!(lines.last()["requestObject"], json!({"metadata": {"name": "yaml"}}));
    let named =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"a": "b"}});
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    admin.raw("POST", MAPS, &protobuf, crate::kinds::encode::body(&named)).await.with(201);
    assert_eq!(lines.last()["requestObject"]["data"], json!({"a": "b"}));
    let patch = json!({"data": {"c": "d"}});
    admin.patch(&format!("{MAPS}/m"), MERGE, &patch).await.with(200);
    assert_eq!(lines.last()["requestObject"], patch);
    let object = admin.get(&format!("{MAPS}/m")).await.with(200);
    assert!(object["metadata"]["managedFields"].is_array());
    let told = lines.last()["responseObject"].clone();
    assert_eq!((&told["data"], told["metadata"].get("managedFields")), (&object["data"], None));
    // Also of what is answered as protobuf.
    let accept = [("accept", "application/vnd.kubernetes.protobuf")];
    let answer = admin.raw("GET", &format!("{MAPS}/m"), &accept, Body::empty()).await;
    assert!(answer.bytes.starts_with(b"k8s\0"));
    assert_eq!(lines.last()["responseObject"], told);
    admin.get(MAPS).await.with(200);
    let told = lines.last()["responseObject"].clone();
    assert_eq!(told["items"].as_array().unwrap().len(), 3);
    assert!(!told.to_string().contains("managedFields"));
    admin.table(MAPS).await;
    assert!(!lines.last()["responseObject"].to_string().contains("managedFields"));
    admin.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await.with(201);
    assert_eq!(lines.take_all(), Vec::<Value>::new());
    let long = json!({"metadata": {"name": "long"}, "data": {"a": "x".repeat((1 << 20) + 1)}});
    admin.put(&format!("{MAPS}/m"), &long).await;
    let event = lines.last();
    assert_eq!(
        (event.get("requestObject"), &event["annotations"]["audit.k8s.io/truncated"]),
        (None, &json!("true"))
    );
}

#[tokio::test]
async fn refusals_are_told() {
    let (admin, jane, lines) =
        audited("- {level: Metadata, omitStages: [RequestReceived]}", Options::default());
    jane.get(MAPS).await.with(403);
    let event = lines.last();
    assert_eq!((&event["user"]["username"], &event["responseStatus"]["code"]), (&json!("jane"), &json!(403)));
    assert_eq!(event["responseStatus"]["reason"], "Forbidden");
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    let stranger = admin.as_peer(None);
    stranger.raw("GET", MAPS, &[("authorization", "Bearer nonsense")], Body::empty()).await.with(401);
    let events = lines.take_all();
    assert_eq!(stages(&events), ["ResponseStarted"], "nobody knows who it was");
    assert_eq!((&events[0]["user"], &events[0]["responseStatus"]["code"]), (&json!({}), &json!(401)));
    assert!(!events[0].to_string().contains("nonsense"));
    admin.raw("GET", MAPS, &[("impersonate-user", "jane")], Body::empty()).await.with(403);
    let event = lines.last();
    assert_eq!(
        (&event["user"]["username"], &event["impersonatedUser"]["username"]),
        (&json!("admin"), &json!("jane"))
    );
}

#[tokio::test]
async fn a_watch_is_told_when_it_begins_and_when_it_ends() {
    let (admin, _, lines) = audited("- {level: RequestResponse}", Options::default());
    let mut watch = admin.watch(&format!("{MAPS}?watch=1"), "application/json").await;
    assert_eq!(stages(&lines.take_all()), ["RequestReceived", "ResponseStarted"]);
    admin.config_map("a", json!({})).await;
    watch.named().await;
    lines.take_all();
    drop(watch);
    let events = lines.take_all();
    assert_eq!(stages(&events), ["ResponseComplete"]);
    assert_eq!((&events[0]["verb"], &events[0]["responseStatus"]["code"]), (&json!("watch"), &json!(200)));
}

#[tokio::test]
async fn a_client_that_went_away_is_told() {
    let (admin, _, lines) = audited("- {level: Metadata}", Options::default());
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    assert!(admin.raw("POST", MAPS, &[], body).now_or_never().is_none());
    let events = lines.take_all();
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[1]["responseStatus"]["message"], "Connection closed early");
}

/// Fails for one user.
struct Failing;

impl Authorizer for Failing {
    fn allows(&self, user: &User, _: &Access<'_>, _: &State) -> bool {
        assert_ne!(user.name, "jane", "a defect");
        true
    }
}

#[tokio::test]
async fn a_request_whose_handler_failed_is_told_as_such() {
    let options = Options { authorizer: Arc::new(Failing), ..Options::default() };
    let (_, jane, lines) = audited("- {level: Metadata}", options);
    jane.get(MAPS).await.with(500);
    let events = lines.take_all();
    assert_eq!(stages(&events), ["RequestReceived", "Panic"]);
    assert_eq!(events[1]["responseStatus"]["code"], 500);
}

#[tokio::test]
async fn how_many_events_were_lost_is_measured() {
    let (admin, _, _) = audited("- {level: None}\n- {level: Metadata}", Options::default());
    let text = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).unwrap();
    assert!(
        text.contains("\nkontiki_audit_events_total 0\n")
            && text.contains("\nkontiki_audit_dropped_total 7\n"),
        "{text}"
    );
}
