//! ValidatingAdmissionPolicies: which writes they judge, by what, and what becomes of what they say.

use axum::body::Body;
use kontiki_api::Options;
use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::{
    audit::audited,
    client::{Answer, Client, MERGE, deployment, peer, pod},
    custom,
    webhook::{Webhook, rules},
};

const API: &str = "/apis/admissionregistration.k8s.io/v1";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const NAMESPACES: &str = "/api/v1/namespaces";

/// A policy for these rules, and what its spec says besides.
fn policy(name: &str, rules: Value, spec: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": rules}},
    });
    for (key, value) in spec.as_object().unwrap() {
        match (key.as_str(), value) {
            ("matchConstraints", Value::Object(more)) => {
                policy["spec"][key].as_object_mut().unwrap().extend(more.clone());
            }
            _ => policy["spec"][key] = value.clone(),
        }
    }
    policy
}

/// Puts a policy in force by a binding of its name that says this.
async fn enforce(client: &Client, policy: &Value, binding: Value) {
    client.post(POLICIES, policy).await.with(201);
    bind(client, policy["metadata"]["name"].as_str().unwrap(), "here", binding).await;
}

async fn bind(client: &Client, policy: &str, name: &str, binding: Value) {
    let mut body =
        json!({"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": ["Deny"]}});
    body["spec"].as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
    client.post(BINDINGS, &body).await.with(201);
}

/// One that wants of config maps that this holds, in force everywhere.
async fn want(client: &Client, name: &str, expression: &str) {
    let spec = json!({"validations": [{"expression": expression}]});
    let policy = policy(name, maps(), spec);
    client.post(POLICIES, &policy).await.with(201);
    bind(client, name, name, json!({})).await;
}

fn maps() -> Value {
    rules(&["*"], "", &["configmaps"])
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap()
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// What the policy `p`, bound by `here`, refuses a config map with.
fn refusal(name: &str, why: &str) -> String {
    format!(
        "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'here' denied request: {why}"
    )
}

/// As Kubernetes' conformance tests have it.
#[tokio::test]
async fn deployments_are_judged_with_their_namespace() {
    let client = Client::new();
    client
        .patch(&format!("{NAMESPACES}/default"), MERGE, &json!({"metadata": {"labels": {"unique": "true"}}}))
        .await
        .with(200);
    let unique = json!({"matchLabels": {"unique": "true"}});
    let spec = json!({
        "matchConstraints": {"namespaceSelector": unique},
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"},
            {"expression": "namespaceObject.metadata.name == 'default'", "message": "not here"},
            {"expression": "variables.odd", "messageExpression": "'%d is even'.format([variables.replicas])"},
        ],
    });
    let few = policy("p", rules(&["CREATE", "UPDATE"], "apps", &["deployments"]), spec);
    let here = json!({"matchResources": {"namespaceSelector": unique}});
    enforce(&client, &few, here).await;
    let status = client.post(DEPLOYMENTS, &deployment("one", 1)).await.with(422);
    let told = "ValidatingAdmissionPolicy 'p' with binding 'here' denied request: failed expression: object.spec.replicas > 1";
    assert_eq!(message(&status), format!("deployments.apps \"one\" is forbidden: {told}"));
    assert_eq!(status["reason"], "Invalid");
    let details =
        json!({"name": "one", "group": "apps", "kind": "deployments", "causes": [{"message": told}]});
    assert_eq!(status["details"], details);
    let status = client.post(DEPLOYMENTS, &deployment("two", 2)).await.with(422);
    assert!(message(&status).ends_with("denied request: 2 is even"), "{status}");
    client.post(DEPLOYMENTS, &deployment("three", 3)).await.with(201);
    // What is written below it, and elsewhere, is not what the rules are for.
    let scale = json!({"spec": {"replicas": 2}});
    client.patch(&format!("{DEPLOYMENTS}/three/scale"), MERGE, &scale).await.with(200);
    let mut set = deployment("set", 1);
    set["kind"] = "ReplicaSet".into();
    client.post("/apis/apps/v1/namespaces/default/replicasets", &set).await.with(201);
    client.post("/apis/apps/v1/namespaces/kube-system/deployments", &deployment("one", 1)).await.with(201);
    // An update is judged as it will be, and what was.
    client.patch(&format!("{DEPLOYMENTS}/three"), MERGE, &json!({"spec": {"replicas": 1}})).await.with(422);
    // Once it is not bound, it says nothing more.
    client.delete(&format!("{BINDINGS}/here")).await.with(200);
    client.post(DEPLOYMENTS, &deployment("one", 1)).await.with(201);
}

