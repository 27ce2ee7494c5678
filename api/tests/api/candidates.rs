//! What actors make: webhooks and policies are asked about it as about what clients make, and nobody sees it before it is admitted.

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
    audit::audit,
    client::{Client, MERGE, deployment},
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
        Leader::with(client, Options::default())
    }

    fn with(client: &Client, options: Options) -> Leader {
        let (_, gate) = serve(client.memory.clone(), options);
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

/// The messages of events about what could not be made.
fn events(memory: &Memory) -> Vec<String> {
    let of = |event: &Arc<Object>| {
        let rest = event.document.rest_value();
        let failed = rest["reason"] == "FailedCreate" || rest["reason"] == "ReplicaSetCreateError";
        failed.then(|| rest["message"].as_str().unwrap().to_owned())
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
    for path in [
        "/api/v1/podcandidates",
        "/api/v1/namespaces/default/podcandidates",
        "/apis//podcandidates",
        "/api/v1/candidates",
    ] {
        assert_eq!(client.get(path).await.code, 404, "{path}");
    }
    let resources = client.get("/api/v1").await.with(200).to_string();
    assert!(!resources.contains("andidate"));
}

const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";

/// Rules for new objects of all else that somebody is asked about.
fn besides_pods() -> Value {
    let kinds = [("apps", "replicasets"), ("batch", "jobs"), ("", "persistentvolumeclaims")];
    let one = |(group, plural)| rules(&["CREATE"], group, &[plural])[0].clone();
    kinds.map(one).to_vec().into()
}

/// A cron job that has missed a start.
async fn missed(client: &Client, name: &str) {
    let template = json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    // Once a year, so that no other start comes while the test runs.
    let cron = json!({"metadata": {"name": name}, "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": template}});
    client.post(CRON_JOBS, &cron).await.with(201);
    let status = json!({"status": {"lastScheduleTime": "2024-06-01T00:00:00Z"}});
    client.patch(&format!("{CRON_JOBS}/{name}/status"), MERGE, &status).await.with(200);
    client.patch(&format!("{CRON_JOBS}/{name}"), MERGE, &json!({"spec": {"suspend": false}})).await.with(200);
}

fn stateful(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 1, "serviceName": name, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}})
}

#[tokio::test]
async fn replica_sets_jobs_and_claims_are_asked_about_and_changed() {
    let client = Client::new();
    client.memory.add_node("node-1");
    let _leader = Leader::of(&client);
    let labels = json!({"op": "add", "path": "/metadata/labels", "value": {"app": "web", "seen": "yes"}});
    let changes = Webhook::patching(json!([labels])).await;
    let judges = Webhook::allowing().await;
    configure(&client, MUTATING, "changes", vec![changes.hook("changes", besides_pods())]).await;
    configure(&client, VALIDATING, "judges", vec![judges.hook("judges", besides_pods())]).await;
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    client.post(SETS, &stateful("web")).await.with(201);
    missed(&client, "web").await;
    // A pod of each: no pod is asked about here.
    so_many(&client.memory, 3).await;
    let judged = judges.asked();
    assert_eq!((changes.asked().len(), judged.len()), (3, 3), "each once");
    for (kind, account, shown) in [
        (Kind::REPLICA_SET, "deployment-controller", "apps/v1"),
        (Kind::JOB, "cronjob-controller", "batch/v1"),
        (Kind::PERSISTENT_VOLUME_CLAIM, "statefulset-controller", "v1"),
    ] {
        let made = client.memory.state().list(kind, None).next().unwrap().clone();
        assert_eq!(made.meta.labels["seen"], "yes", "{kind:?}");
        let asked = judged.iter().find(|asked| asked["kind"]["kind"] == kind.info().kind).unwrap();
        let user = format!("system:serviceaccount:kube-system:{account}");
        assert_eq!(asked["userInfo"]["username"], user.as_str());
        assert_eq!((&asked["operation"], &asked["name"]), (&json!("CREATE"), &json!(made.key.name)));
        let object = &asked["object"];
        assert_eq!((&object["apiVersion"], &object["kind"]), (&json!(shown), &json!(kind.info().kind)));
        assert_eq!(
            (&object["metadata"]["uid"], &object["metadata"]["labels"]["seen"]),
            (&json!(made.meta.uid), &json!("yes"))
        );
    }
    assert_eq!(client.memory.state().list(Kind::CANDIDATE, None).count(), 0);
}

