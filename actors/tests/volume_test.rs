//! Claims and volumes: who is bound to what, folders of nodes, and what becomes of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key, pod, template};
use kontiki_actors::{
    Input, Kind, Outcome, Rejection, Request,
    input::{DeleteOptions, Part, PodReport},
    kinds::storage,
    object::Document,
};
use serde_json::{Value, json};

const PV: Kind = Kind::PERSISTENT_VOLUME;
const PVC: Kind = Kind::PERSISTENT_VOLUME_CLAIM;
const CLASS: Kind = Kind::STORAGE_CLASS;

fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.decide(Input::Bootstrap(vec![storage::default_class()]));
    cluster
}

fn claim(name: &str, class: Option<&str>) -> Value {
    let mut claim = json!({"metadata": {"name": name, "namespace": "default"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}}});
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = class.into();
    }
    claim
}

fn volume(name: &str, size: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"phase": "Pending"},
        "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "storageClassName": class, "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/srv"}}})
}

fn user(name: &str, claim: &str) -> Value {
    let mut user = pod(name, "web");
    user["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    user
}

fn phase(cluster: &Cluster, kind: Kind, name: &str) -> String {
    cluster.status(kind, name)["phase"].as_str().unwrap_or_default().to_owned()
}

fn volume_of(cluster: &Cluster, claim: &str) -> String {
    cluster.get(PVC, claim).claim().unwrap().volume.to_string()
}

fn node_of(cluster: &Cluster, pod: &str) -> Option<String> {
    cluster.get(Kind::POD, pod).pod().unwrap().node.as_ref().map(ToString::to_string)
}

fn waits_for(cluster: &Cluster, pod: &str) -> String {
    let status = cluster.status(Kind::POD, pod);
    status["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
}

fn removed(cluster: &mut Cluster, name: &str, node: &str) {
    let uid = cluster.get(PV, name).meta.uid.clone();
    let report = PodReport {
        node: node.into(),
        uid,
        namespace: "".into(),
        name: name.into(),
        status: Default::default(),
        gone: true,
        events: Vec::new(),
    };
    cluster.decide(Input::Reports(vec![report]));
}

#[test]
fn a_folder_is_made_with_its_pod_and_goes_with_its_claim() {
    let mut cluster = cluster(3);
    cluster.create(PVC, claim("data", None));
    let made = cluster.get(PVC, "data");
    assert_eq!(made.claim().unwrap().class.as_deref(), Some("local-path"), "the default class");
    assert_eq!(made.meta.finalizers, ["kubernetes.io/pvc-protection"]);
    assert_eq!(phase(&cluster, PVC, "data"), "Pending");
    assert_eq!(
        cluster.events("WaitForFirstConsumer"),
        ["waiting for first consumer to be created before binding"]
    );

    cluster.create(Kind::POD, user("web", "data"));
    let node = node_of(&cluster, "web").unwrap();
    let name = format!("pvc-{}", made.meta.uid);
    assert_eq!(volume_of(&cluster, "data"), name);
    assert_eq!((phase(&cluster, PVC, "data"), phase(&cluster, PV, &name)), ("Bound".into(), "Bound".into()));
    let bound = cluster.get(PVC, "data");
    assert_eq!(bound.meta.annotations["pv.kubernetes.io/bind-completed"], "yes");
    assert_eq!(bound.meta.annotations["volume.kubernetes.io/selected-node"], node);
    assert_eq!(bound.document.status_value()["capacity"]["storage"], "1Gi");
    let folder = cluster.get(PV, &name);
    let spec = folder.document.spec_value();
    assert_eq!(spec["claimRef"]["uid"], made.meta.uid.as_str());
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Delete");
    let term = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(*term, json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}));
    assert_eq!(cluster.events("ProvisioningSucceeded"), [format!("Successfully provisioned volume {name}")]);

    // Held while a pod uses it, and the volume while it is bound.
    cluster.delete(PVC, "data", None);
    cluster.delete(PV, &name, None);
    assert!(cluster.get(PVC, "data").meta.deleting() && cluster.get(PV, &name).meta.deleting());
    assert_eq!(storage::to_be_removed_by(&cluster.get(PV, &name)), None);
    cluster.delete(Kind::POD, "web", None);
    cluster.work_out();
    assert!(cluster.find(PVC, "data").is_none());
    // The node with the folder says that it is gone; no other one may.
    assert_eq!(phase(&cluster, PV, &name), "Released");
    assert_eq!(storage::to_be_removed_by(&cluster.get(PV, &name)), Some(node.as_str()));
    removed(&mut cluster, &name, "node-9");
    assert!(cluster.find(PV, &name).is_some());
    removed(&mut cluster, &name, &node);
    assert!(cluster.find(PV, &name).is_none());
}