#[tokio::test]
async fn a_refusal_has_its_reason_and_its_message() {
    let client = Client::new();
    let spec = json!({"validations": [
        {"expression": "!has(object.data.a)", "message": " because of a ", "reason": "Forbidden"},
        {"expression": "!has(object.data.b)", "message": "static", "messageExpression": "'b is ' + object.data.b",
            "reason": "RequestEntityTooLarge"},
        {"expression": "!has(object.data.c)", "message": "static", "messageExpression": "object.data.gone"},
        {"expression": "!has(object.data.d)", "message": "static", "messageExpression": "'two\\nlines'"},
        {"expression": "!has(object.data.e)", "messageExpression": "'  '"},
    ]});
    enforce(&client, &policy("p", maps(), spec), json!({})).await;
    for (key, code, reason, told) in [
        ("a", 403, "Forbidden", "because of a"),
        ("b", 413, "RequestEntityTooLarge", "b is v"),
        ("c", 422, "Invalid", "static"),
        ("d", 422, "Invalid", "static"),
        ("e", 422, "Invalid", "failed expression: !has(object.data.e)"),
    ] {
        let status = client.post(MAPS, &map("m", json!({key: "v"}))).await.with(code);
        assert_eq!((message(&status), &status["reason"]), (&*refusal("m", told), &json!(reason)));
        assert_eq!(status["code"], code);
    }
    // The first one counts.
    client.post(MAPS, &map("m", json!({"a": "v", "b": "v"}))).await.with(403);
    client.post(MAPS, &map("m", json!({"f": "v"}))).await.with(201);
    // What has no name yet is called by what it will begin with.
    let body = json!({"metadata": {"generateName": "some-"}, "data": {"a": "v"}});
    let status = client.post(MAPS, &body).await.with(403);
    assert!(message(&status).starts_with("configmaps \"some-\" is forbidden: "), "{status}");
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused_unless_the_policy_says_otherwise() {
    let client = Client::new();
    let validations = json!([{"expression": "object.data.k == 'v'"}]);
    let of =
        |failure: &str| policy("p", maps(), json!({"failurePolicy": failure, "validations": validations}));
    enforce(&client, &of("Fail"), json!({})).await;
    let status = client.post(MAPS, &map("m", json!({"other": "v"}))).await.with(422);
    let told = "expression 'object.data.k == 'v'' resulted in error: no such key: k";
    assert_eq!((message(&status), &status["reason"]), (&*refusal("m", told), &json!("Invalid")));
    client
        .patch(&format!("{POLICIES}/p"), MERGE, &json!({"spec": {"failurePolicy": "Ignore"}}))
        .await
        .with(200);
    client.post(MAPS, &map("m", json!({"other": "v"}))).await.with(201);
    // What is false is refused all the same.
    client.post(MAPS, &map("n", json!({"k": "w"}))).await.with(422);
    // So is what is no truth value, which can be told only now.
    let dynamic =
        json!({"spec": {"failurePolicy": "Fail", "validations": [{"expression": "object.data.k"}]}});
    client.patch(&format!("{POLICIES}/p"), MERGE, &dynamic).await.with(200);
    let status = client.post(MAPS, &map("n", json!({"k": "w"}))).await.with(422);
    assert!(
        message(&status).ends_with("expression 'object.data.k' must evaluate to bool but got string"),
        "{status}"
    );
}

#[tokio::test]
async fn conditions_say_what_a_policy_is_for() {
    let client = Client::new();
    let conditions = json!([
        {"name": "not-mine", "expression": "request.userInfo.username != 'jane'"},
        {"name": "keyed", "expression": "object.data.k != ''"},
    ]);
    let spec =
        json!({"matchConditions": conditions, "validations": [{"expression": "false", "message": "no"}]});
    enforce(&client, &policy("p", rules(&["CREATE"], "", &["configmaps"]), spec), json!({})).await;
    let jane = client.as_peer(Some(peer(Role::User, "jane", "system:masters")));
    jane.post(MAPS, &map("m", json!({"k": "v"}))).await.with(201);
    client.post(MAPS, &map("n", json!({"k": ""}))).await.with(201);
    let status = client.post(MAPS, &map("o", json!({"k": "v"}))).await.with(422);
    assert_eq!(message(&status), refusal("o", "no"));
    // One that is false decides, whatever went wrong with others.
    jane.post(MAPS, &map("o", json!({}))).await.with(201);
    let status = client.post(MAPS, &map("p", json!({}))).await.with(422);
    let told = "denied request: expression 'object.data.k != ''' resulted in error: no such key: ";
    assert!(message(&status).contains(told), "{status}");
    let ignoring = json!({"spec": {"failurePolicy": "Ignore"}});
    client.patch(&format!("{POLICIES}/p"), MERGE, &ignoring).await.with(200);
    client.post(MAPS, &map("p", json!({}))).await.with(201);
}

#[tokio::test]
async fn variables_are_worked_out_when_somebody_looks() {
    let client = Client::new();
    let spec = json!({
        "variables": [
            {"name": "broken", "expression": "object.data.gone"},
            {"name": "x", "expression": "'x of ' + object.metadata.name"},
            {"name": "above", "expression": "variables.x.upperAscii()"},
        ],
        "validations": [
            {"expression": "variables.above == 'X OF M'"},
            {"expression": "['a'].all(x, variables.x == 'x of m' && x == 'a')"},
            {"expression": "!has(object.data.look) || variables.broken == ''"},
        ],
    });
    enforce(&client, &policy("p", maps(), spec), json!({})).await;
    client.post(MAPS, &map("m", json!({"k": "v"}))).await.with(201);
    let status = client.post(MAPS, &map("n", json!({}))).await.with(422);
    assert!(message(&status).ends_with("failed expression: variables.above == 'X OF M'"), "{status}");
    client.delete(&format!("{MAPS}/m")).await.with(422);
    let looks = json!({"data": {"look": "1"}});
    let status = client.patch(&format!("{MAPS}/m"), MERGE, &looks).await.with(422);
    let told = "expression '!has(object.data.look) || variables.broken == ''' resulted in error: \
        composited variable \"broken\" fails to evaluate: no such key: gone";
    assert_eq!(message(&status), refusal("m", told));
}

#[tokio::test]
async fn a_policy_may_warn_and_tell_the_audit() {
    let (admin, _, lines) = audited("- {level: Metadata}", Options::default());
    let spec = json!({
        "validations": [{"expression": "object.data.k == 'v'", "message": "k must be v"},
            {"expression": "has(object.data.l)", "message": "l must be there"}],
        "auditAnnotations": [
            {"key": "k", "valueExpression": "'k was ' + object.data.k"},
            {"key": "none", "valueExpression": "null"},
            {"key": "blank", "valueExpression": "' '"},
        ],
    });
    let binding = json!({"validationActions": ["Warn", "Audit"]});
    enforce(&admin, &policy("p.example.com", maps(), spec), binding).await;
    let answer = admin.post(MAPS, &map("m", json!({"k": "w"}))).await;
    let told = "Validation failed for ValidatingAdmissionPolicy 'p.example.com' with binding 'here': ";
    assert_eq!(
        warnings(&answer),
        [format!("299 - \"{told}k must be v\""), format!("299 - \"{told}l must be there\"")]
    );
    answer.with(201);
    let annotations = lines.last()["annotations"].clone();
    assert_eq!(annotations["p.example.com/k"], "k was w");
    assert!(annotations.get("p.example.com/none").is_none(), "{annotations}");
    assert!(annotations.get("p.example.com/blank").is_none(), "{annotations}");
    let failures = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    let failures: Value = serde_json::from_str(failures).unwrap();
    let failure = |at: usize, message: &str| {
        json!({"message": message, "policy": "p.example.com", "binding": "here", "expressionIndex": at,
            "validationActions": ["Warn", "Audit"]})
    };
    assert_eq!(failures, json!([failure(0, "k must be v"), failure(1, "l must be there")]));
    // What the audit cannot be told is refused, whatever the binding says.
    let status = admin.post(MAPS, &map("n", json!({"l": "v"}))).await.with(422);
    let told = "expression ''k was ' + object.data.k' resulted in error: no such key";
    assert!(message(&status).contains(told), "{status}");
    let ignoring = json!({"spec": {"failurePolicy": "Ignore"}});
    admin.patch(&format!("{POLICIES}/p.example.com"), MERGE, &ignoring).await.with(200);
    admin.post(MAPS, &map("n", json!({"l": "v"}))).await.with(201);
    assert!(lines.last()["annotations"].get("p.example.com/k").is_none());
}

#[tokio::test]
async fn parameters_are_objects_of_the_cluster() {
    let client = Client::new();
    client.post(NAMESPACES, &json!({"metadata": {"name": "other"}})).await.with(201);
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "validations": [{"expression": "params == null || object.data.n <= params.metadata.labels.most",
            "messageExpression": "'at most ' + params.metadata.labels.most + ' of ' + params.kind + ' ' + params.metadata.name"}],
    });
    let limits = policy("p", rules(&["CREATE"], "", &["configmaps"]), spec);
    client.post(POLICIES, &limits).await.with(201);
    let secret = |name: &str, most: &str| json!({"metadata": {"name": name, "labels": {"most": most, "limit": "yes"}}});
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let try_in = async |namespace: &str, n: &str| {
        let url = format!("/api/v1/namespaces/{namespace}/configmaps?dryRun=All");
        let answer = client.post(&url, &map("m", json!({"n": n}))).await;
        match answer.code {
            201 => String::new(),
            code => message(&answer.with(code)).split("denied request: ").last().unwrap().to_owned(),
        }
    };
    let rebind = async |params: Value| {
        client.delete(&format!("{BINDINGS}/here")).await;
        bind(&client, "p", "here", json!({"paramRef": params})).await;
    };
    let none =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    // Of the namespace that is written to.
    rebind(json!({"name": "limit", "parameterNotFoundAction": "Deny"})).await;
    assert_eq!(try_in("default", "1").await, none);
    client.post(&secrets("default"), &secret("limit", "3")).await.with(201);
    assert_eq!(try_in("default", "3").await, "");
    assert_eq!(try_in("default", "4").await, "at most 3 of Secret limit");
    assert_eq!(try_in("other", "1").await, none);
    // Of one namespace for all.
    rebind(json!({"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"})).await;
    assert_eq!(try_in("other", "4").await, "at most 3 of Secret limit");
    // There need not be any.
    rebind(json!({"name": "limit", "parameterNotFoundAction": "Allow"})).await;
    assert_eq!(try_in("other", "4").await, "");
    // All that are selected count.
    client.post(&secrets("default"), &secret("tighter", "2")).await.with(201);
    rebind(json!({"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Deny"})).await;
    assert_eq!(try_in("default", "3").await, "at most 2 of Secret tighter");
    assert_eq!(try_in("default", "2").await, "");
    assert_eq!(try_in("other", "2").await, none);
    // What is changed counts at once.
    let looser = json!({"metadata": {"labels": {"most": "5"}}});
    client.patch(&format!("{}/tighter", secrets("default")), MERGE, &looser).await.with(200);
    assert_eq!(try_in("default", "3").await, "");
    // A binding without any has none.
    client.delete(&format!("{BINDINGS}/here")).await.with(200);
    bind(&client, "p", "here", json!({})).await;
    assert_eq!(try_in("default", "9").await, "");
}

