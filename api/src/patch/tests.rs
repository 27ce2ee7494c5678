#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::schema::type_for;

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

fn patched(document: Value, patch: Value) -> Value {
    strategic(&document, &patch, type_for("", "v1", "Pod").unwrap()).unwrap()
}

fn refused(document: Value, patch: Value) -> PatchError {
    strategic(&document, &patch, type_for("", "v1", "Pod").unwrap()).unwrap_err()
}

fn names(document: &Value, list: &str) -> Vec<String> {
    let items = document["spec"][list].as_array().unwrap();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_merge_by_key_and_others_are_replaced() {
    // The documented example: a patch with one container adds it and keeps the other.
    let deployment = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "patch-demo-ctr", "image": "nginx"}],
        "tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}]}}}});
    let patch = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "patch-demo-ctr-2", "image": "redis"}],
        "tolerations": [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]}}}});
    let merged = strategic(&deployment, &patch, type_for("apps", "v1", "Deployment").unwrap()).unwrap();
    let spec = &merged["spec"]["template"]["spec"];
    assert_eq!(
        spec["containers"],
        json!([{"name": "patch-demo-ctr-2", "image": "redis"}, {"name": "patch-demo-ctr", "image": "nginx"}])
    );
    assert_eq!(spec["tolerations"], json!([{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]));
}

#[test]
fn fields_merge_null_deletes_and_new_values_lose_directives() {
    let document = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}]}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": {"k": "v", "gone": null}},
        "spec": {"nodeSelector": {"$patch": "replace", "disk": "ssd"}, "containers": [{"name": "a", "image": null, "env": [{"name": "F", "value": "2"}]}]}});
    assert_eq!(
        patched(document, patch),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}, "annotations": {"k": "v"}},
            "spec": {"nodeSelector": {"disk": "ssd"},
                "containers": [{"name": "a", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]}]}})
    );
}

#[test]
fn patch_directives_replace_and_delete() {
    let document = || {
        pod(
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "nodeSelector": {"z": "1"}}),
        )
    };
    let delete = patched(
        document(),
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "b", "image": "new"}]}}),
    );
    assert_eq!(delete["spec"]["containers"], json!([{"name": "b", "image": "new"}]));
    let replace =
        patched(document(), json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}));
    assert_eq!(replace["spec"]["containers"], json!([{"name": "c"}]));
    let cleared = patched(document(), json!({"spec": {"containers": [{"$patch": "replace"}]}}));
    assert_eq!(cleared["spec"]["containers"], json!([]));
    let object = patched(document(), json!({"spec": {"$patch": "replace", "hostNetwork": true}}));
    assert_eq!(object["spec"], json!({"hostNetwork": true}));
    let emptied = patched(document(), json!({"spec": {"nodeSelector": {"$patch": "delete"}}}));
    assert_eq!(emptied["spec"]["nodeSelector"], json!({}));
    let unknown = refused(document(), json!({"spec": {"$patch": "shuffle"}}));
    assert_eq!((unknown.code(), unknown.to_string().as_str()), (400, "unknown patch type: shuffle"));
}

#[test]
fn element_order_is_obeyed_and_foreign_elements_keep_their_place() {
    let document =
        pod(json!({"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}, {"name": "c"}]}));
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b", "image": "new"}]}});
    let merged = patched(document.clone(), patch);
    assert_eq!(names(&merged, "containers"), ["sidecar", "c", "a", "b"]);
    assert_eq!(merged["spec"]["containers"][3], json!({"name": "b", "image": "new"}));
    let order_only = patched(
        document.clone(),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}]}}),
    );
    assert_eq!(names(&order_only, "containers"), ["sidecar", "b", "a", "c"]);
    let bad =
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}});
    assert_eq!(refused(document.clone(), bad).code(), 400);
    let not_a_list = json!({"spec": {"$setElementOrder/containers": "a"}});
    assert_eq!(refused(document, not_a_list).code(), 400);
}

#[test]
fn plain_lists_merge_as_sets() {
    let document = || json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let added = patched(document(), json!({"metadata": {"finalizers": ["d", "b"]}}));
    let mut values: Vec<&str> =
        added["metadata"]["finalizers"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["a", "b", "c", "d"]);
    let deleted = patched(document(), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}));
    assert_eq!(deleted["metadata"]["finalizers"], json!(["a", "c"]));
    let both = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b", "d"], "finalizers": ["d"]}});
    assert_eq!(patched(document(), both)["metadata"]["finalizers"], json!(["c", "b", "d"]));
    let absent =
        patched(json!({"metadata": {}}), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}));
    assert_eq!(absent, json!({"metadata": {}}));
    assert_eq!(
        refused(document(), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}})).code(),
        400
    );
}

