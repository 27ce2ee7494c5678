//! Service accounts: no pod without one, and what each pod gets to speak as its own.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, deployment, key, replica_set};
use kontiki_actors::{
    Document, Input, Kind, ObjectKey, Outcome, Request,
    input::{DeleteOptions, Part, Rejection},
};
use serde_json::{Value, json};

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Creates a pod of this spec as a client does.
fn create(cluster: &mut Cluster, name: &str, spec: Value) -> Result<Value, Rejection> {
    let pod = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {"phase": "Pending"}});
    let (key, document) = (key(Kind::POD, name), Document::from_value(pod));
    match cluster.decide(Input::Api(Request::Create { key, generate_name: None, document, dry_run: false })).1
    {
        Outcome::Rejected(rejection) => Err(rejection),
        _ => Ok(cluster.get(Kind::POD, name).document.spec_value()),
    }
}

fn containers() -> Value {
    json!([{"name": "c", "image": "i"}])
}

/// The name of the volume that was injected into a pod's spec, if one was.
fn injected(spec: &Value) -> Option<String> {
    let names = spec["volumes"].as_array()?.iter().filter_map(|volume| volume["name"].as_str());
    names.filter(|name| name.starts_with("kube-api-access-")).map(str::to_owned).next()
}

fn account(cluster: &mut Cluster, name: &str, settings: Value) {
    let mut value = settings;
    value["metadata"] = json!({"name": name, "namespace": "default"});
    cluster.create(Kind::SERVICE_ACCOUNT, value);
}

#[test]
fn a_pod_gets_the_token_the_authority_and_its_namespace() {
    let mut cluster = Cluster::new(1);
    let init = json!([{"name": "first", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}]);
    let volumes = json!([{"name": "d", "emptyDir": {}}]);
    let spec = json!({"containers": containers(), "initContainers": init, "volumes": volumes});
    let spec = create(&mut cluster, "p", spec).unwrap();
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    let name = injected(&spec).unwrap();
    assert_eq!(name.len(), "kube-api-access-".len() + 5);
    let mount = json!({"name": name, "readOnly": true, "mountPath": PATH});
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([{"name": "d", "mountPath": "/d"}, mount]));
    let expected = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    assert_eq!(spec["volumes"], json!([{"name": "d", "emptyDir": {}}, expected]));
    let other = create(&mut cluster, "q", json!({"containers": containers()})).unwrap();
    assert_ne!(injected(&other).unwrap(), name, "each has a name of its own");
}

#[test]
fn pod_and_account_may_do_without() {
    let mut cluster = Cluster::new(1);
    account(&mut cluster, "mute", json!({"automountServiceAccountToken": false}));
    for (account, own, wanted) in [
        ("default", None, true),
        ("default", Some(false), false),
        ("mute", None, false),
        ("mute", Some(true), true),
        ("mute", Some(false), false),
    ] {
        let mut spec = json!({"containers": containers(), "serviceAccountName": account});
        if let Some(own) = own {
            spec["automountServiceAccountToken"] = own.into();
        }
        let name = format!("{account}-{own:?}").replace(['(', ')'], "").to_lowercase();
        let spec = create(&mut cluster, &name, spec).unwrap();
        assert_eq!(injected(&spec).is_some(), wanted, "{name}");
        assert_eq!(spec["containers"][0].get("volumeMounts").is_some(), wanted, "{name}");
    }
}

#[test]
fn what_a_pod_mounts_there_itself_stays() {
    let mut cluster = Cluster::new(1);
    let own = json!({"name": "c", "image": "i", "volumeMounts": [{"name": "mine", "mountPath": PATH}]});
    let volumes = json!([{"name": "mine", "emptyDir": {}}]);
    let spec = create(&mut cluster, "all", json!({"containers": [own], "volumes": volumes})).unwrap();
    assert_eq!(injected(&spec), None, "nobody would see it");
    let both = json!([own, {"name": "d", "image": "i"}]);
    let spec = create(&mut cluster, "one", json!({"containers": both, "volumes": volumes})).unwrap();
    assert_eq!(spec["containers"][0]["volumeMounts"].as_array().unwrap().len(), 1);
    assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], injected(&spec).unwrap());
    // As of a pod that was read and is written again.
    let volumes = json!([{"name": "kube-api-access-vwxyz", "emptyDir": {}}]);
    let spec =
        create(&mut cluster, "again", json!({"containers": containers(), "volumes": volumes})).unwrap();
    assert_eq!(spec["volumes"], volumes);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-vwxyz");
}