#[tokio::test]
async fn parameters_may_be_of_a_custom_kind() {
    let client = Client::new();
    let spec = |failure: &str| {
        json!({"failurePolicy": failure, "paramKind": {"apiVersion": "example.com/v1beta1", "kind": "Backup"},
            "validations": [{"expression": "params.apiVersion == 'example.com/v1beta1' && object.data.k == params.spec.schedule"}]})
    };
    let params =
        json!({"paramRef": {"name": "b", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    enforce(&client, &policy("p", rules(&["CREATE"], "", &["configmaps"]), spec("Fail")), params).await;
    let good = map("m", json!({"k": "0 3 * * *"}));
    let status = client.post(MAPS, &good).await.with(422);
    let told = "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: \
        failed to find resource referenced by paramKind: 'example.com/v1beta1, Kind=Backup'";
    assert_eq!(message(&status), told);
    let ignoring = json!({"spec": {"failurePolicy": "Ignore"}});
    client.patch(&format!("{POLICIES}/p"), MERGE, &ignoring).await.with(200);
    client.post(&format!("{MAPS}?dryRun=All"), &good).await.with(201);
    client
        .patch(&format!("{POLICIES}/p"), MERGE, &json!({"spec": {"failurePolicy": "Fail"}}))
        .await
        .with(200);
    custom::define(&client).await;
    let status = client.post(MAPS, &good).await.with(422);
    assert!(message(&status).contains("no params found"), "{status}");
    client.post(custom::BACKUPS, &custom::backup("b")).await.with(201);
    client.post(MAPS, &good).await.with(201);
    client.post(MAPS, &map("n", json!({"k": "other"}))).await.with(422);
}

#[tokio::test]
async fn parameters_are_where_they_can_be() {
    let client = Client::new();
    let of = |kind: &str, rules: Value| {
        let (api_version, kind) = kind.rsplit_once('/').unwrap();
        policy(
            "p",
            rules,
            json!({"paramKind": {"apiVersion": api_version, "kind": kind}, "validations": [{"expression": "true"}]}),
        )
    };
    let namespaces = || rules(&["CREATE"], "scheduling.k8s.io", &["priorityclasses"]);
    let params = json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}});
    enforce(&client, &of("v1/ConfigMap", namespaces()), params).await;
    let class = json!({"metadata": {"name": "high"}, "value": 1});
    let status = client.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.with(422);
    let told = "failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
    assert!(message(&status).ends_with(told), "{status}");
    client.delete(&format!("{POLICIES}/p")).await.with(200);
    client.delete(&format!("{BINDINGS}/here")).await.with(200);
    let params =
        json!({"paramRef": {"name": "x", "namespace": "default", "parameterNotFoundAction": "Allow"}});
    enforce(&client, &of("v1/Namespace", namespaces()), params).await;
    let status = client.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.with(422);
    let told = "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
    assert!(message(&status).ends_with(told), "{status}");
}

