use serde_json::{Value, json};

use super::{fixed, namespaced, refused, stored, with};
use crate::client::{Client, MERGE};

#[tokio::test]
async fn volumes_claims_and_classes() {
    let client = Client::new();
    let url = "/api/v1/persistentvolumes";
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "hostPath": {"path": "/srv", "type": ""}, "claimRef": {"namespace": "default", "name": "kept"}},
    });
    let defaults = [
        ("/spec/persistentVolumeReclaimPolicy", json!("Retain")),
        ("/spec/volumeMode", json!("Filesystem")),
        ("/status/phase", json!("Available")),
    ];
    stored(
        &client,
        url,
        &volume,
        &defaults,
        &[
            ("Capacity", json!("5Gi")),
            ("Access Modes", json!("RWO")),
            ("Reclaim Policy", json!("Retain")),
            ("Status", json!("Available")),
            ("Claim", json!("default/kept")),
            ("StorageClass", json!("fast")),
            ("VolumeAttributesClass", json!("<unset>")),
            ("Reason", json!("")),
            ("Age", json!(null)),
            ("VolumeMode*", json!("Filesystem")),
        ],
    )
    .await;
    let edits =
        [("/spec/accessModes", json!(["ReadWriteOncePod", "Sometimes"])), ("/spec/capacity", json!(null))];
    refused(
        &client,
        url,
        &volume,
        &edits,
        &[
            ("spec.capacity", "Required value"),
            ("spec.accessModes", "Unsupported value: \"Sometimes\""),
            ("spec.accessModes", "may not use ReadWriteOncePod with other access modes"),
        ],
    )
    .await;

    let url = namespaced("", "persistentvolumeclaims");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}},
    });
    let made = stored(
        &client,
        &url,
        &claim,
        &[("/spec/storageClassName", json!(""))],
        &[
            ("Status", json!("Pending")),
            ("Volume", json!("")),
            ("Capacity", json!("")),
            ("Access Modes", json!("")),
            ("StorageClass", json!("")),
            ("VolumeAttributesClass", json!("<unset>")),
            ("Age", json!(null)),
            ("VolumeMode*", json!("Filesystem")),
        ],
    )
    .await;
    let more = [("/spec/resources/requests/storage", json!("2Gi"))];
    let text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    fixed(&client, &url, &made, &more, &[("spec", text)]).await;
    // Who binds it names the volume, once; a bound claim may grow where its class allows.
    let own = format!("{url}/data");
    let named = client.put(&own, &with(&made, &[("/spec/volumeName", json!("disk"))])).await.with(200);
    fixed(&client, &url, &named, &[("/spec/volumeName", json!("other"))], &[("spec", text)]).await;
    let bound =
        client.patch(&format!("{own}/status"), MERGE, &json!({"status": {"phase": "Bound"}})).await.with(200);
    client.put(&own, &with(&bound, &more)).await.with(403);

    let url = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": "disks.example.com", "parameters": {"tier": "1"},
    });
    let made = stored(
        &client,
        url,
        &class,
        &[("/reclaimPolicy", json!("Delete"))],
        &[
            ("Provisioner", json!("disks.example.com")),
            ("ReclaimPolicy", json!("Delete")),
            ("VolumeBindingMode", json!("Immediate")),
            ("AllowVolumeExpansion", json!(false)),
            ("Age", json!(null)),
        ],
    )
    .await;
    let edits = [("/parameters/tier", json!("2")), ("/volumeBindingMode", json!("WaitForFirstConsumer"))];
    fixed(
        &client,
        url,
        &made,
        &edits,
        &[
            ("parameters", "Forbidden: updates to parameters are forbidden."),
            ("volumeBindingMode", "field is immutable"),
        ],
    )
    .await;
}