#[test]
fn a_pod_comes_back_to_the_node_with_its_folder() {
    let mut cluster = cluster(3);
    let set = json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {"replicas": 2, "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db", "v1"), "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, "volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": claim("", None)["spec"]}]}});
    cluster.create(Kind::STATEFUL_SET, set);
    cluster.work_out();
    let (node, volume) = (node_of(&cluster, "db-0").unwrap(), volume_of(&cluster, "data-db-0"));
    assert_ne!(volume, volume_of(&cluster, "data-db-1"));
    let first = cluster.get(Kind::POD, "db-0").meta.uid.clone();
    cluster.delete(Kind::POD, "db-0", None);
    cluster.work_out();
    assert_ne!(cluster.get(Kind::POD, "db-0").meta.uid, first);
    assert_eq!(node_of(&cluster, "db-0"), Some(node.clone()));
    assert_eq!(volume_of(&cluster, "data-db-0"), volume);

    // Elsewhere it does not go.
    cluster.edit(Kind::NODE, &node, |n| n["spec"]["unschedulable"] = true.into());
    cluster.delete(Kind::POD, "db-0", None);
    cluster.work_out();
    assert_eq!(node_of(&cluster, "db-0"), None);
    assert_eq!(
        waits_for(&cluster, "db-0"),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match PersistentVolume's node affinity."
    );
}

#[test]
fn a_node_that_is_gone_for_good_holds_no_volume() {
    let mut cluster = cluster(1);
    cluster.create(PVC, claim("data", None));
    cluster.create(Kind::POD, user("web", "data"));
    let name = volume_of(&cluster, "data");
    cluster.delete(Kind::POD, "web", None);
    cluster.work_out();
    cluster.delete(PVC, "data", None);
    assert!(cluster.get(PV, &name).meta.deleting());
    cluster.delete(Kind::NODE, "node-0", None);
    assert!(cluster.find(PV, &name).is_none());
}

#[test]
fn a_kept_folder_is_not_removed() {
    let mut cluster = cluster(1);
    cluster.create(PVC, claim("data", None));
    cluster.create(Kind::POD, user("web", "data"));
    let name = volume_of(&cluster, "data");
    cluster.edit(PV, &name, |pv| pv["spec"]["persistentVolumeReclaimPolicy"] = "Retain".into());
    cluster.delete(Kind::POD, "web", None);
    cluster.work_out();
    cluster.delete(PVC, "data", None);
    assert_eq!(phase(&cluster, PV, &name), "Released");
    assert!(!cluster.get(PV, &name).meta.deleting());
    cluster.delete(PV, &name, None);
    assert!(cluster.find(PV, &name).is_none(), "and nobody was asked to");
}