/// One policy that spends what there is for all leaves nothing for others: these refuse, or let pass, as they say.
#[tokio::test]
async fn a_budget_ends_what_is_evaluated() {
    let client = Client::new();
    let endless = "object.data.k.split('').all(a, object.data.k.split('').all(b, object.data.k.split('').all(c, a + b + c != '')))";
    let data = json!({"k": "x".repeat(500)});
    let one = policy("p", maps(), json!({"validations": [{"expression": endless}]}));
    enforce(&client, &one, json!({})).await;
    let status = client.post(MAPS, &map("m", data.clone())).await.with(422);
    let told =
        format!("expression '{endless}' resulted in error: operation cancelled: actual cost limit exceeded");
    assert_eq!(message(&status), refusal("m", &told));
    // Of as many as a policy has, and of all of them together.
    let many =
        json!({"spec": {"failurePolicy": "Ignore", "validations": vec![json!({"expression": endless}); 30]}});
    client.patch(&format!("{POLICIES}/p"), MERGE, &many).await.with(200);
    client.post(MAPS, &map("m", data.clone())).await.with(201);
    want(&client, "q", "object.data.k != ''").await;
    let status = client.post(MAPS, &map("n", data.clone())).await.with(422);
    let told = "configmaps \"n\" is forbidden: ValidatingAdmissionPolicy 'q' with binding 'q' denied request: \
        validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(message(&status), told);
    // What is small is judged to the end.
    client.post(MAPS, &map("n", json!({"k": "x"}))).await.with(201);
}