#[test]
fn retain_keys_drops_the_rest_of_a_union() {
    let document = pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    let patch = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}});
    assert_eq!(
        patched(document.clone(), patch)["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/x"}}])
    );
    let contradiction =
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/x"}}]}});
    assert_eq!(refused(document, contradiction).code(), 400);
    let deployment =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let merged = strategic(&deployment, &patch, type_for("apps", "v1", "Deployment").unwrap()).unwrap();
    assert_eq!(merged["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn elements_without_their_key_and_unknown_fields_are_unprocessable() {
    let document = pod(json!({"containers": [{"name": "a"}], "typo": {"x": 1}}));
    let error = refused(document.clone(), json!({"spec": {"containers": [{"image": "x"}]}}));
    assert_eq!(error.code(), 422);
    assert_eq!(error.to_string(), "map: {\"image\":\"x\"} does not contain declared merge key: name");
    let error = refused(document, json!({"spec": {"typo": {"y": 1}}}));
    assert_eq!(error.to_string(), "unable to find api field in struct PodSpec for the json field \"typo\"");
}

#[test]
fn ports_merge_by_number() {
    let service = json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}});
    let patch = json!({"spec": {"ports": [{"port": 443, "targetPort": 8443}]}});
    let merged = strategic(&service, &patch, type_for("", "v1", "Service").unwrap()).unwrap();
    assert_eq!(merged["spec"]["ports"].as_array().unwrap().len(), 2);
    assert!(
        merged["spec"]["ports"]
            .as_array()
            .unwrap()
            .contains(&json!({"port": 443, "name": "https", "targetPort": 8443}))
    );
}

#[test]
fn merge_patch_follows_the_examples_of_its_rfc() {
    for (document, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(merge(&document, &patch).unwrap(), expected);
    }
    assert_eq!(merge(&json!({}), &json!([1])).unwrap_err().code(), 400);
}

#[test]
fn json_patch_applies_in_order_or_not_at_all() {
    let document = json!({"spec": {"replicas": 1, "list": [1, 2]}});
    let patch = json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 3},
        {"op": "add", "path": "/spec/list/-", "value": 3}, {"op": "remove", "path": "/spec/list/0"}]);
    assert_eq!(json(&document, &patch).unwrap(), json!({"spec": {"replicas": 3, "list": [2, 3]}}));
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 2}]);
    assert_eq!(json(&document, &failing).unwrap_err().code(), 422);
    let missing = json!([{"op": "remove", "path": "/spec/nothing"}]);
    assert_eq!(json(&document, &missing).unwrap_err().code(), 422);
    for malformed in
        [json!({}), json!([{"op": "jump"}]), json!([{"op": "add", "path": "no-slash", "value": 1}])]
    {
        assert_eq!(json(&document, &malformed).unwrap_err().code(), 400, "{malformed}");
    }
}

#[test]
fn json_patch_is_bounded() {
    let many = Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); MAX_OPERATIONS + 1]);
    assert_eq!(json(&json!({"a": 1}), &many).unwrap_err().code(), 413);
    // Each copy doubles the document.
    let doubling: Vec<Value> =
        (0..64).map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/k{n}")})).collect();
    assert_eq!(json(&json!({"a": {}}), &Value::Array(doubling)).unwrap_err().code(), 413);
    let swaps =
        [("/a", "/b"), ("/b", "/a")].map(|(from, to)| json!({"op": "move", "from": from, "path": to}));
    let moving: Vec<Value> = swaps.into_iter().cycle().take(300).collect();
    let document = json!({"a": vec![1; 1000]});
    assert_eq!(json(&document, &json!(moving[..20])).unwrap(), document);
    assert_eq!(json(&document, &Value::Array(moving)).unwrap_err().code(), 413);
}

#[test]
fn json_patch_makes_nothing_deeper_than_a_document_may_be() {
    let nested = |levels: usize| (1..levels).fold(json!({}), |value, _| json!({ "a": value }));
    let at = |tokens: usize| "/a".repeat(tokens);
    let refused = |document: &Value, patch: Value| {
        let error = json(document, &patch).unwrap_err();
        assert_eq!(error.code(), 422, "{error}");
        assert!(error.to_string().contains("deeper than 64 levels"), "{error}");
    };
    // Each copy puts all there is below its own end: twice as deep, 65,536 levels in all.
    let doubling = (0..16).map(|n| json!({"op": "copy", "from": "/a", "path": at((1 << n) + 1)}));
    refused(&nested(2), doubling.collect());
    let deep = json!({"a": nested(40), "b": nested(40)});
    for op in ["copy", "move"] {
        refused(&deep, json!([{"op": op, "from": "/b", "path": at(41)}]));
        let fits = json!([{"op": op, "from": "/b", "path": format!("{}/b", at(23))}]);
        refused(&deep, json!([{"op": op, "from": "/b", "path": format!("{}/b", at(24))}]));
        assert!(json(&deep, &fits).unwrap().pointer(&format!("{}/b{}", at(23), at(39))).is_some());
    }
    // At the bound, and one beyond it.
    let document = nested(63);
    assert!(json(&document, &json!([{"op": "add", "path": at(63), "value": {}}])).is_ok());
    refused(&document, json!([{"op": "add", "path": at(63), "value": {"a": {}}}]));
    assert!(json(&document, &json!([{"op": "replace", "path": at(62), "value": [[1]]}])).is_ok());
    refused(&document, json!([{"op": "replace", "path": at(62), "value": [[[1]]]}]));
    refused(&document, json!([{"op": "add", "path": at(65), "value": 1}]));
}
