//! Pod security: what is refused, what is warned of, and what the audit is told.

use kontiki_actors::{Document, Input, Kind, ObjectKey, Request, input::Part};
use kontiki_api::{FeedLimits, Options};
use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::{
    audit::audited,
    client::{Answer, Client, MERGE, peer},
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const NAMESPACE: &str = "/api/v1/namespaces/default";
const CONFIGURATION: &str = "/api/v1/namespaces/kube-system/configmaps";

fn privileged() -> Value {
    json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]})
}

fn plain() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn deployment(name: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec}}})
}

/// Labels of the namespace, by their names after the prefix.
fn labels(said: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> = said
        .iter()
        .map(|(name, value)| (format!("pod-security.kubernetes.io/{name}"), (*value).into()))
        .collect();
    json!({"metadata": {"labels": labels}})
}

async fn label(client: &Client, said: &[(&str, &str)]) -> Answer {
    client.patch(NAMESPACE, MERGE, &labels(said)).await
}

fn warnings(answer: &Answer) -> Vec<String> {
    let warnings = answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap());
    warnings
        .map(|text| text.strip_prefix("299 - \"").unwrap().strip_suffix('"').unwrap().replace("\\\"", "\""))
        .collect()
}

const RESTRICTED: &str = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
    unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
    runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
    seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
const BASELINE: &str = "privileged (container \"c\" must not set securityContext.privileged=true)";

