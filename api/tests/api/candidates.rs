//! Pods that actors make: webhooks and policies are asked about them as about clients' pods, and nobody sees one before it is admitted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kontiki_actors::{Kind, Object};
use kontiki_api::{Options, serve};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    client::{Client, deployment},
    memory::Memory,
    webhook::{Webhook, patched, rules},
};

const API: &str = "/apis/admissionregistration.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";
/// Everything here is over long before, or will never be.
const ENOUGH: Duration = Duration::from_secs(60);

/// What a leader runs, until it is dropped.
struct Leader(JoinHandle<()>);

impl Leader {
    fn of(client: &Client) -> Leader {
        let (_, gate) = serve(client.memory.clone(), Options::default());
        Leader(tokio::spawn(gate.run()))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn configure(client: &Client, plural: &str, name: &str, webhooks: Vec<Value>) {
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    client.post(&format!("{API}/{plural}"), &body).await.with(201);
}

fn new_pods() -> Value {
    rules(&["CREATE"], "", &["pods"])
}

fn with(mut hook: Value, key: &str, value: Value) -> Value {
    hook[key] = value;
    hook
}

/// Lets the cluster go on until it is as it is wanted.
async fn until<T>(memory: &Memory, what: &str, wanted: impl Fn(&Memory) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = wanted(memory) {
            return found;
        }
        assert!(began.elapsed() < ENOUGH, "{what}: {:?}, {:?}", events(memory), memory.state());
        memory.step();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pods(memory: &Memory) -> Vec<Arc<Object>> {
    memory.state().list(Kind::POD, None).cloned().collect()
}

fn candidates(memory: &Memory) -> usize {
    memory.state().list(Kind::POD_CANDIDATE, None).count()
}

/// The messages of events with this reason.
fn events(memory: &Memory) -> Vec<String> {
    let of = |event: &Arc<Object>| {
        let rest = event.document.rest_value();
        (rest["reason"] == "FailedCreate").then(|| rest["message"].as_str().unwrap().to_owned())
    };
    memory.state().list(Kind::EVENT, None).filter_map(of).collect()
}

async fn refusal(memory: &Memory) -> String {
    until(memory, "a refusal", |memory| events(memory).pop()).await
}

async fn so_many(memory: &Memory, count: usize) -> Vec<Arc<Object>> {
    until(memory, "pods", |memory| Some(pods(memory)).filter(|pods| pods.len() == count)).await
}

#[tokio::test]
async fn a_sidecar_comes_into_the_pods_of_a_deployment() {
    let client = Client::new();
    client.memory.add_node("node-1");
    let _leader = Leader::of(&client);
    let injects = Webhook::start(|request| {
        assert_eq!(request["object"]["metadata"].get("name"), None, "it is to be generated");
        patched(&json!([
            {"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "proxy:1"}},
            {"op": "add", "path": "/metadata/labels/injected", "value": "yes"},
        ]))
    })
    .await;
    let judges = Webhook::allowing().await;
    configure(&client, MUTATING, "injects", vec![injects.hook("injects", new_pods())]).await;
    configure(&client, VALIDATING, "judges", vec![judges.hook("judges", new_pods())]).await;
    let mut watch = client.watch(&format!("{PODS}?watch=1"), "application/json").await;
    client.post(DEPLOYMENTS, &deployment("web", 3)).await.with(201);
    let made = so_many(&client.memory, 3).await;
    assert_eq!(candidates(&client.memory), 0);
    for pod in &made {
        let value = pod.to_value();
        let containers = value["spec"]["containers"].as_array().unwrap();
        let names: Vec<&Value> = containers.iter().map(|container| &container["name"]).collect();
        assert_eq!(names, ["c", "proxy"]);
        assert_eq!(value["metadata"]["labels"]["injected"], "yes");
        assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent", "completed as a client's");
        assert!(containers[1]["volumeMounts"].is_array(), "with the token");
    }
    // They are seen as they were admitted, and never before.
    let mut added = 0;
    while added < 3 {
        let event = watch.next().await.unwrap();
        assert_eq!(event["object"]["metadata"]["labels"]["injected"], "yes", "{event}");
        added += usize::from(event["type"] == "ADDED");
    }
    let asked = judges.asked();
    assert_eq!((injects.asked().len(), asked.len()), (3, 3));
    for asked in asked {
        let pod = made.iter().find(|pod| asked["name"] == pod.key.name.as_str()).unwrap();
        let object = &asked["object"];
        assert_eq!(object["metadata"]["uid"], pod.meta.uid.as_str());
        assert_eq!(object["metadata"]["name"], pod.key.name.as_str());
        assert_eq!(object["spec"]["containers"][1]["name"], "proxy");
        assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("Pod"), &json!("v1")));
        assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
        assert_eq!(asked["userInfo"]["username"], "system:serviceaccount:kube-system:replicaset-controller");
        assert_eq!(
            asked["userInfo"]["groups"],
            json!(["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"])
        );
        assert_eq!((&asked["operation"], &asked["namespace"]), (&json!("CREATE"), &json!("default")));
        assert_eq!(asked["options"]["kind"], "CreateOptions");
    }
    until(&client.memory, "ready", |memory| {
        let state = memory.state();
        let deployment = state.list(Kind::DEPLOYMENT, None).next()?.document.status_value();
        (deployment["readyReplicas"] == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_refuses_is_told_of_at_the_owner_and_asked_again_with_one() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let lets = Arc::new(AtomicBool::new(false));
    let answer = lets.clone();
    let guard = Webhook::start(move |_| match answer.load(Ordering::Relaxed) {
        true => json!({"allowed": true}),
        false => json!({"allowed": false, "status": {"code": 403, "message": "not on Fridays"}}),
    })
    .await;
    configure(&client, VALIDATING, "guards", vec![guard.hook("days", new_pods())]).await;
    client.post(DEPLOYMENTS, &deployment("web", 20)).await.with(201);
    let told = refusal(&client.memory).await;
    assert_eq!(
        told,
        "Error creating: admission webhook \"days.example.com\" denied the request: not on Fridays"
    );
    assert!(pods(&client.memory).is_empty());
    // It is asked about as many as are under way at once, and later about one at a time.
    until(&client.memory, "another question", |_| (guard.asked().len() == 1).then_some(())).await;
    assert_eq!(events(&client.memory).len(), 1, "it counts up");
    lets.store(true, Ordering::Relaxed);
    so_many(&client.memory, 20).await;
}

#[tokio::test]
async fn one_that_cannot_be_asked_is_passed_over_or_waited_for() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let dead = |name: &str, policy: &str| {
        json!({"name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://localhost:1/"}, "rules": new_pods(), "failurePolicy": policy})
    };
    configure(&client, VALIDATING, "open", vec![dead("open", "Ignore")]).await;
    client.post(DEPLOYMENTS, &deployment("web", 2)).await.with(201);
    so_many(&client.memory, 2).await;
    configure(&client, MUTATING, "closed", vec![dead("closed", "Fail")]).await;
    client.post(DEPLOYMENTS, &deployment("other", 1)).await.with(201);
    let told = refusal(&client.memory).await;
    let words = "Error creating: Internal error occurred: failed calling webhook \"closed.example.com\": failed to call webhook: Post \
        \"https://localhost:1/?timeout=10s\": ";
    assert!(told.starts_with(words), "{told}");
    assert_eq!(pods(&client.memory).len(), 2);
    // Nobody is held up by a configuration that is gone.
    client.delete(&format!("{API}/{MUTATING}/closed")).await.with(200);
    so_many(&client.memory, 3).await;
}

#[tokio::test]
async fn one_that_does_not_answer_holds_up_nobody_else() {
    let client = Client::new();
    let first = Leader::of(&client);
    let (silent, other) = (Webhook::raw(|_| None).await, Webhook::allowing().await);
    let of = |name: &str| json!({"matchLabels": {"app": name}});
    let hook = with(silent.hook("silent", new_pods()), "objectSelector", of("silent"));
    configure(&client, MUTATING, "silent", vec![with(hook, "timeoutSeconds", json!(30))]).await;
    let hook = with(other.hook("other", new_pods()), "objectSelector", of("web"));
    configure(&client, MUTATING, "other", vec![hook]).await;
    client.post(DEPLOYMENTS, &deployment("silent", 100)).await.with(201);
    until(&client.memory, "a question", |_| (!silent.asked().is_empty()).then_some(())).await;
    client.post(DEPLOYMENTS, &deployment("web", 2)).await.with(201);
    client.post(DEPLOYMENTS, &deployment("free", 2)).await.with(201);
    so_many(&client.memory, 4).await;
    assert_eq!(candidates(&client.memory), 100);
    // Who leads next asks about what is there.
    drop(first);
    let next = Leader::of(&client);
    until(&client.memory, "another question", |_| (!silent.asked().is_empty()).then_some(())).await;
    // Without configurations nobody is asked any more; those under way are given up by the next leader.
    client.delete(&format!("{API}/{MUTATING}/silent")).await.with(200);
    drop(next);
    let _last = Leader::of(&client);
    so_many(&client.memory, 104).await;
}

#[tokio::test]
async fn who_is_not_meant_is_not_asked_about() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let webhook = Webhook::allowing().await;
    let condition = json!([{"name": "big", "expression": "object.metadata.labels.app == 'big'"}]);
    let hook = with(webhook.hook("a", new_pods()), "matchConditions", condition);
    configure(&client, VALIDATING, "a", vec![hook]).await;
    client.post(DEPLOYMENTS, &deployment("web", 2)).await.with(201);
    so_many(&client.memory, 2).await;
    assert!(webhook.asked().is_empty());
    client.post(DEPLOYMENTS, &deployment("big", 1)).await.with(201);
    so_many(&client.memory, 3).await;
    assert_eq!(webhook.asked().len(), 1);
}

#[tokio::test]
async fn what_webhooks_make_of_it_is_checked_as_a_clients_pod() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let breaks = Webhook::patching(
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "Not A Name", "image": "i"}}]),
    )
    .await;
    configure(&client, MUTATING, "breaks", vec![breaks.hook("breaks", new_pods())]).await;
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    let told = refusal(&client.memory).await;
    assert!(told.starts_with("Error creating: Pod \"web-"), "{told}");
    assert!(told.contains("is invalid: spec.containers[1].name: Invalid value: \"Not A Name\""), "{told}");
}