fn ingress(path_type: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"},
        "spec": {"ingressClassName": "edge", "tls": [{"hosts": ["shop.example.com"], "secretName": "shop"}],
            "rules": [{"host": "shop.example.com", "http": {"paths": [{
                "path": "/", "pathType": path_type,
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]},
    })
}

#[tokio::test]
async fn ingresses() {
    let client = Client::new();
    let url = namespaced("networking.k8s.io", "ingresses");
    stored(
        &client,
        &url,
        &ingress(json!("Prefix")),
        &[("/metadata/generation", json!(1))],
        &[
            ("Class", json!("edge")),
            ("Hosts", json!("shop.example.com")),
            ("Address", json!("")),
            ("Ports", json!("80, 443")),
            ("Age", json!(null)),
        ],
    )
    .await;
    let path = "spec.rules[0].http.paths[0]";
    let causes = [(&*format!("{path}.pathType"), "Required value: pathType must be specified")];
    refused(&client, &url, &ingress(json!(null)), &[], &causes).await;
    let edits = [
        ("/spec/rules/0/host", json!("*.*.example.com")),
        ("/spec/rules/0/http/paths/0/path", json!("shop")),
        ("/spec/rules/0/http/paths/0/backend/service", json!({"name": "Web", "port": {}})),
    ];
    refused(
        &client,
        &url,
        &ingress(json!("Exact")),
        &edits,
        &[
            ("spec.rules[0].host", "a lowercase RFC 1123 subdomain"),
            (&*format!("{path}.path"), "must be an absolute path"),
            (&*format!("{path}.backend.service.name"), "a DNS-1035 label"),
            (&*format!("{path}.backend.service"), "port name or number is required"),
        ],
    )
    .await;
    let causes = [("spec", "either `defaultBackend` or `rules` must be specified")];
    refused(&client, &url, &ingress(json!("Exact")), &[("/spec/rules", json!([]))], &causes).await;
}

#[tokio::test]
async fn quotas_revisions_and_runtime_classes() {
    let client = Client::new();
    let url = namespaced("", "resourcequotas");
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
        "spec": {"hard": {"pods": "10", "limits.cpu": "4"}},
    });
    let columns =
        [("Request", json!("pods: 0/10")), ("Limit", json!("limits.cpu: 0/4")), ("Age", json!(null))];
    let made = stored(&client, &url, &quota, &[("/status/used/pods", json!("0"))], &columns).await;
    fixed(
        &client,
        &url,
        &made,
        &[("/spec/scopes", json!(["BestEffort"]))],
        &[("spec.scopes", "field is immutable")],
    )
    .await;
    let selector = json!({"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In"}, {"scopeName": "BestEffort", "operator": "NotIn", "values": ["a"]},
    ]});
    let edits = [
        ("/spec/hard", json!({"pods": "-1"})),
        ("/spec/scopes", json!(["BestEffort", "NotBestEffort", "Best"])),
        ("/spec/scopeSelector", selector),
    ];
    let causes = [
        ("spec.hard[pods]", "must be greater than or equal to 0"),
        ("spec.scopes[2]", "Unsupported value: \"Best\""),
        ("spec.scopes", "conflicting scopes"),
        ("spec.scopeSelector.matchExpressions[0].values", "must be at least one value"),
        ("spec.scopeSelector.matchExpressions[1].operator", "must be 'Exist'"),
    ];
    refused(&client, &url, &quota, &edits, &causes).await;

    let url = namespaced("", "limitranges");
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "sane"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "defaultRequest": {"cpu": "1"}}]},
    });
    let defaults = [
        ("/spec/limits/0/default", json!({"cpu": "2"})),
        ("/spec/limits/0/defaultRequest", json!({"cpu": "1", "memory": "1Mi"})),
    ];
    stored(&client, &url, &range, &defaults, &[("Created At", json!(null))]).await;
    let pod = json!({"type": "Pod", "default": {"cpu": "1"}, "min": {"cpu": "2"}, "max": {"cpu": "-1"}});
    let edits = [("/spec/limits", json!([pod, {"max": {"cpu": "1"}}]))];
    let causes = [
        ("spec.limits[0].max[cpu]", "must be greater than or equal to 0"),
        ("spec.limits[0].default", "may not be specified when `type` is 'Pod'"),
        ("spec.limits[0].min[cpu]", "min value 2 is greater than max value -1"),
        ("spec.limits[0].default[cpu]", "default value 1 is greater than max value -1"),
        ("spec.limits[1].type", "Required value"),
    ];
    refused(&client, &url, &range, &edits, &causes).await;
    let mut pod = crate::client::pod("limited");
    let pods = namespaced("", "pods");
    let made = client.post(&pods, &pod).await.with(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "2"}),
        "in the answer, too"
    );
    pod["metadata"]["name"] = "greedy".into();
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "3"}});
    let status = client.post(&pods, &pod).await.with(403);
    let words = "pods \"greedy\" is forbidden: maximum cpu usage per Container is 2, but limit is 3";
    assert_eq!(status["message"], words);

    let url = namespaced("apps", "controllerrevisions");
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "db-1"}, "revision": 1,
        "data": {"spec": {"template": {}}},
    });
    let made = client.post(&url, &revision).await.with(201);
    fixed(&client, &url, &made, &[("/data", json!({"spec": {}}))], &[("data", "field is immutable")]).await;
    refused(
        &client,
        &url,
        &revision,
        &[("/data", json!(null))],
        &[("data", "Required value: data is mandatory")],
    )
    .await;

    let url = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "host"}, "handler": "host",
    });
    let made = stored(&client, url, &class, &[], &[("Handler", json!("host")), ("Age", json!(null))]).await;
    fixed(&client, url, &made, &[("/handler", json!("other"))], &[("handler", "field is immutable")]).await;
    refused(
        &client,
        url,
        &class,
        &[("/handler", json!("A B"))],
        &[("handler", "a lowercase RFC 1123 label")],
    )
    .await;
}