#[tokio::test]
async fn a_pod_is_refused_in_kubernetes_words() {
    let client = Client::new();
    client.post(PODS, &pod("first", privileged())).await.with(201);
    label(&client, &[("enforce", "restricted")]).await.with(200);
    let refused = client.post(PODS, &pod("web", plain())).await;
    assert_eq!(warnings(&refused), Vec::<String>::new(), "a refusal is enough");
    let status = refused.with(403);
    let message =
        format!("pods \"web\" is forbidden: violates PodSecurity \"restricted:latest\": {RESTRICTED}");
    assert_eq!((&status["message"], &status["reason"]), (&json!(message), &json!("Forbidden")));
    assert_eq!(status["details"], json!({"name": "web", "kind": "pods"}));
    // Also by server-side apply, and when it is only tried.
    let mut applied = pod("web", plain());
    applied["apiVersion"] = "v1".into();
    applied["kind"] = "Pod".into();
    let header = [("content-type", "application/apply-patch+yaml")];
    let answer =
        client.raw("PATCH", &format!("{PODS}/web?fieldManager=m"), &header, applied.to_string()).await;
    assert_eq!(answer.with(403)["message"], message);
    assert_eq!(
        client.post(&format!("{PODS}?dryRun=All"), &pod("web", plain())).await.with(403)["message"],
        message
    );
    label(&client, &[("enforce", "restricted"), ("enforce-version", "v1.0")]).await.with(200);
    let status = client.post(PODS, &pod("web", plain())).await.with(403);
    let told = "violates PodSecurity \"restricted:v1.0\": runAsNonRoot != true (pod or container";
    assert!(status["message"].as_str().unwrap().contains(told), "{status}");
    // What is there may change where that is not for the worse.
    client
        .patch(&format!("{PODS}/first"), MERGE, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .with(200);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
    let strategic = "application/strategic-merge-patch+json";
    let status = client.patch(&format!("{PODS}/first"), strategic, &image).await.with(403);
    assert!(status["message"].as_str().unwrap().contains("violates PodSecurity"), "{status}");
}

#[tokio::test]
async fn what_is_not_enforced_is_warned_of() {
    let client = Client::new();
    label(&client, &[("warn", "restricted"), ("enforce", "baseline")]).await.with(200);
    let warned = client.post(PODS, &pod("web", plain())).await;
    let told = format!("would violate PodSecurity \"restricted:latest\": {RESTRICTED}");
    assert_eq!(warnings(&warned), std::slice::from_ref(&told));
    warned.with(201);
    // What makes pods is never refused, and warned of every time.
    let warned = client.post(DEPLOYMENTS, &deployment("web", plain())).await;
    assert_eq!(warnings(&warned), std::slice::from_ref(&told));
    warned.with(201);
    let path = format!("{DEPLOYMENTS}/web");
    let warned = client.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(warnings(&warned), std::slice::from_ref(&told));
    assert_eq!(
        warnings(&client.patch(&format!("{path}/scale"), MERGE, &json!({"spec": {"replicas": 1}})).await),
        [""; 0]
    );
    let mut object = client.get(&path).await.with(200);
    object["spec"]["template"]["spec"] = privileged();
    let warned = client.put(&path, &object).await;
    let all = format!("would violate PodSecurity \"restricted:latest\": {BASELINE}, {RESTRICTED}");
    assert_eq!(warnings(&warned), [all]);
    warned.with(200);
    // By server-side apply, of what is there and what is not.
    let header = [("content-type", "application/apply-patch+yaml")];
    for name in ["applied", "applied"] {
        let mut applied = deployment(name, plain());
        applied["apiVersion"] = "apps/v1".into();
        applied["kind"] = "Deployment".into();
        let path = format!("{DEPLOYMENTS}/{name}?fieldManager=m");
        assert_eq!(
            warnings(&client.raw("PATCH", &path, &header, applied.to_string()).await),
            std::slice::from_ref(&told)
        );
    }
    // A namespace that enforces warns of the same, unless it says otherwise.
    label(&client, &[("warn", "privileged")]).await.with(200);
    assert_eq!(warnings(&client.post(DEPLOYMENTS, &deployment("quiet", privileged())).await), [""; 0]);
    client
        .patch(NAMESPACE, MERGE, &json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": null}}}))
        .await
        .with(200);
    let warned = client.post(DEPLOYMENTS, &deployment("loud", privileged())).await;
    assert_eq!(warnings(&warned), [format!("would violate PodSecurity \"baseline:latest\": {BASELINE}")]);
}

#[tokio::test]
async fn all_that_makes_pods_is_warned_of() {
    let client = Client::new();
    label(&client, &[("warn", "baseline")]).await.with(200);
    let told = format!("would violate PodSecurity \"baseline:latest\": {BASELINE}");
    let labels = json!({"app": "x"});
    let template = json!({"metadata": {"labels": labels}, "spec": privileged()});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let selected = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    for (path, body) in [
        ("/apis/apps/v1/namespaces/default/replicasets", json!({"spec": selected})),
        ("/apis/apps/v1/namespaces/default/statefulsets", json!({"spec": selected})),
        (
            "/apis/apps/v1/namespaces/default/daemonsets",
            json!({"spec": {"selector": {"matchLabels": labels}, "template": template}}),
        ),
        ("/apis/batch/v1/namespaces/default/jobs", json!({"spec": {"suspend": true, "template": once}})),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}}}),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            json!({"spec": {"replicas": 0, "selector": labels, "template": template}}),
        ),
        ("/api/v1/namespaces/default/podtemplates", json!({"template": template})),
    ] {
        let mut body = body;
        body["metadata"] = json!({"name": "x"});
        let answer = client.post(path, &body).await;
        assert!(warnings(&answer).contains(&told), "{path}: {:?}", warnings(&answer));
        answer.with(201);
    }
}

