//! Pod security: no pod is made that its namespace does not allow, whoever makes it.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, deployment, key, replica_set};
use kontiki_actors::{
    Document, Input, Kind, ObjectKey, Outcome, Request,
    input::{Part, Rejection},
};
use serde_json::{Value, json};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

fn enforcing(level: &str) -> Cluster {
    let mut cluster = Cluster::new(3);
    enforce(&mut cluster, level);
    cluster
}

fn enforce(cluster: &mut Cluster, level: &str) {
    cluster.edit(Kind::NAMESPACE, "default", |namespace| {
        namespace["metadata"]["labels"][ENFORCE] = level.into()
    });
}

fn configure(cluster: &mut Cluster, data: Value) -> Result<(), Rejection> {
    let key = ObjectKey::new(Kind::CONFIG_MAP, "kube-system", "kontiki-pod-security");
    let document = Document::from_value(
        json!({"metadata": {"name": key.name, "namespace": "kube-system"}, "data": data}),
    );
    let request = match cluster.state.get(&key) {
        None => Request::Create { key, generate_name: None, document, dry_run: false },
        Some(_) => {
            Request::Update { key, document, part: Part::Main, revision: None, uid: None, dry_run: false }
        }
    };
    ask(cluster, request)
}

fn ask(cluster: &mut Cluster, request: Request) -> Result<(), Rejection> {
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection),
        _ => Ok(()),
    }
}

fn creation(name: &str, spec: Value) -> Request {
    let pod = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {"phase": "Pending"}});
    Request::Create {
        key: key(Kind::POD, name),
        generate_name: None,
        document: Document::from_value(pod),
        dry_run: false,
    }
}

fn by(user: &str, request: Request) -> Request {
    Request::By { user: user.into(), request: Box::new(request) }
}

fn privileged() -> Value {
    json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]})
}

fn plain() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

/// Asserts that a pod was refused with these words.
fn assert_refused(answer: Result<(), Rejection>, words: &str) {
    match answer {
        Err(Rejection::Forbidden(_, why)) => assert_eq!(why, words),
        other => panic!("{other:?}"),
    }
}

const PRIVILEGED: &str = "violates PodSecurity \"baseline:latest\": privileged (container \"c\" must not set securityContext.privileged=true)";

#[test]
fn a_client_is_refused_what_the_namespace_does_not_allow() {
    let mut cluster = Cluster::new(1);
    assert_eq!(ask(&mut cluster, creation("first", privileged())), Ok(()), "without labels all is allowed");
    enforce(&mut cluster, "baseline");
    assert_refused(ask(&mut cluster, creation("second", privileged())), PRIVILEGED);
    assert_eq!(ask(&mut cluster, creation("third", plain())), Ok(()));
    assert_eq!(cluster.pods().len(), 2);
    enforce(&mut cluster, "privileged");
    assert_eq!(ask(&mut cluster, creation("second", privileged())), Ok(()));
    // A label that nobody knows allows the least.
    enforce(&mut cluster, "unknown");
    let refused = ask(&mut cluster, creation("fourth", plain())).unwrap_err().to_string();
    assert!(
        refused.contains("violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation"),
        "{refused}"
    );
    cluster.assert_replicas_agree();
}

#[test]
fn an_update_counts_if_it_may_be_one_for_the_worse() {
    let mut cluster = Cluster::new(1);
    assert_eq!(ask(&mut cluster, creation("old", privileged())), Ok(()));
    enforce(&mut cluster, "baseline");
    let update = |cluster: &Cluster, edit: &dyn Fn(&mut Value)| {
        let mut value = cluster.state.get(&key(Kind::POD, "old")).unwrap().document.to_value();
        edit(&mut value);
        Request::Update {
            key: key(Kind::POD, "old"),
            document: Document::from_value(value),
            part: Part::Main,
            revision: None,
            uid: None,
            dry_run: false,
        }
    };
    let label = update(&cluster, &|pod| pod["metadata"]["labels"] = json!({"a": "b"}));
    assert_eq!(ask(&mut cluster, label), Ok(()));
    let image = update(&cluster, &|pod| pod["spec"]["containers"][0]["image"] = "other".into());
    assert_refused(ask(&mut cluster, image), PRIVILEGED);
    let debug = json!([{"name": "d", "image": "i"}]);
    let debugged = update(&cluster, &|pod| pod["spec"]["ephemeralContainers"] = debug.clone());
    assert_refused(ask(&mut cluster, debugged), PRIVILEGED);
}