/// Parameters cost what it takes to read them.
#[tokio::test]
async fn many_parameters_are_within_the_budget() {
    let client = Client::new();
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "params.metadata.name != ''"}]});
    let params = json!({"paramRef": {"selector": {}, "parameterNotFoundAction": "Deny"}});
    enforce(&client, &policy("p", maps(), spec), params).await;
    let large = "x".repeat(900 << 10);
    for n in 0..70 {
        let secret = json!({"metadata": {"name": format!("s{n}")}, "stringData": {"k": large}});
        client.post("/api/v1/namespaces/default/secrets", &secret).await.with(201);
    }
    let status = client.post(MAPS, &map("n", json!({}))).await.with(422);
    assert!(message(&status).contains("running out of cost budget"), "{status}");
}

#[tokio::test]
async fn rules_exclude_and_name_objects() {
    let client = Client::new();
    let mut named = maps();
    named[0]["resourceNames"] = json!(["guarded", "spared"]);
    let mut spared = rules(&["*"], "", &["*"]);
    spared[0]["resourceNames"] = json!(["spared"]);
    let spec = json!({"matchConstraints": {"excludeResourceRules": spared, "objectSelector": {"matchLabels": {"a": "b"}}},
        "validations": [{"expression": "false", "message": "no"}]});
    enforce(
        &client,
        &policy("p", named, spec),
        json!({"matchResources": {"objectSelector": {"matchLabels": {"c": "d"}}}}),
    )
    .await;
    let labelled = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let both = json!({"a": "b", "c": "d"});
    for (body, code) in [
        (labelled("other", both.clone()), 201),
        (labelled("spared", both.clone()), 201),
        (labelled("guarded", json!({"a": "b"})), 201),
        (labelled("guarded", json!({"c": "d"})), 201),
        (labelled("guarded", both), 422),
    ] {
        client.post(&format!("{MAPS}?dryRun=All"), &body).await.with(code);
    }
}