#[tokio::test]
async fn policies_refuse_them_in_the_words_of_their_owners() {
    let client = Client::new();
    let _leader = Leader::of(&client);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": besides_pods()}, "validations": [{"expression": "false", "message": "no"}]}});
    client.post(&format!("{API}/validatingadmissionpolicies"), &policy).await.with(201);
    let binding =
        json!({"metadata": {"name": "here"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    client.post(&format!("{API}/validatingadmissionpolicybindings"), &binding).await.with(201);
    let why = "is forbidden: ValidatingAdmissionPolicy 'p' with binding 'here' denied request: no";
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    let told = refusal(&client.memory).await;
    assert!(told.starts_with("Failed to create new replica set \"web-"), "{told}");
    assert!(told.contains(": replicasets.apps \"web-") && told.ends_with(why), "{told}");
    let told_of = async |wanted: &str| {
        let found = |memory: &Memory| events(memory).into_iter().find(|told| told.starts_with(wanted));
        until(&client.memory, wanted, found).await
    };
    client.post(SETS, &stateful("db")).await.with(201);
    let told = told_of("create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: ").await;
    assert!(told.ends_with(&format!("persistentvolumeclaims \"data-db-0\" {why}")), "{told}");
    missed(&client, "tick").await;
    let told = told_of("Error creating job: jobs.batch \"tick-").await;
    assert!(told.ends_with(why), "{told}");
    assert!(pods(&client.memory).is_empty());
    // Without the binding nobody refuses any more.
    client.delete(&format!("{API}/validatingadmissionpolicybindings/here")).await.with(200);
    so_many(&client.memory, 3).await;
}

/// What is told of a question is what is told of a client's request for the same, of the controller that makes such objects in Kubernetes.
#[tokio::test]
async fn the_audit_is_told_what_came_of_it() {
    let client = Client::new();
    let (audit, lines) = audit("- {level: RequestResponse}");
    let _leader = Leader::with(&client, Options { audit: Some(audit), ..Options::default() });
    let injection = json!([{"op": "add", "path": "/metadata/labels/injected", "value": "yes"}]);
    let mut answer = patched(&injection);
    answer["auditAnnotations"] = json!({"why": "because"});
    let answer = Arc::new(std::sync::Mutex::new(answer));
    let says = answer.clone();
    let webhook = Webhook::start(move |_| says.lock().unwrap().clone()).await;
    let of = json!({"matchLabels": {"app": "web"}});
    let hook = with(webhook.hook("injects", new_pods()), "objectSelector", of);
    configure(&client, MUTATING, "injects", vec![hook]).await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": new_pods()},
        "auditAnnotations": [{"key": "app", "valueExpression": "object.metadata.labels.app"}],
        "validations": [{"expression": "object.metadata.labels.app == 'web'", "message": "only web"}]}});
    client.post(&format!("{API}/validatingadmissionpolicies"), &policy).await.with(201);
    for (name, actions) in [("denies", json!(["Deny"])), ("tells", json!(["Audit"]))] {
        let binding =
            json!({"metadata": {"name": name}, "spec": {"policyName": "p", "validationActions": actions}});
        client.post(&format!("{API}/validatingadmissionpolicybindings"), &binding).await.with(201);
    }
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    let [made] = so_many(&client.memory, 1).await.try_into().unwrap();
    let complete = |_: &Memory| {
        let all = lines.all();
        all.iter().any(|event| event["stage"] == "ResponseComplete").then_some(all)
    };
    let [received, event] = until(&client.memory, "events", complete).await.try_into().unwrap();
    lines.take_all();
    assert_eq!(
        (&received["stage"], &event["stage"]),
        (&json!("RequestReceived"), &json!("ResponseComplete"))
    );
    assert_eq!(received["auditID"], event["auditID"]);
    for (pointer, expected) in [
        ("/verb", json!("create")),
        ("/requestURI", json!(PODS)),
        ("/user/username", json!("system:serviceaccount:kube-system:replicaset-controller")),
        ("/user/groups/1", json!("system:serviceaccounts:kube-system")),
        ("/objectRef", json!({"resource": "pods", "namespace": "default", "apiVersion": "v1"})),
        ("/responseStatus", json!({"metadata": {}, "code": 201})),
        ("/requestObject/metadata/generateName", json!(made.document.metadata_value()["generateName"])),
        ("/requestObject/metadata/labels/injected", Value::Null),
        ("/responseObject/metadata/name", json!(made.key.name)),
        ("/responseObject/metadata/labels/injected", json!("yes")),
        ("/annotations/injects.example.com~1why", json!("because")),
        ("/annotations/p~1app", json!("web")),
    ] {
        assert_eq!(event.pointer(pointer).unwrap_or(&Value::Null), &expected, "{pointer} of {event}");
    }
    let said = |what: &str| -> Value {
        let key = format!("{what}.webhook.admission.k8s.io/round_0_index_0");
        serde_json::from_str(event["annotations"][key].as_str().unwrap()).unwrap()
    };
    let webhook = |more: Value| {
        let mut all = json!({"configuration": "injects", "webhook": "injects.example.com"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(said("mutation"), webhook(json!({"mutated": true})));
    assert_eq!(said("patch"), webhook(json!({"patch": injection, "patchType": "JSONPatch"})));
    // One that is refused.
    client.post(DEPLOYMENTS, &deployment("bad", 1)).await.with(201);
    refusal(&client.memory).await;
    let event = until(&client.memory, "events", complete).await[1].clone();
    assert_eq!(event["responseStatus"]["code"], 422);
    let told = event["responseStatus"]["message"].as_str().unwrap();
    assert!(told.ends_with("with binding 'denies' denied request: only web"), "{told}");
    let failure =
        event["annotations"]["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    assert!(failure.contains("only web") && failure.contains("tells"), "{failure}");
    // One that all let pass, and that the turn refuses: its owner would not know it.
    let hash = json!([{"op": "replace", "path": "/metadata/labels/pod-template-hash", "value": "other"}]);
    *answer.lock().unwrap() = patched(&hash);
    lines.take_all();
    client.patch(&format!("{DEPLOYMENTS}/web"), MERGE, &json!({"spec": {"replicas": 2}})).await.with(200);
    let of_web = |_: &Memory| {
        let web =
            |event: &Value| event["stage"] == "ResponseComplete" && event["annotations"]["p/app"] == "web";
        lines.all().into_iter().find(web)
    };
    let event = until(&client.memory, "an event", of_web).await;
    assert_eq!(event["responseStatus"]["code"], 403);
}
