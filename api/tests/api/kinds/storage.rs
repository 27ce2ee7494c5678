use serde_json::json;

use super::{fixed, namespaced, refused, stored};
use crate::client::Client;

#[tokio::test]
async fn volume_attachments() {
    let client = Client::new();
    let url = "/apis/storage.k8s.io/v1/volumeattachments";
    let attachment = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "a1"},
        "spec": {"attacher": "disks.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv1"}},
    });
    let made = stored(
        &client,
        url,
        &attachment,
        &[("/status/attached", json!(false))],
        &[
            ("Attacher", json!("disks.example.com")),
            ("PV", json!("pv1")),
            ("Node", json!("n1")),
            ("Attached", json!(false)),
            ("Age", json!(null)),
        ],
    )
    .await;
    fixed(&client, url, &made, &[("/spec/nodeName", json!("n2"))], &[("spec", "field is immutable")]).await;
    refused(
        &client,
        url,
        &attachment,
        &[("/spec/attacher", json!("")), ("/spec/source", json!({}))],
        &[
            ("spec.attacher", "Required value"),
            ("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        ],
    )
    .await;
}

#[tokio::test]
async fn drivers_and_what_they_report() {
    let client = Client::new();
    let url = "/apis/storage.k8s.io/v1/csidrivers";
    let driver = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "disks.example.com"},
        "spec": {"podInfoOnMount": true, "tokenRequests": [{"audience": "vault", "expirationSeconds": 3600}]},
    });
    let defaults = [
        ("/spec/attachRequired", json!(true)),
        ("/spec/fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
        ("/spec/volumeLifecycleModes", json!(["Persistent"])),
        ("/spec/seLinuxMount", json!(false)),
    ];
    let made = stored(
        &client,
        url,
        &driver,
        &defaults,
        &[
            ("AttachRequired", json!(true)),
            ("PodInfoOnMount", json!(true)),
            ("StorageCapacity", json!(false)),
            ("TokenRequests", json!("vault")),
            ("RequiresRepublish", json!(false)),
            ("Modes", json!("Persistent")),
            ("Age", json!(null)),
        ],
    )
    .await;
    fixed(
        &client,
        url,
        &made,
        &[("/spec/attachRequired", json!(false))],
        &[("spec.attachRequired", "field is immutable")],
    )
    .await;
    refused(
        &client,
        url,
        &driver,
        &[("/spec/tokenRequests/0/expirationSeconds", json!(60))],
        &[("spec.tokenRequests[0].expirationSeconds", "may not specify a duration less than 10 minutes")],
    )
    .await;

    let url = "/apis/storage.k8s.io/v1/csinodes";
    let node = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "n1"},
        "spec": {"drivers": [{"name": "disks.example.com", "nodeID": "i-1", "topologyKeys": ["example.com/zone"]}]},
    });
    let made = stored(&client, url, &node, &[], &[("Drivers", json!(1)), ("Age", json!(null))]).await;
    fixed(
        &client,
        url,
        &made,
        &[("/spec/drivers/0/nodeID", json!("i-2"))],
        &[("spec.drivers", "field is immutable")],
    )
    .await;
    refused(
        &client,
        url,
        &node,
        &[("/spec/drivers/-", json!({"name": "disks.example.com", "nodeID": ""}))],
        &[
            ("spec.drivers[1].nodeID", "Required value"),
            ("spec.drivers[1].name", "Duplicate value: \"disks.example.com\""),
        ],
    )
    .await;

    for (name, spec) in
        [("none", json!({"drivers": null})), ("absent", json!({})), ("empty", json!({"drivers": []}))]
    {
        let node = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}, "spec": spec,
        });
        client.post(url, &node).await.with(201);
    }

    let url = namespaced("storage.k8s.io", "csistoragecapacities");
    let capacity = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"name": "zone-a"},
        "storageClassName": "fast", "capacity": "10Gi",
        "nodeTopology": {"matchLabels": {"example.com/zone": "a"}},
    });
    let columns = [("StorageClassName", json!("fast")), ("Capacity", json!("10Gi"))];
    let made = stored(&client, &url, &capacity, &[], &columns).await;
    fixed(
        &client,
        &url,
        &made,
        &[("/storageClassName", json!("slow"))],
        &[("storageClassName", "field is immutable")],
    )
    .await;
    let edits = [("/storageClassName", json!(null)), ("/capacity", json!("-1"))];
    refused(
        &client,
        &url,
        &capacity,
        &edits,
        &[("storageClassName", "Required value"), ("capacity", "must be greater than or equal to 0")],
    )
    .await;
}