#[tokio::test]
async fn the_same_resource_is_meant_in_other_versions() {
    let client = custom::defined().await;
    let mut scaled = rules(&["CREATE"], "autoscaling", &["horizontalpodautoscalers"]);
    scaled[0]["apiVersions"] = json!(["v2"]);
    let mut rules = json!([{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["backups"]}]);
    rules.as_array_mut().unwrap().extend(scaled.as_array().unwrap().clone());
    let spec = |how: &str| {
        json!({"matchConstraints": {"matchPolicy": how}, "validations": [
            {"expression": "request.kind.kind != 'Backup' || object.apiVersion == 'example.com/v1' && request.resource.version == 'v1' && \
                request.requestResource.version == 'v1beta1'"},
            {"expression": "false", "message": "seen"}]})
    };
    enforce(&client, &policy("p", rules.clone(), spec("Exact")), json!({})).await;
    let mut older = custom::backup("b");
    older["apiVersion"] = "example.com/v1beta1".into();
    let scaler = json!({"metadata": {"name": "s"}, "spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let scalers = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers?dryRun=All";
    client.post(&format!("{}?dryRun=All", custom::OLDER), &older).await.with(201);
    client.post(scalers, &scaler).await.with(201);
    client.delete(&format!("{POLICIES}/p")).await.with(200);
    client.post(POLICIES, &policy("p", rules, spec("Equivalent"))).await.with(201);
    for (url, body) in [(&*format!("{}?dryRun=All", custom::OLDER), &older), (scalers, &scaler)] {
        let status = client.post(url, body).await.with(422);
        assert!(message(&status).ends_with("denied request: seen"), "{status}");
    }
}

#[tokio::test]
async fn policies_come_after_what_changes_and_before_what_judges() {
    let client = Client::new();
    let adds = Webhook::patching(json!([{"op": "add", "path": "/data/added", "value": "by it"}])).await;
    let judges = Webhook::allowing().await;
    for (kind, webhook) in [("mutating", &adds), ("validating", &judges)] {
        let body = json!({"metadata": {"name": kind}, "webhooks": [webhook.hook(kind, rules(&["CREATE"], "", &["configmaps"]))]});
        client.post(&format!("{API}/{kind}webhookconfigurations"), &body).await.with(201);
    }
    want(&client, "p", "!has(object.data) || object.data.added == 'by it' && !has(object.data.bad)").await;
    client.post(MAPS, &map("m", json!({"k": "v"}))).await.with(201);
    assert_eq!(judges.asked().len(), 1);
    client.post(MAPS, &map("n", json!({"bad": "v"}))).await.with(422);
    assert_eq!(judges.asked().len(), 0);
}

#[tokio::test]
async fn all_ways_to_write_are_judged() {
    let client = Client::new();
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    client.post(DEPLOYMENTS, &deployment("d", 1)).await.with(201);
    client.config_map("m", json!({})).await;
    let rule =
        |operations: &[&str], group: &str, resources: &[&str]| rules(operations, group, resources)[0].clone();
    let all = json!([
        rule(&["DELETE"], "", &["configmaps"]),
        rule(&["CREATE"], "", &["pods/eviction", "pods/binding"]),
        rule(&["CONNECT"], "", &["pods/exec"]),
        rule(&["UPDATE"], "apps", &["deployments/scale", "deployments/status"]),
    ]);
    let message_of = "request.operation + ' ' + request.resource.resource + ' ' + (has(request.subResource) ? request.subResource : '-') + \
        ' ' + (object == null ? 'null' : object.kind) + ' ' + (oldObject == null ? 'null' : oldObject.kind)";
    let spec = json!({"validations": [{"expression": "false", "messageExpression": message_of}]});
    enforce(&client, &policy("p", all, spec), json!({})).await;
    let pods = "/api/v1/namespaces/default/pods/p";
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let scale = json!({"spec": {"replicas": 2}});
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let scaled = format!("{DEPLOYMENTS}/d/scale");
    let status_of = format!("{DEPLOYMENTS}/d/status");
    let apply = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 3}});
    let applied = client
        .raw(
            "PATCH",
            &format!("{scaled}?fieldManager=me&force=true"),
            &[("content-type", "application/apply-patch+yaml")],
            apply.to_string(),
        )
        .await;
    for (answer, told) in [
        (client.delete(&format!("{MAPS}/m")).await, "DELETE configmaps - null ConfigMap"),
        (client.delete(MAPS).await, "DELETE configmaps - null ConfigMap"),
        (client.post(&format!("{pods}/eviction"), &eviction).await, "CREATE pods eviction Eviction null"),
        (client.post(&format!("{pods}/binding"), &binding).await, "CREATE pods binding Binding null"),
        (client.patch(&scaled, MERGE, &scale).await, "UPDATE deployments scale Scale Scale"),
        (applied, "UPDATE deployments scale Scale Scale"),
        (
            client.patch(&status_of, MERGE, &json!({"status": {"replicas": 1}})).await,
            "UPDATE deployments status Deployment Deployment",
        ),
        (
            client.raw("GET", &format!("{pods}/exec?command=sh&stdout=1"), &upgrade, Body::empty()).await,
            "CONNECT pods exec PodExecOptions null",
        ),
    ] {
        let status = answer.with(422);
        assert!(message(&status).ends_with(&format!("denied request: {told}")), "{told}: {status}");
    }
    client.get(&format!("{MAPS}/m")).await.with(200);
}

