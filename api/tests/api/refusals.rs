//! Whatever clients send, the answer is a Status that says what is wrong.

use serde_json::{Value, json};

use crate::client::{Client, MERGE, deployment, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn edited(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).expect("the pointer leads somewhere") = new;
    value
}

async fn check(client: &Client, method: &str, uri: &str, media: &str, body: Vec<u8>, code: u16, text: &str) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    let answer = client.raw(method, uri, &[("content-type", media)], body).await;
    let context = format!("{method} {uri} {shown}: {}", String::from_utf8_lossy(&answer.bytes));
    assert_eq!(answer.code, code, "{context}");
    let status = answer.json();
    assert_eq!(
        (&status["kind"], &status["status"], &status["code"]),
        (&json!("Status"), &json!("Failure"), &json!(code)),
        "{context}"
    );
    assert!(status["message"].as_str().unwrap().contains(text), "{context}");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let client = Client::new();
    client.config_map("a", json!({})).await;
    const JSON: &str = "application/json";
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let url = format!("{MAPS}/a");
    let deep =
        format!("{{\"metadata\":{{\"name\":\"d\"}},\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    #[allow(clippy::type_complexity, reason = "method, URL, media type, body, code, a part of the message")]
    let cases: Vec<(&str, String, &str, Vec<u8>, u16, &str)> = vec![
        ("GET", "/nope".into(), JSON, vec![], 404, "could not find the requested resource"),
        ("GET", "/api/v1/namespaces/default/widgets".into(), JSON, vec![], 404, "could not find"),
        ("GET", "/apis/apps/v9/deployments".into(), JSON, vec![], 404, "could not find"),
        ("GET", format!("{MAPS}/none"), JSON, vec![], 404, "configmaps \"none\" not found"),
        ("POST", url.clone(), JSON, b"{}".to_vec(), 405, "not supported"),
        ("BREW", MAPS.into(), JSON, vec![], 405, "not supported"),
        ("DELETE", "/api/v1/namespaces".into(), JSON, vec![], 405, "delete is not supported"),
        ("POST", "/api/v1/configmaps".into(), JSON, b"{}".to_vec(), 405, "create is not supported"),
        ("POST", "/version".into(), JSON, vec![], 405, "not allow this method"),
        ("POST", MAPS.into(), JSON, vec![], 400, "body is empty"),
        ("POST", MAPS.into(), JSON, b"{".to_vec(), 400, "invalid JSON"),
        ("POST", MAPS.into(), JSON, b"[]".to_vec(), 400, "cannot unmarshal array"),
        ("POST", MAPS.into(), JSON, b"{\"data\":{\"a\":1}}".to_vec(), 400, "cannot unmarshal number"),
        ("POST", MAPS.into(), JSON, b"{\"kind\":\"Pod\"}".to_vec(), 400, "Pod"),
        (
            "POST",
            MAPS.into(),
            JSON,
            b"{\"apiVersion\":\"v2\"}".to_vec(),
            400,
            "does not match the expected API version",
        ),
        ("POST", MAPS.into(), JSON, deep.into_bytes(), 400, "depth"),
        ("POST", MAPS.into(), JSON, vec![b' '; (3 << 20) + 1], 413, "limit is 3145728"),
        ("POST", MAPS.into(), "text/plain", b"hello".to_vec(), 415, "unknown format"),
        ("POST", MAPS.into(), PROTOBUF, b"{}".to_vec(), 400, "6b 38 73 00"),
        ("POST", MAPS.into(), PROTOBUF, b"k8s\0\x0a\xff\xff".to_vec(), 400, ""),
        ("POST", MAPS.into(), "application/yaml", b"a: [".to_vec(), 400, "YAML"),
        (
            "POST",
            MAPS.into(),
            JSON,
            b"{\"metadata\":{\"name\":\"x\",\"namespace\":\"other\"}}".to_vec(),
            400,
            "does not match the namespace",
        ),
        (
            "POST",
            MAPS.into(),
            JSON,
            b"{\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"1\"}}".to_vec(),
            400,
            "should not be set",
        ),
        (
            "POST",
            "/api/v1/namespaces/none/configmaps".into(),
            JSON,
            b"{\"metadata\":{\"name\":\"x\"}}".to_vec(),
            404,
            "namespaces \"none\" not found",
        ),
        ("POST", format!("{MAPS}?dryRun=Some"), JSON, b"{}".to_vec(), 422, "supported values: \"All\""),
        ("POST", format!("{MAPS}?fieldValidation=Maybe"), JSON, b"{}".to_vec(), 422, "fieldValidation"),
        (
            "PUT",
            url.clone(),
            JSON,
            b"{\"metadata\":{\"name\":\"b\"}}".to_vec(),
            400,
            "does not match the name on the URL",
        ),
        (
            "PUT",
            url.clone(),
            JSON,
            b"{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"x\"}}".to_vec(),
            400,
            "Invalid value",
        ),
        (
            "PUT",
            format!("{MAPS}/none"),
            JSON,
            b"{\"metadata\":{\"name\":\"none\"}}".to_vec(),
            404,
            "not found",
        ),
        ("PATCH", url.clone(), JSON, b"{}".to_vec(), 415, "application/merge-patch+json"),
        ("PATCH", url.clone(), "application/apply-patch+cbor", b"{}".to_vec(), 415, "unknown format"),
        ("PATCH", url.clone(), MERGE, b"nope".to_vec(), 400, ""),
        ("PATCH", url.clone(), "application/json-patch+json", b"{}".to_vec(), 400, ""),
        ("PATCH", url.clone(), MERGE, b"{\"kind\":\"Pod\"}".to_vec(), 400, "may not change"),
        (
            "PATCH",
            url.clone(),
            MERGE,
            b"{\"metadata\":{\"name\":\"b\"}}".to_vec(),
            400,
            "does not match the name",
        ),
        ("PATCH", url.clone(), MERGE, b"{\"data\":{\"a\":true}}".to_vec(), 422, "cannot unmarshal bool"),
        ("PATCH", format!("{MAPS}/none"), MERGE, b"{}".to_vec(), 404, "not found"),
        (
            "DELETE",
            url.clone(),
            JSON,
            b"{\"propagationPolicy\":\"Sideways\"}".to_vec(),
            422,
            "propagationPolicy",
        ),
        (
            "DELETE",
            url.clone(),
            JSON,
            b"{\"preconditions\":{\"uid\":\"other\"}}".to_vec(),
            409,
            "UID in precondition: other",
        ),
        ("DELETE", url.clone(), JSON, b"{\"kind\":\"Pod\"}".to_vec(), 400, "DeleteOptions"),
        ("DELETE", "/api/v1/namespaces/default".into(), JSON, vec![], 403, "may not be deleted"),
        ("GET", format!("{MAPS}?limit=ten"), JSON, vec![], 400, "limit"),
        ("GET", format!("{MAPS}?continue=!!"), JSON, vec![], 400, "continue key is not valid"),
        (
            "GET",
            format!("{MAPS}?continue=abc&resourceVersion=5"),
            JSON,
            vec![],
            400,
            "not allowed when using continue",
        ),
        ("GET", format!("{MAPS}?resourceVersion=abc"), JSON, vec![], 400, "Invalid value: \"abc\""),
        (
            "GET",
            format!("{MAPS}?resourceVersionMatch=Exact"),
            JSON,
            vec![],
            422,
            "forbidden unless resourceVersion is provided",
        ),
        (
            "GET",
            format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion=0"),
            JSON,
            vec![],
            422,
            "forbidden",
        ),
        ("GET", format!("{MAPS}?sendInitialEvents=true"), JSON, vec![], 422, "forbidden for list"),
        ("GET", format!("{MAPS}?watch=1&sendInitialEvents=true"), JSON, vec![], 422, "resourceVersionMatch"),
        (
            "GET",
            format!("{MAPS}?watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1"),
            JSON,
            vec![],
            422,
            "forbidden for watch",
        ),
        ("GET", format!("{MAPS}?labelSelector=a+b+c"), JSON, vec![], 400, "unable to parse requirement"),
        ("GET", format!("{MAPS}?fieldSelector=x%3Dy"), JSON, vec![], 400, "field label not supported: x"),
        ("GET", format!("{PODS}/none/log"), JSON, vec![], 404, "pods \"none\" not found"),
        (
            "POST",
            format!("{PODS}/none/binding"),
            JSON,
            b"{\"target\":{}}".to_vec(),
            422,
            "target.name: Required value",
        ),
        (
            "GET",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            JSON,
            vec![],
            405,
            "SelfSubjectAccessReview",
        ),
    ];
    for (method, uri, media, body, code, text) in cases {
        check(&client, method, &uri, media, body, code, text).await;
    }
    let answer = client.raw("GET", MAPS, &[("accept", "text/csv")], "").await;
    assert_eq!(answer.with(406)["reason"], "NotAcceptable");
}