#[test]
fn the_smallest_volume_that_fits_is_taken() {
    let mut cluster = cluster(1);
    for (name, size) in [("huge", "9Gi"), ("small", "512Mi"), ("large", "2Gi")] {
        cluster.create(PV, volume(name, size, "slow"));
        assert_eq!(phase(&cluster, PV, name), "Available");
    }
    cluster.create(PV, volume("other", "1Gi", "fast"));
    cluster.create(PVC, claim("data", Some("slow")));
    assert_eq!(volume_of(&cluster, "data"), "large");
    assert_eq!(cluster.status(PVC, "data")["capacity"]["storage"], "2Gi");
    let bound = cluster.get(PV, "large");
    assert_eq!(bound.meta.annotations["pv.kubernetes.io/bound-by-controller"], "yes");
    cluster.delete(PVC, "data", None);
    assert_eq!(phase(&cluster, PV, "large"), "Released");
    // One that comes later is taken by whoever waits.
    let mut selecting = claim("later", Some("slow"));
    selecting["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}});
    cluster.create(PVC, selecting);
    assert_eq!(phase(&cluster, PVC, "later"), "Pending");
    let mut labelled = volume("ssd", "1Gi", "slow");
    labelled["metadata"]["labels"] = json!({"disk": "ssd"});
    cluster.create(PV, labelled);
    assert_eq!(volume_of(&cluster, "later"), "ssd");
    cluster.assert_replicas_agree();
}

#[test]
fn what_is_kept_for_a_claim_is_no_others() {
    let mut cluster = cluster(1);
    let mut kept = volume("kept", "1Gi", "");
    kept["spec"]["claimRef"] = json!({"namespace": "default", "name": "mine"});
    cluster.create(PV, kept);
    cluster.create(PVC, claim("other", Some("")));
    assert_eq!(phase(&cluster, PVC, "other"), "Pending");
    assert_eq!(
        cluster.events("FailedBinding"),
        ["no persistent volumes available for this claim and no storage class is set"]
    );
    cluster.create(PVC, claim("mine", Some("")));
    assert_eq!(volume_of(&cluster, "mine"), "kept");
    let mut named = claim("named", Some(""));
    named["spec"]["volumeName"] = "kept".into();
    cluster.create(PVC, named);
    assert_eq!(phase(&cluster, PVC, "named"), "Pending");
    assert!(
        cluster
            .events("FailedBinding")
            .contains(&"volume \"kept\" already bound to a different claim.".into())
    );
}

#[test]
fn a_claim_that_loses_its_volume_says_so() {
    let mut cluster = cluster(1);
    cluster.create(PV, volume("disk", "1Gi", ""));
    cluster.create(PVC, claim("data", Some("")));
    cluster.edit(PV, "disk", |pv| pv["metadata"]["finalizers"] = json!([]));
    // The protection comes back at once, so it is only marked.
    cluster.delete(PV, "disk", None);
    assert!(cluster.get(PV, "disk").meta.deleting());
    cluster.edit(PV, "disk", |pv| pv["metadata"]["finalizers"] = json!([]));
    assert!(cluster.find(PV, "disk").is_none());
    assert_eq!(phase(&cluster, PVC, "data"), "Lost");
    assert_eq!(cluster.events("ClaimLost").len(), 1);
    cluster.create(Kind::POD, user("web", "data"));
    assert!(waits_for(&cluster, "web").contains("bound to non-existent persistentvolume \"disk\""));
}

#[test]
fn volumes_of_pods_that_wait_for_a_node_are_chosen_with_it() {
    let mut cluster = cluster(2);
    let class = json!({"metadata": {"name": "disks"}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.create(CLASS, class);
    for name in ["one", "two"] {
        cluster.create(PVC, claim(name, Some("disks")));
        cluster.create(Kind::POD, user(name, name));
    }
    let why = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    assert_eq!(waits_for(&cluster, "one"), why);
    let mut disk = volume("disk", "1Gi", "disks");
    disk["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]}]}});
    cluster.create(PV, disk);
    let placed: Vec<_> = ["one", "two"].iter().filter_map(|name| node_of(&cluster, name)).collect();
    assert_eq!(placed, ["node-1"], "one volume, one pod");
    assert_eq!(phase(&cluster, PV, "disk"), "Bound");
    cluster.create(PV, volume("anywhere", "1Gi", "disks"));
    assert!(node_of(&cluster, "one").is_some() && node_of(&cluster, "two").is_some());
}

#[test]
fn folders_are_made_only_where_their_class_allows() {
    let mut cluster = cluster(3);
    let class = json!({"metadata": {"name": "zoned"}, "provisioner": "kontiki.io/local-path", "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["c"]}]}]});
    cluster.create(CLASS, class);
    cluster.create(PVC, claim("data", Some("zoned")));
    // Two pods share one claim that has no place yet: the second goes where the first is.
    let mut both = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "v1")}});
    both["spec"]["template"]["spec"]["volumes"] = user("", "data")["spec"]["volumes"].clone();
    cluster.create(Kind::REPLICA_SET, both);
    let nodes: Vec<_> = cluster.pods().iter().map(|pod| pod.pod().unwrap().node.clone()).collect();
    assert_eq!(nodes, [Some("node-2".into()), Some("node-2".into())]);
}

#[test]
fn what_cannot_be_bound_is_said() {
    let mut cluster = cluster(1);
    let class = json!({"metadata": {"name": "now"}, "provisioner": "kontiki.io/local-path", "volumeBindingMode": "Immediate"});
    cluster.create(CLASS, class);
    cluster.create(PVC, claim("data", Some("now")));
    assert!(cluster.events("ProvisioningFailed")[0].contains("no node was specified"));
    cluster.create(Kind::POD, user("web", "data"));
    let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    assert_eq!(waits_for(&cluster, "web"), unbound);
    cluster.create(Kind::POD, user("none", "nothing"));
    assert!(waits_for(&cluster, "none").contains("persistentvolumeclaim \"nothing\" not found"));
    cluster.create(PVC, claim("nothing", None));
    assert!(node_of(&cluster, "none").is_some(), "it was waited for");
}

#[test]
fn a_claim_of_one_pod_has_one() {
    let mut cluster = cluster(2);
    let mut only = claim("data", None);
    only["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    cluster.create(PVC, only);
    cluster.create(Kind::POD, user("first", "data"));
    cluster.create(Kind::POD, user("second", "data"));
    assert!(node_of(&cluster, "first").is_some());
    assert!(waits_for(&cluster, "second").contains("ReadWriteOncePod access mode"));
    cluster.delete(Kind::POD, "first", None);
    cluster.work_out();
    assert!(node_of(&cluster, "second").is_some());
}

#[test]
fn a_claim_without_a_class_gets_the_default_one_when_there_is_one() {
    let mut cluster = Cluster::new(1);
    cluster.create(PVC, claim("data", None));
    assert_eq!(cluster.get(PVC, "data").claim().unwrap().class, None);
    cluster.create(PVC, claim("none", Some("")));
    cluster.decide(Input::Bootstrap(vec![storage::default_class()]));
    assert_eq!(cluster.get(PVC, "data").claim().unwrap().class.as_deref(), Some("local-path"));
    assert_eq!(cluster.get(PVC, "none").claim().unwrap().class.as_deref(), Some(""));
}

fn grow(cluster: &mut Cluster, size: &str) -> Outcome {
    let mut value = cluster.get(PVC, "data").document.to_value();
    value["spec"]["resources"]["requests"]["storage"] = size.into();
    let request = Request::Update {
        key: key(PVC, "data"),
        document: Document::from_value(value),
        part: Part::Main,
        revision: None,
        uid: None,
        dry_run: false,
    };
    cluster.decide(Input::Api(request)).1
}

#[test]
fn a_claim_grows_where_its_class_allows() {
    let mut cluster = cluster(1);
    cluster.create(PVC, claim("data", None));
    cluster.create(Kind::POD, user("web", "data"));
    assert!(matches!(grow(&mut cluster, "2Gi"), Outcome::Rejected(Rejection::Forbidden(..))));
    cluster.edit(CLASS, "local-path", |class| class["allowVolumeExpansion"] = true.into());
    assert!(matches!(grow(&mut cluster, "2Gi"), Outcome::Object { .. }));
    assert_eq!(cluster.status(PVC, "data")["capacity"]["storage"], "2Gi");
    let volume = cluster.get(PV, &volume_of(&cluster, "data"));
    assert_eq!(volume.document.spec_value()["capacity"]["storage"], "2Gi");
    assert!(matches!(grow(&mut cluster, "1Gi"), Outcome::Rejected(Rejection::Invalid(..))));
}

#[test]
fn what_cannot_be_reclaimed_fails() {
    let mut cluster = cluster(1);
    for (policy, reason) in [("Recycle", "VolumeFailedRecycle"), ("Delete", "VolumeFailedDelete")] {
        let mut disk = volume("disk", "1Gi", "");
        disk["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        cluster.create(PV, disk);
        cluster.create(PVC, claim("data", Some("")));
        assert_eq!(phase(&cluster, PVC, "data"), "Bound");
        cluster.delete(PVC, "data", None);
        assert_eq!(phase(&cluster, PV, "disk"), "Failed");
        assert_eq!(cluster.events(reason).len(), 1);
        cluster.delete(PV, "disk", None);
        assert!(cluster.find(PV, "disk").is_none());
    }
}

#[test]
fn a_pod_that_is_killed_lets_its_claim_go() {
    let mut cluster = cluster(1);
    cluster.create(PVC, claim("data", None));
    cluster.create(Kind::POD, user("web", "data"));
    cluster.delete(PVC, "data", None);
    let options = DeleteOptions { grace_s: Some(0), ..DeleteOptions::default() };
    cluster.decide(Input::Api(Request::Delete { key: key(Kind::POD, "web"), options, dry_run: false }));
    assert!(cluster.find(PVC, "data").is_none());
}

fn with_own_claim(name: &str) -> Value {
    let mut user = pod(name, "web");
    let template = json!({"metadata": {"labels": {"of": "scratch"}}, "spec": claim("x", None)["spec"]});
    user["spec"]["volumes"] = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    user
}

#[test]
fn a_claim_of_its_own_comes_and_goes_with_a_pod() {
    let mut cluster = cluster(2);
    cluster.create(Kind::POD, with_own_claim("web"));
    let made = cluster.get(PVC, "web-scratch");
    assert_eq!(made.meta.labels["of"], "scratch");
    let (owner, web) = (made.meta.controller().unwrap(), cluster.get(Kind::POD, "web"));
    assert_eq!((owner.kind.as_str(), &owner.uid), ("Pod", &web.meta.uid));
    // It is used as any other.
    assert!(node_of(&cluster, "web").is_some(), "{}", waits_for(&cluster, "web"));
    assert_eq!(phase(&cluster, PVC, "web-scratch"), "Bound");
    let volume = volume_of(&cluster, "web-scratch");
    cluster.delete(Kind::POD, "web", None);
    cluster.work_out();
    assert!(cluster.find(PVC, "web-scratch").is_none());
    assert_eq!(phase(&cluster, PV, &volume), "Released");
}

#[test]
fn a_claim_that_was_there_before_a_pod_is_none_of_its_own() {
    let mut cluster = cluster(1);
    cluster.create(PVC, claim("web-scratch", None));
    cluster.create(Kind::POD, with_own_claim("web"));
    let why = "PVC default/web-scratch was not created for pod default/web (pod is not owner)";
    assert_eq!(node_of(&cluster, "web"), None);
    assert_eq!(waits_for(&cluster, "web"), format!("0/1 nodes are available: {why}."));
    assert_eq!(cluster.events("FailedBinding"), [format!("ephemeral volume scratch: {why}")]);
    // Once it is gone the pod makes its own.
    cluster.delete(PVC, "web-scratch", None);
    cluster.work_out();
    let (made, web) = (cluster.get(PVC, "web-scratch"), cluster.get(Kind::POD, "web"));
    assert_eq!(made.meta.controller().unwrap().uid, web.meta.uid);
    assert!(node_of(&cluster, "web").is_some(), "{}", waits_for(&cluster, "web"));
}
