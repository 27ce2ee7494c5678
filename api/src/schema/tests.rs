#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::reader::Limits;
use super::strict::{check, check_applied, decode};
use super::*;

fn deployment() -> TypeRef {
    type_for("apps", "v1", "Deployment").unwrap()
}

fn refused(value: Value) -> String {
    check(deployment(), &mut { value }).unwrap_err().0
}

#[test]
fn the_table_loads_and_knows_the_marks() {
    let containers = deployment().walk(&["spec", "template", "spec", "containers"]).unwrap();
    assert_eq!((containers.patch.strategy, containers.patch.merge_key), ("merge", "name"));
    assert_eq!(containers.list, ListType::Map(&["name"]));
    assert!(!containers.pointer && !containers.omitempty && containers.required);
    let replicas = deployment().walk(&["spec", "replicas"]).unwrap();
    assert!(replicas.pointer && replicas.omitempty && replicas.shape == Shape::Int32 && replicas.number == 1);
    let volumes = deployment().walk(&["spec", "template", "spec", "volumes"]).unwrap();
    assert!(volumes.patch.merges() && volumes.patch.retains_keys());
    let ports = type_for("", "v1", "Service").unwrap().walk(&["spec", "ports"]).unwrap();
    assert_eq!(ports.list, ListType::Map(&["port", "protocol"]));
    // Embedded fields stand in the outer object.
    assert!(volumes.shape.element().unwrap().as_struct().unwrap().field("emptyDir").is_some());
    assert!(Registry::global().named("io.k8s.api.core.v1.PodSpec").is_some());
}

#[test]
fn every_served_group_is_in_the_table_and_delete_options_are_everywhere() {
    for (api_version, kind) in [
        ("v1", "Pod"),
        ("v1", "PodList"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "CronJob"),
        ("autoscaling/v1", "Scale"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("policy/v1", "Eviction"),
        ("networking.k8s.io/v1", "Ingress"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("coordination.k8s.io/v1", "Lease"),
        ("events.k8s.io/v1", "Event"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("scheduling.k8s.io/v1", "PriorityClass"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("node.k8s.io/v1", "RuntimeClass"),
        ("certificates.k8s.io/v1", "CertificateSigningRequest"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("authentication.k8s.io/v1", "TokenRequest"),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        ("meta.k8s.io/v1", "Table"),
        ("policy/v1", "DeleteOptions"),
        ("v1", "DeleteOptions"),
        ("v1", "Status"),
    ] {
        assert!(type_for_api_version(api_version, kind).is_some(), "{api_version} {kind}");
    }
    assert!(type_for("apps", "v1", "Pod").is_none());
    assert!(type_for("example.org", "v1", "Widget").is_none());
}

#[test]
fn unknown_fields_are_named_with_their_place_and_dropped() {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "lables": {}},
        "spec": {"replicaz": 3, "Replicas": 1, "template": {"spec": {"containers": [
            {"name": "a"}, {"name": "b", "imagePull": 1, "ports": [{"containerPort": 80, "x": {"y": 1}}]}]}}}
    });
    let checked = check(deployment(), &mut value).unwrap();
    let mut unknown = checked.unknown.clone();
    unknown.sort();
    assert_eq!(
        unknown,
        [
            "metadata.lables",
            "spec.Replicas",
            "spec.replicaz",
            "spec.template.spec.containers[1].imagePull",
            "spec.template.spec.containers[1].ports[0].x"
        ]
    );
    assert_eq!(value["metadata"], json!({"name": "a"}));
    assert_eq!(
        value["spec"]["template"]["spec"]["containers"][1],
        json!({"name": "b", "ports": [{"containerPort": 80}]})
    );
    assert!(
        checked
            .strict_error()
            .unwrap()
            .starts_with("strict decoding error: unknown field \"metadata.lables\", ")
    );
}

#[test]
fn duplicates_come_from_the_text() {
    let text = br#"{"metadata":{"name":"a","name":"b"},"spec":{"replicas":1,"replicas":2,"replicaz":1}}"#;
    let (value, checked) = decode(deployment(), text, Limits::default()).unwrap();
    assert_eq!(value["spec"], json!({"replicas": 2}));
    assert_eq!(
        checked.problems(),
        [
            "unknown field \"spec.replicaz\"",
            "duplicate field \"metadata.name\"",
            "duplicate field \"spec.replicas\""
        ]
    );
}

#[test]
fn wrong_types_are_refused_in_the_words_of_kubernetes() {
    for (value, text) in [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 2147483648_i64}}),
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"metadata": []}),
            "json: cannot unmarshal array into Go struct field Deployment.metadata of type v1.ObjectMeta",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"metadata": {"labels": ["a"]}}),
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"ports": [{"containerPort": true}]}]}}}}),
            "json: cannot unmarshal bool into Go struct field ContainerPort.spec.template.spec.containers.ports.containerPort of type int32",
        ),
        (json!([1]), "json: cannot unmarshal array into Go value of type v1.Deployment"),
        (
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": true}}}}),
            "json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
        (
            json!({"metadata": {"creationTimestamp": 5}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
    ] {
        assert_eq!(refused(value.clone()), text, "{value}");
    }
    let bad =
        json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}}});
    assert!(refused(bad).starts_with("quantities must match the regular expression"));
    assert!(
        refused(json!({"metadata": {"creationTimestamp": "now"}})).starts_with("parsing time \"now\" as")
    );
}