#[tokio::test]
async fn objects_that_cannot_be() {
    let client = Client::new();
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        (MAPS, json!({"metadata": {}}), "metadata.name", "name or generateName is required"),
        (MAPS, json!({"metadata": {"name": "Not_A_Name"}}), "metadata.name", "RFC 1123 subdomain"),
        (
            MAPS,
            json!({"metadata": {"name": "x", "labels": {"a": "-"}}}),
            "metadata.labels",
            "a valid label must be",
        ),
        (MAPS, json!({"metadata": {"name": "x", "labels": {"a/b/c": "d"}}}), "metadata.labels", "name part"),
        (
            MAPS,
            json!({"metadata": {"name": "x", "finalizers": ["a b"]}}),
            "metadata.finalizers[0]",
            "name part",
        ),
        (
            MAPS,
            json!({"metadata": {"name": "x", "ownerReferences": [{"kind": "Pod"}]}}),
            "metadata.ownerReferences[0].uid",
            "Required value",
        ),
        (MAPS, json!({"metadata": {"name": "x"}, "data": {"a/b": "c"}}), "data[a/b]", "a valid config key"),
        ("/api/v1/namespaces", json!({"metadata": {"name": "a.b"}}), "metadata.name", "RFC 1123 label"),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "1s"}, "spec": {"ports": [{"port": 80}]}}),
            "metadata.name",
            "DNS-1035",
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "s"}, "spec": {}}),
            "spec.ports",
            "Required value",
        ),
        (PODS, json!({"metadata": {"name": "p"}, "spec": {}}), "spec.containers", "Required value"),
        (
            PODS,
            edited(pod("p"), "/spec/containers/0/image", "".into()),
            "spec.containers[0].image",
            "Required value",
        ),
        (
            PODS,
            edited(
                pod("p"),
                "/spec/containers",
                json!([{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]),
            ),
            "spec.containers[1].name",
            "Duplicate value: \"c\"",
        ),
        (
            PODS,
            edited(
                pod("p"),
                "/spec/containers/0",
                json!({"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}),
            ),
            "spec.containers[0].ports[0].containerPort",
            "between 1 and 65535",
        ),
        (
            PODS,
            edited(
                pod("p"),
                "/spec/containers/0",
                json!({"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
            ),
            "spec.containers[0].volumeMounts[0].name",
            "Not found: \"v\"",
        ),
        (
            PODS,
            edited(
                pod("p"),
                "/spec/containers/0",
                json!({"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}),
            ),
            "spec.containers[0].resources.requests",
            "must be less than or equal to cpu limit",
        ),
        (
            PODS,
            edited(
                pod("p"),
                "/spec",
                json!({"restartPolicy": "Maybe", "containers": [{"name": "c", "image": "i"}]}),
            ),
            "spec.restartPolicy",
            "Unsupported value: \"Maybe\"",
        ),
        (
            DEPLOYMENTS,
            edited(deployment("d", 1), "/spec/replicas", (-1).into()),
            "spec.replicas",
            "Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            DEPLOYMENTS,
            edited(deployment("d", 1), "/spec/template/metadata/labels", json!({"a": "b"})),
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (
            DEPLOYMENTS,
            edited(deployment("d", 1), "/spec/selector", json!({})),
            "spec.selector",
            "empty selector",
        ),
    ];
    for (uri, body, field, text) in cases {
        let status = client.post(uri, &body).await.with(422);
        let found = status["details"]["causes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|cause| cause["field"] == field && cause["message"].as_str().unwrap().contains(text));
        assert!(found, "{body}\n{status}");
        assert_eq!(status["reason"], "Invalid");
    }
    let priority = edited(
        pod("p"),
        "/spec",
        json!({"priorityClassName": "none", "containers": [{"name": "c", "image": "i"}]}),
    );
    client.post(PODS, &priority).await.with(403);
}

#[tokio::test]
async fn what_is_fixed_stays() {
    let client = Client::new();
    client.post(DEPLOYMENTS, &deployment("d", 1)).await.with(201);
    client.post(PODS, &pod("p")).await.with(201);
    let secret = json!({"metadata": {"name": "s"}, "immutable": true, "data": {"a": "Yg=="}});
    client.post("/api/v1/namespaces/default/secrets", &secret).await.with(201);
    for (uri, body, text) in [
        (
            format!("{DEPLOYMENTS}/d"),
            json!({"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}}),
            "field is immutable",
        ),
        (
            format!("{PODS}/p"),
            json!({"spec": {"terminationGracePeriodSeconds": 5}}),
            "pod updates may not change fields other than",
        ),
        ("/api/v1/namespaces/default/secrets/s".into(), json!({"data": {"a": "Yw=="}}), "immutable"),
        ("/api/v1/namespaces/default/secrets/s".into(), json!({"type": "x"}), "field is immutable"),
    ] {
        let status = client.patch(&uri, MERGE, &body).await.with(422);
        assert!(status["message"].as_str().unwrap().contains(text), "{status}");
    }
    let image = json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}});
    client.patch(&format!("{PODS}/p"), "application/strategic-merge-patch+json", &image).await.with(200);
}

#[tokio::test]
async fn bad_options_are_named_by_what_they_are_options_of() {
    let client = Client::new();
    client.config_map("m", json!({})).await;
    let one = format!("{MAPS}/m");
    let body = json!({"metadata": {"name": "m"}});
    let long = "x".repeat(129);
    for (query, field) in [
        ("dryRun=Some", "dryRun: Unsupported value"),
        ("fieldValidation=Harsh", "fieldValidation: Unsupported value: \"Harsh\""),
        (
            "fieldManager=a%0Ab",
            "fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)",
        ),
        (&format!("fieldManager={long}"), "fieldManager: Too long: may not be more than 128 bytes"),
    ] {
        for (options, answer) in [
            ("CreateOptions", client.post(&format!("{MAPS}?{query}"), &body).await),
            ("UpdateOptions", client.put(&format!("{one}?{query}"), &body).await),
            (
                "PatchOptions",
                client.patch(&format!("{one}?{query}"), "application/merge-patch+json", &body).await,
            ),
        ] {
            let refused = answer.with(422);
            let told = refused["message"].as_str().unwrap();
            let expected = format!("{options}.meta.k8s.io \"\" is invalid: {field}");
            assert!(told.starts_with(&expected), "{told}");
        }
    }
    let refused = client.delete(&format!("{one}?dryRun=Some")).await.with(422);
    assert!(refused["message"].as_str().unwrap().starts_with("DeleteOptions.meta.k8s.io"));
    client.get(&one).await.with(200);
}