#[test]
fn a_pod_is_refused_whose_account_is_not_there() {
    let mut cluster = Cluster::new(1);
    let spec = json!({"containers": containers(), "serviceAccountName": "robot"});
    let Err(Rejection::Forbidden(refused, why)) = create(&mut cluster, "p", spec.clone()) else { panic!() };
    assert_eq!(refused, key(Kind::POD, "p"));
    assert_eq!(why, "error looking up service account default/robot: serviceaccount \"robot\" not found");
    account(&mut cluster, "robot", json!({}));
    create(&mut cluster, "p", spec).unwrap();
}

#[test]
fn the_accounts_pull_secrets_are_those_of_pods_without_any() {
    let mut cluster = Cluster::new(1);
    account(&mut cluster, "puller", json!({"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}));
    let spec = |secrets: Value| json!({"containers": containers(), "serviceAccountName": "puller", "imagePullSecrets": secrets});
    for (name, own, expected) in [
        ("none", Value::Null, json!([{"name": "a"}, {"name": "b"}])),
        ("empty", json!([]), json!([{"name": "a"}, {"name": "b"}])),
        ("own", json!([{"name": "c"}]), json!([{"name": "c"}])),
    ] {
        let spec = create(&mut cluster, name, spec(own)).unwrap();
        assert_eq!(spec["imagePullSecrets"], expected, "{name}");
    }
}

#[test]
fn actors_pods_get_the_same_and_templates_stay() {
    let mut cluster = Cluster::new(3);
    account(&mut cluster, "robot", json!({"imagePullSecrets": [{"name": "a"}]}));
    let mut web = deployment("web", 2);
    web["spec"]["template"]["spec"]["serviceAccountName"] = "robot".into();
    let template = web["spec"]["template"]["spec"].clone();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    assert_eq!(cluster.get(Kind::DEPLOYMENT, "web").document.spec_value()["template"]["spec"], template);
    assert_eq!(cluster.replica_sets()[0].document.spec_value()["template"]["spec"], template);
    let pods = cluster.pods();
    assert_eq!(pods.len(), 2);
    let specs: Vec<Value> = pods.iter().map(|pod| pod.document.spec_value()).collect();
    for spec in &specs {
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("robot"), &json!("robot"))
        );
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "a"}]));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], injected(spec).unwrap());
    }
    assert_ne!(injected(&specs[0]), injected(&specs[1]));
    cluster.assert_replicas_agree();
}

#[test]
fn the_default_account_is_made_anew_in_the_turn_that_takes_it() {
    let mut cluster = Cluster::new(1);
    let uid = cluster.get(Kind::SERVICE_ACCOUNT, "default").meta.uid.clone();
    let (_, outcome) = cluster.delete(Kind::SERVICE_ACCOUNT, "default", None);
    assert!(matches!(outcome, Outcome::Deleted { .. } | Outcome::Object { .. }), "{outcome:?}");
    assert_ne!(cluster.get(Kind::SERVICE_ACCOUNT, "default").meta.uid, uid, "it is another one");
    cluster.create(Kind::REPLICA_SET, replica_set("web", 1));
    assert_eq!(cluster.pods().len(), 1);
    cluster.assert_replicas_agree();
}

fn root_ca(cluster: &Cluster, namespace: &str) -> Value {
    let key = ObjectKey::new(Kind::CONFIG_MAP, namespace, "kube-root-ca.crt");
    cluster.state.get(&key).unwrap().document.rest_value()
}

#[test]
fn the_authoritys_certificate_is_what_it_is() {
    let mut cluster = Cluster::new(0);
    let right = json!({"data": {"ca.crt": "CA"}});
    for namespace in ["default", "kube-system"] {
        let key = ObjectKey::new(Kind::CONFIG_MAP, namespace, "kube-root-ca.crt");
        let metadata = json!({"name": key.name, "namespace": namespace, "labels": {"a": "b"}});
        let document = Document::from_value(json!({"metadata": metadata, "data": {"ca.crt": "evil"}}));
        let (part, revision, uid) = (Part::Main, None, None);
        let update = Request::Update { key: key.clone(), document, part, revision, uid, dry_run: false };
        let (_, outcome) = cluster.decide(Input::Api(update));
        assert!(matches!(outcome, Outcome::Object { .. }), "{outcome:?}");
        assert_eq!(root_ca(&cluster, namespace), right, "{namespace}");
        assert_eq!(cluster.state.get(&key).unwrap().meta.labels["a"], "b", "the rest is the client's");
        let options = DeleteOptions::default();
        cluster.decide(Input::Api(Request::Delete { key, options, dry_run: false }));
        assert_eq!(root_ca(&cluster, namespace), right, "{namespace}");
    }
    assert_eq!(root_ca(&cluster, "default"), right);
    cluster.assert_replicas_agree();
}