#[test]
fn a_replica_set_is_refused_in_events_and_a_condition_and_tries_again() {
    let mut cluster = enforcing("baseline");
    let mut set = replica_set("web", 3);
    set["spec"]["template"]["spec"]["hostPID"] = true.into();
    cluster.create(Kind::REPLICA_SET, set);
    assert_eq!(cluster.pods().len(), 0);
    let words = "is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    let events = cluster.events("FailedCreate");
    assert_eq!(events.len(), 1, "one try tells it once: {events:?}");
    assert!(events[0].starts_with("Error creating: pods \"web-") && events[0].ends_with(words), "{events:?}");
    let condition = cluster.status(Kind::REPLICA_SET, "web")["conditions"][0].clone();
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("ReplicaFailure"), &json!("FailedCreate"))
    );
    assert!(condition["message"].as_str().unwrap().ends_with(words), "{condition}");
    let turns = cluster.turns;
    cluster.advance(35);
    assert!(cluster.turns - turns <= 4, "it does not try again at once: {} turns", cluster.turns - turns);
    assert_eq!(cluster.pods().len(), 0);
    // When the namespace allows more, they come.
    enforce(&mut cluster, "privileged");
    cluster.advance(60);
    assert_eq!(cluster.pods().len(), 3);
    assert_eq!(cluster.status(Kind::REPLICA_SET, "web")["conditions"], Value::Null);
}

#[test]
fn nobody_makes_what_is_not_allowed() {
    let mut cluster = enforcing("baseline");
    let template = || json!({"metadata": {"labels": {"app": "x"}}, "spec": privileged()});
    let mut job = template();
    job["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({"matchLabels": {"app": "x"}});
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    let mut web = deployment("web", 2);
    web["spec"]["template"]["spec"] = privileged();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.create(
        Kind::STATEFUL_SET,
        json!({"metadata": metadata("db"), "spec": {"replicas": 1, "selector": selector, "serviceName": "db", "template": template()}, "status": {}}),
    );
    cluster.create(
        Kind::DAEMON_SET,
        json!({"metadata": metadata("agent"), "spec": {"selector": selector, "template": template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}}, "status": {}}),
    );
    cluster.create(
        Kind::JOB,
        json!({"metadata": metadata("sum"), "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": job}, "status": {}}),
    );
    cluster.advance(30);
    assert_eq!(cluster.pods().len(), 0);
    let events = cluster.events("FailedCreate");
    for name in ["web-", "db-0", "agent-", "sum-"] {
        let told = events.iter().any(|event| event.contains(name) && event.contains(PRIVILEGED));
        assert!(told, "{name} in {events:?}");
    }
    cluster.assert_replicas_agree();
}

#[test]
fn the_clusters_defaults_count_where_labels_say_nothing() {
    let mut cluster = Cluster::new(1);
    configure(&mut cluster, json!({"enforce": "baseline", "enforce-version": "v1.30"})).unwrap();
    let words = PRIVILEGED.replace("latest", "v1.30");
    assert_refused(ask(&mut cluster, creation("a", privileged())), &words);
    enforce(&mut cluster, "privileged");
    assert_eq!(ask(&mut cluster, creation("a", privileged())), Ok(()));
    // What means nothing is refused, and what counted before counts.
    let refused = configure(&mut cluster, json!({"enforce": "Baseline"})).unwrap_err();
    let (field, why) = (
        "data[enforce]".to_owned(),
        "Invalid value: \"Baseline\": must be one of privileged, baseline, restricted".to_owned(),
    );
    assert!(matches!(&refused, Rejection::Invalid(_, at, told) if *at == field && *told == why), "{refused}");
    assert!(configure(&mut cluster, json!({"exempt": "x"})).is_err());
    cluster.edit(Kind::NAMESPACE, "default", |namespace| namespace["metadata"]["labels"] = json!({}));
    assert_refused(ask(&mut cluster, creation("b", privileged())), &words);
    cluster.assert_replicas_agree();
}