#[tokio::test]
async fn expressions_may_ask_who_may_do_what() {
    let client = Client::new();
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        {"apiGroups": ["example.com"], "resources": ["marks"], "resourceNames": ["good"], "verbs": ["use"]}]});
    client.post(&format!("{rbac}/roles"), &role).await.with(201);
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "bob"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]});
    client.post(&format!("{rbac}/rolebindings"), &binding).await.with(201);
    let may = |mark: &str| {
        format!(
            "authorizer.group('example.com').resource('marks').namespace('default').name({mark}).check('use').allowed()"
        )
    };
    let spec = json!({
        "variables": [{"name": "may", "expression": may("object.data.mark")}],
        "validations": [
            {"expression": "variables.may", "message": "not this mark"},
            {"expression": "authorizer.requestResource.check('create').allowed()"},
            {"expression": "!authorizer.requestResource.check('delete').allowed() || request.userInfo.username == 'admin'"},
            {"expression": "!authorizer.path('/metrics').check('get').allowed() || request.userInfo.username == 'admin'"},
            {"expression": may("'good'").replacen("authorizer.", "authorizer.serviceAccount('default', 'robot').", 1)},
            {"expression": "!".to_owned() + &may("'good'").replacen("authorizer.", "authorizer.serviceAccount('default', 'other').", 1)},
        ],
    });
    enforce(&client, &policy("p", rules(&["CREATE"], "", &["configmaps"]), spec), json!({})).await;
    bob.post(MAPS, &map("m", json!({"mark": "good"}))).await.with(201);
    let status = bob.post(MAPS, &map("n", json!({"mark": "bad"}))).await.with(422);
    assert_eq!(message(&status), refusal("n", "not this mark"));
    client.post(MAPS, &map("n", json!({"mark": "bad"}))).await.with(201);
    // A webhook's conditions may, too.
    let webhook = Webhook::allowing().await;
    let mut hook = webhook.hook("asks", rules(&["DELETE"], "", &["configmaps"]));
    hook["matchConditions"] = json!([{"name": "a", "expression": "!authorizer.group('').resource('nodes').check('get').allowed()"}]);
    client
        .post(
            &format!("{API}/validatingwebhookconfigurations"),
            &json!({"metadata": {"name": "w"}, "webhooks": [hook]}),
        )
        .await
        .with(201);
    client.delete(&format!("{MAPS}/n")).await.with(200);
    assert_eq!(webhook.asked().len(), 0, "who may do all");
}

/// Or nobody could get rid of a policy that refuses everything. The configurations of webhooks are not spared, nor are questions judged.
#[tokio::test]
async fn policies_judge_not_themselves() {
    let client = Client::new();
    let mut everything = rules(&["*"], "*", &["*/*"]);
    everything[0]["apiVersions"] = json!(["*"]);
    let spec = json!({"validations": [{"expression": "false"}]});
    enforce(&client, &policy("p", everything.clone(), spec.clone()), json!({})).await;
    client.post(MAPS, &map("m", json!({}))).await.with(422);
    let webhook = json!({"metadata": {"name": "w"}, "webhooks": []});
    client.post(&format!("{API}/validatingwebhookconfigurations"), &webhook).await.with(422);
    let may_i = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &may_i).await.with(201);
    client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.with(201);
    client.post(POLICIES, &policy("q", everything, spec)).await.with(201);
    bind(&client, "q", "there", json!({})).await;
    client
        .patch(&format!("{POLICIES}/q"), MERGE, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .with(200);
    for url in [format!("{BINDINGS}/there"), format!("{POLICIES}/q"), format!("{POLICIES}/p")] {
        client.delete(&url).await.with(200);
    }
    // The binding of what is gone says nothing.
    client.post(MAPS, &map("m", json!({}))).await.with(201);
}