#[test]
fn nulls_vanish_and_scalars_take_their_stored_form() {
    let mut value = json!({
        "metadata": {"name": null, "creationTimestamp": null, "labels": {"a": null, "b": "c"}, "finalizers": [null, "x"]},
        "spec": {"replicas": null, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"creationTimestamp": null, "deletionTimestamp": "2024-05-01T12:00:00+02:00"},
                "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "pods": 2}}}, null]}}}
    });
    assert!(check(deployment(), &mut value).unwrap().is_clean());
    assert_eq!(
        value,
        json!({
            "metadata": {"labels": {"a": "", "b": "c"}, "finalizers": ["", "x"]},
            "spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
                "template": {"metadata": {"deletionTimestamp": "2024-05-01T10:00:00Z"},
                    "spec": {"containers": [{"resources": {"limits": {"cpu": "500m", "memory": "1Gi", "pods": "2"}}}, {}]}}}
        })
    );
}

#[test]
fn what_go_leaves_out_vanishes_but_for_documents_that_are_applied() {
    let given = json!({
        "metadata": {"name": "a", "generateName": "", "generation": 0, "labels": {}, "annotations": {"k": ""}, "managedFields": []},
        "spec": {"replicas": 0, "minReadySeconds": 0, "paused": false, "selector": {"matchExpressions": []}, "strategy": {"type": ""},
            "template": {"metadata": {}, "spec": {"hostNetwork": false, "automountServiceAccountToken": false, "tolerations": [],
                "containers": [{"name": "", "args": [""], "env": [{"name": "A", "value": ""}], "resources": {"limits": {"cpu": "0"}},
                    "ports": [{"containerPort": 0, "hostPort": 0}], "lifecycle": {"preStop": {"httpGet": {"port": 0, "path": ""}}}}],
                "volumes": []}}}
    });
    let mut value = given.clone();
    assert!(check(deployment(), &mut value).unwrap().is_clean());
    assert_eq!(
        value,
        json!({
            "metadata": {"name": "a", "annotations": {"k": ""}, "managedFields": []},
            "spec": {"replicas": 0, "selector": {}, "strategy": {},
                "template": {"metadata": {}, "spec": {"automountServiceAccountToken": false,
                    "containers": [{"name": "", "args": [""], "env": [{"name": "A"}], "resources": {"limits": {"cpu": "0"}},
                        "ports": [{"containerPort": 0}], "lifecycle": {"preStop": {"httpGet": {"port": 0}}}}]}}}
        })
    );
    let mut applied = given.clone();
    assert!(check_applied(deployment(), &mut applied).unwrap().is_clean());
    assert_eq!(applied, given);
}

#[test]
fn schemas_of_custom_resources_are_checked_through_their_unions() {
    let crd = type_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let schema = |schema: Value| json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}});
    let mut value = schema(
        json!({"properties": {"a": {"items": {"typo": 1}, "additionalProperties": false, "default": {"any": [null]}}},
        "x-kubernetes-preserve-unknown-fields": true, "items": [{"$ref": "x"}]}),
    );
    let checked = check(crd, &mut value).unwrap();
    assert_eq!(checked.unknown, ["spec.versions[0].schema.openAPIV3Schema.properties.a.items.typo"]);
    let mut value = schema(json!({"additionalProperties": "x"}));
    assert_eq!(check(crd, &mut value).unwrap_err().0, "boolean or JSON schema expected");
}

#[test]
fn deep_values_are_refused() {
    let crd = type_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
    let mut schema = json!({});
    for _ in 0..80 {
        schema = json!({"not": schema});
    }
    let mut value = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
    assert_eq!(check(crd, &mut value).unwrap_err().0, "exceeded max depth of 64");
}