#[test]
fn who_is_exempt_is_exempt_himself() {
    let mut cluster = enforcing("baseline");
    let class = || {
        let mut spec = privileged();
        spec["runtimeClassName"] = "vm".into();
        spec
    };
    assert_refused(ask(&mut cluster, by("jane", creation("a", privileged()))), PRIVILEGED);
    configure(&mut cluster, json!({"exempt-users": "jane, joe", "exempt-runtime-classes": "vm"})).unwrap();
    assert_eq!(ask(&mut cluster, by("jane", creation("a", privileged()))), Ok(()));
    assert_refused(ask(&mut cluster, by("jan", creation("b", privileged()))), PRIVILEGED);
    assert_refused(ask(&mut cluster, creation("b", privileged())), PRIVILEGED);
    assert_eq!(ask(&mut cluster, creation("c", class())), Ok(()));
    // What an exempt user has made for him is made by somebody else.
    let mut set = replica_set("web", 1);
    set["spec"]["template"]["spec"] = privileged();
    let set = Request::Create {
        key: key(Kind::REPLICA_SET, "web"),
        generate_name: None,
        document: Document::from_value(set),
        dry_run: false,
    };
    assert_eq!(ask(&mut cluster, by("jane", set)), Ok(()));
    assert_eq!(cluster.pods().len(), 2);
    // Whoever was exempt a moment ago is not.
    configure(&mut cluster, json!({"exempt-namespaces": "other"})).unwrap();
    assert_refused(ask(&mut cluster, by("jane", creation("d", privileged()))), PRIVILEGED);
    configure(&mut cluster, json!({"exempt-namespaces": "other default"})).unwrap();
    assert_eq!(ask(&mut cluster, creation("d", privileged())), Ok(()));
    cluster.advance(15);
    assert_eq!(cluster.pods().len(), 4, "those of the set, too");
}

#[test]
fn plain_processes_of_the_machine_are_made_where_their_class_is_exempt() {
    let mut cluster = Cluster::new(1);
    // All that `restricted` asks for is without effect on them.
    let spec = json!({
        "runtimeClassName": "host",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    });
    for level in ["baseline", "restricted"] {
        enforce(&mut cluster, level);
        let words = format!(
            "violates PodSecurity \"{level}:latest\": host processes (pod must not set runtimeClassName=\"host\": it is no container)"
        );
        assert_refused(ask(&mut cluster, creation("a", spec.clone())), &words);
    }
    let mut set = replica_set("web", 1);
    set["spec"]["template"]["spec"] = spec.clone();
    cluster.create(Kind::REPLICA_SET, set);
    assert_eq!(cluster.pods().len(), 0, "nor for those who make pods");
    configure(&mut cluster, json!({"exempt-runtime-classes": "host"})).unwrap();
    assert_eq!(ask(&mut cluster, creation("a", spec)), Ok(()));
    cluster.advance(15);
    assert_eq!(cluster.pods().len(), 2);
}

#[test]
fn a_request_says_once_who_asks() {
    let mut cluster = enforcing("baseline");
    configure(&mut cluster, json!({"exempt-users": "jane"})).unwrap();
    let twice = by("joe", by("jane", creation("a", privileged())));
    assert!(matches!(ask(&mut cluster, twice), Err(Rejection::Unsupported(..))));
}