/// Refusals may tell what a parameter says: nobody has a policy look at what he may not read.
#[tokio::test]
async fn who_names_parameters_may_read_them() {
    let client = Client::new();
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let allow = async |name: &str, group: &str, resources: &[&str], verbs: &[&str]| {
        let role = json!({"metadata": {"name": name}, "rules": [{"apiGroups": [group], "resources": resources, "verbs": verbs}]});
        client.post(&format!("{rbac}/clusterroles"), &role).await.with(201);
        let binding = json!({"metadata": {"name": name}, "subjects": [{"kind": "User", "name": "bob"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}});
        client.post(&format!("{rbac}/clusterrolebindings"), &binding).await.with(201);
    };
    let kinds = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    allow("policies", "admissionregistration.k8s.io", &kinds, &["create", "patch", "update", "get"]).await;
    let with_secrets = |name: &str| {
        policy(
            name,
            maps(),
            json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}, "validations": [{"expression": "true"}]}),
        )
    };
    let binding = |name: &str, of: &str, params: Value| {
        json!({"metadata": {"name": name}, "spec": {"policyName": of,
        "validationActions": ["Deny"], "paramRef": params}})
    };
    let named = json!({"name": "s", "namespace": "default", "parameterNotFoundAction": "Allow"});
    let selected = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
    let told = |status: &Value| {
        let cause = &status["details"]["causes"][0];
        (cause["field"].as_str().unwrap().to_owned(), cause["message"].as_str().unwrap().to_owned())
    };
    let status = bob.post(POLICIES, &with_secrets("p")).await.with(422);
    let why = "Forbidden: user \"bob\" must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)";
    assert_eq!(told(&status), ("spec.paramKind".into(), why.into()));
    bob.post(POLICIES, &policy("own", maps(), json!({"validations": [{"expression": "true"}]})))
        .await
        .with(201);
    let kind = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "Secret"}}});
    bob.patch(&format!("{POLICIES}/own"), MERGE, &kind).await.with(422);
    client.post(POLICIES, &with_secrets("p")).await.with(201);
    // What others put there may stay.
    bob.patch(&format!("{POLICIES}/p"), MERGE, &json!({"spec": {"failurePolicy": "Ignore"}})).await.with(200);
    let status = bob.post(BINDINGS, &binding("b", "p", named.clone())).await.with(422);
    let why = "Forbidden: user \"bob\" does not have \"get\" permission on the object referenced by paramRef";
    assert_eq!(told(&status), ("spec.paramRef".into(), why.into()));
    let status = bob.post(BINDINGS, &binding("b", "gone", named.clone())).await.with(422);
    assert!(
        told(&status)
            .1
            .starts_with("Forbidden: unable to get policy gone to determine minimum required permissions"),
        "{status}"
    );
    allow("secrets", "", &["secrets"], &["get"]).await;
    bob.post(POLICIES, &with_secrets("mine")).await.with(201);
    bob.post(BINDINGS, &binding("b", "p", named)).await.with(201);
    let status = bob.post(BINDINGS, &binding("all", "p", selected.clone())).await.with(422);
    assert!(told(&status).1.contains("does not have \"list\" permission"), "{status}");
    bob.patch(
        &format!("{BINDINGS}/b"),
        MERGE,
        &json!({"spec": {"paramRef": {"name": null, "selector": {}}}}),
    )
    .await
    .with(422);
    allow("lists", "", &["secrets"], &["list"]).await;
    bob.post(BINDINGS, &binding("all", "p", selected)).await.with(201);
}

#[tokio::test]
async fn a_policy_says_that_it_was_seen() {
    let client = Client::new();
    let made = client
        .post(POLICIES, &policy("p", maps(), json!({"validations": [{"expression": "true"}]})))
        .await
        .with(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let url = format!("{POLICIES}/p");
    let seen = async || client.get(&url).await.with(200)["status"]["observedGeneration"].clone();
    assert_eq!(seen().await, 1);
    client.patch(&url, MERGE, &json!({"spec": {"failurePolicy": "Ignore"}})).await.with(200);
    assert_eq!(seen().await, 2);
    let condition = json!({"type": "Mine", "status": "True", "reason": "Mine", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patched = client
        .patch(&format!("{url}/status"), MERGE, &json!({"status": {"conditions": [condition]}}))
        .await
        .with(200);
    assert_eq!(
        (&patched["status"]["conditions"][0]["type"], &patched["status"]["observedGeneration"]),
        (&json!("Mine"), &json!(2))
    );
    let wrong = json!({"status": {
        "typeChecking": {"expressionWarnings": [{"fieldRef": "spec", "warning": " "}]},
        "conditions": [{"type": "a b", "status": "Maybe", "reason": "1", "message": ""}]}});
    let status = client.patch(&format!("{url}/status"), MERGE, &wrong).await.with(422);
    let causes = status["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "status.typeChecking.expressionWarnings[0].warning",
            "status.conditions[0].type",
            "status.conditions[0].status",
            "status.conditions[0].lastTransitionTime",
            "status.conditions[0].reason",
        ]
    );
    // They are written as others know them, or not at all.
    let body = policy("p", maps(), json!({"validations": [{"expression": "true"}]}));
    let status = client.put(&url, &body).await.with(422);
    assert!(
        message(&status)
            .contains("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"),
        "{status}"
    );
}