#[tokio::test]
async fn policies_judge_them_too() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": new_pods()},
        "validations": [{"expression": "object.metadata.labels.app != 'bad'", "message": "bad"}],
    }});
    client.post(&format!("{API}/validatingadmissionpolicies"), &policy).await.with(201);
    let binding =
        json!({"metadata": {"name": "here"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    client.post(&format!("{API}/validatingadmissionpolicybindings"), &binding).await.with(201);
    client.post(DEPLOYMENTS, &deployment("good", 1)).await.with(201);
    so_many(&client.memory, 1).await;
    client.post(DEPLOYMENTS, &deployment("bad", 1)).await.with(201);
    let told = refusal(&client.memory).await;
    assert!(told.starts_with("Error creating: pods \"bad-"), "{told}");
    assert!(
        told.ends_with("is forbidden: ValidatingAdmissionPolicy 'p' with binding 'here' denied request: bad"),
        "{told}"
    );
}

#[tokio::test]
async fn the_api_has_no_candidates() {
    let client = Client::new();
    let silent = Webhook::allowing().await;
    configure(&client, MUTATING, "a", vec![silent.hook("a", new_pods())]).await;
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    assert_eq!(candidates(&client.memory), 1, "nobody leads");
    assert_eq!(client.get(PODS).await.with(200)["items"], json!([]));
    for path in ["/api/v1/podcandidates", "/api/v1/namespaces/default/podcandidates", "/apis//podcandidates"]
    {
        assert_eq!(client.get(path).await.code, 404, "{path}");
    }
    let resources = client.get("/api/v1").await.with(200).to_string();
    assert!(!resources.contains("andidate"));
}