#[tokio::test]
async fn labels_that_say_nothing_known_are_refused() {
    let client = Client::new();
    let status = label(&client, &[("enforce", "Restricted"), ("warn-version", "1.20")]).await.with(422);
    let causes = json!([
        {"reason": "FieldValueInvalid", "field": "metadata.labels[pod-security.kubernetes.io/enforce]",
            "message": "Invalid value: \"Restricted\": must be one of privileged, baseline, restricted"},
        {"reason": "FieldValueInvalid", "field": "metadata.labels[pod-security.kubernetes.io/warn-version]",
            "message": "Invalid value: \"1.20\": must be \"latest\" or \"v1.x\""},
    ]);
    assert_eq!(status["details"]["causes"], causes);
    let mut namespace = labels(&[("audit", "all")]);
    namespace["metadata"]["name"] = "new".into();
    let status = client.post("/api/v1/namespaces", &namespace).await.with(422);
    let message = "Namespace \"new\" is invalid: metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"all\": \
                   must be one of privileged, baseline, restricted";
    assert_eq!(status["message"], message);
    namespace["metadata"]["labels"] =
        labels(&[("audit", "restricted"), ("audit-version", "v1.33")])["metadata"]["labels"].clone();
    client.post("/api/v1/namespaces", &namespace).await.with(201);
    // What was stored before somebody looked at it does not hold back what else is written, and allows the least.
    let key = ObjectKey::new(Kind::NAMESPACE, "", "default");
    let mut old = client.memory.state().get(&key).unwrap().document.to_value();
    old["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "old".into();
    let document = Document::from_value(old);
    let stored =
        Request::Update { key, document, part: Part::Main, revision: None, uid: None, dry_run: false };
    client.memory.turn(Input::Api(stored), None);
    client.patch(NAMESPACE, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.with(200);
    let status = label(&client, &[("audit", "x")]).await.with(422);
    assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 2, "{status}");
    let status = client.post(PODS, &pod("a", plain())).await.with(403);
    assert!(
        status["message"].as_str().unwrap().contains("violates PodSecurity \"restricted:latest\""),
        "{status}"
    );
}

#[tokio::test]
async fn who_is_to_enforce_more_is_told_what_violates_it() {
    let client = Client::new();
    client.memory.add_node("n");
    client.post(PODS, &pod("single", privileged())).await.with(201);
    client.post(PODS, &pod("good", plain())).await.with(201);
    let mut web = deployment("web", privileged());
    web["spec"]["replicas"] = 3.into();
    client.post(DEPLOYMENTS, &web).await.with(201);
    let mut two = deployment("shared", plain());
    two["spec"]["replicas"] = 2.into();
    two["spec"]["template"]["spec"]["hostPID"] = true.into();
    client.post(DEPLOYMENTS, &two).await.with(201);
    assert_eq!(client.memory.state().list(Kind::POD, Some("default")).count(), 7);
    let warned = label(&client, &[("enforce", "baseline"), ("enforce-version", "v1.30")]).await;
    let told = warnings(&warned);
    assert_eq!(
        told[0],
        "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:v1.30\""
    );
    assert!(
        told[1].starts_with("shared-") && told[1].ends_with(" (and 1 other pod): host namespaces"),
        "{told:?}"
    );
    assert_eq!(told[2], "single (and 3 other pods): privileged");
    assert_eq!(told.len(), 3);
    warned.with(200);
    // The same again, less than before, and what is only warned of tells nothing.
    for said in [
        &[("enforce", "baseline"), ("audit", "restricted")][..],
        &[("warn", "restricted")],
        &[("enforce", "privileged")],
    ] {
        assert_eq!(warnings(&label(&client, said).await), [""; 0], "{said:?}");
    }
    assert_eq!(warnings(&label(&client, &[("enforce", "restricted")]).await).len(), 4, "another combination");
}

#[tokio::test]
async fn the_audit_is_told() {
    let (admin, _, lines) = audited("- {level: Metadata, omitStages: [RequestReceived]}", Options::default());
    let note = |name: &str| {
        let event = lines.last();
        event["annotations"][format!("pod-security.kubernetes.io/{name}")].clone()
    };
    admin.post(PODS, &pod("a", privileged())).await.with(201);
    assert_eq!(note("enforce-policy"), "privileged:latest");
    label(
        &admin,
        &[
            ("enforce", "baseline"),
            ("audit", "restricted"),
            ("audit-version", "v1.7"),
            ("warn", "privileged"),
        ],
    )
    .await
    .with(200);
    let told = "would violate PodSecurity \"restricted:v1.7\": runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)";
    let made = admin.post(PODS, &pod("b", plain())).await;
    assert_eq!(warnings(&made), [""; 0]);
    let event = lines.last();
    let annotations = &event["annotations"];
    assert_eq!(annotations["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    assert_eq!(annotations["pod-security.kubernetes.io/audit-violations"], told);
    admin.post(DEPLOYMENTS, &deployment("web", plain())).await.with(201);
    let event = lines.last();
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/audit-violations"], told);
    assert_eq!(
        event["annotations"].get("pod-security.kubernetes.io/enforce-policy"),
        None,
        "nothing is enforced on it"
    );
    // A refusal is told with what it was for.
    admin.post(PODS, &pod("c", privileged())).await.with(403);
    assert_eq!(note("enforce-policy"), "baseline:latest");
    admin.patch(&format!("{PODS}/b"), MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.with(200);
    assert_eq!(note("enforce-policy"), Value::Null, "nothing was looked at");
    configure(&admin, json!({"exempt-users": "admin"})).await.with(201);
    admin.post(PODS, &pod("c", privileged())).await.with(201);
    assert_eq!(note("exempt"), "user");
}

async fn configure(client: &Client, data: Value) -> Answer {
    client.post(CONFIGURATION, &json!({"metadata": {"name": "kontiki-pod-security"}, "data": data})).await
}

#[tokio::test]
async fn the_cluster_has_defaults_and_exemptions() {
    let admin = Client::with(FeedLimits::default(), Options::default());
    let robot = admin.as_peer(Some(peer(Role::User, "robot", "system:masters")));
    let status = configure(&admin, json!({"enforce": "most"})).await.with(422);
    let message = "ConfigMap \"kontiki-pod-security\" is invalid: data[enforce]: Invalid value: \"most\": must be one of privileged, baseline, restricted";
    assert_eq!(status["message"], message);
    let data = json!({"enforce": "baseline", "exempt-namespaces": "kube-system", "exempt-users": "robot", "exempt-runtime-classes": "vm"});
    configure(&admin, data).await.with(201);
    let told = format!("violates PodSecurity \"baseline:latest\": {BASELINE}");
    let status = admin.post(PODS, &pod("a", privileged())).await.with(403);
    assert_eq!(status["message"], format!("pods \"a\" is forbidden: {told}"));
    robot.post(PODS, &pod("a", privileged())).await.with(201);
    robot
        .patch(
            &format!("{PODS}/a"),
            "application/strategic-merge-patch+json",
            &json!({"spec": {"containers": [{"name": "c", "image": "j"}]}}),
        )
        .await
        .with(200);
    admin.post("/api/v1/namespaces/kube-system/pods", &pod("a", privileged())).await.with(201);
    admin
        .post("/apis/node.k8s.io/v1/runtimeclasses", &json!({"metadata": {"name": "vm"}, "handler": "vm"}))
        .await
        .with(201);
    let mut spec = privileged();
    spec["runtimeClassName"] = "vm".into();
    admin.post(PODS, &pod("b", spec)).await.with(201);
    // Labels of an exempt namespace are of no use.
    let warned = admin
        .patch(
            "/api/v1/namespaces/kube-system",
            MERGE,
            &labels(&[("enforce", "restricted"), ("audit", "restricted")]),
        )
        .await;
    let told = "namespace \"kube-system\" is exempt from Pod Security, and the policy (enforce=restricted:latest, audit=restricted:latest) will be ignored";
    assert_eq!(warnings(&warned), [told]);
    // Whoever was made exempt on another controller a moment ago is refused by nobody for good, and who is no more, at once.
    let before = admin.memory.state();
    admin
        .raw("DELETE", &format!("{CONFIGURATION}/kontiki-pod-security"), &[], axum::body::Body::empty())
        .await
        .with(200);
    label(&admin, &[("enforce", "baseline")]).await.with(200);
    *admin.memory.behind.lock() = Some(before);
    robot.post(PODS, &pod("late", privileged())).await.with(403);
}
