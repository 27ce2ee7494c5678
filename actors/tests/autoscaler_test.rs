//! HorizontalPodAutoscalers: what a turn makes of what the leader found out, look by look.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::sync::Arc;

use driver::{Cluster, START_MS, deployment, key, replica_set, words};
use kontiki_actors::{
    Change, Document, Input, Kind, Object, ObjectKey, State,
    input::{DeleteOptions, Propagation, Request},
    kinds::autoscaler::{
        ContainerSample, METRICS_MAX, Measured, Measurement, PERIOD_MS, PodSample, Samples, Survey,
    },
    object::rfc3339,
};
use serde_json::{Value, json};

const SCALER: Kind = Kind::HORIZONTAL_POD_AUTOSCALER;
/// Long enough ago for a pod's figures to count.
const LONG_AGO_MS: i64 = START_MS - 3_600_000;

/// A cluster whose pods all run for long and use the same.
struct Scene(Cluster);

/// Pods that ask for 100 thousandths of a processor.
fn asking(mut workload: Value) -> Value {
    let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
    container["resources"] = json!({"requests": {"cpu": "100m", "memory": "100Mi"}});
    workload
}

fn scaler(target: &str, name: &str, spec: Value) -> Value {
    let api_version = if target == "ReplicationController" { "v1" } else { "apps/v1" };
    let mut all = json!({"scaleTargetRef": {"apiVersion": api_version, "kind": target, "name": name},
        "minReplicas": 1, "maxReplicas": 10, "metrics": [cpu(50)]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": all, "status": {"desiredReplicas": 0}})
}

fn cpu(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}})
}

impl Scene {
    /// A deployment with so many pods, and an autoscaler of it that aims at half of what they ask for.
    fn web(replicas: i64, spec: Value) -> Scene {
        let mut cluster = Cluster::new(3);
        cluster.create(Kind::DEPLOYMENT, asking(deployment("web", replicas)));
        let mut scene = Scene(cluster);
        scene.run();
        scene.0.create(SCALER, scaler("Deployment", "web", spec));
        scene
    }

    /// All pods run, and did so long ago.
    fn run(&mut self) {
        let since = rfc3339(LONG_AGO_MS);
        let waits = |pod: &Arc<Object>| pod.pod().unwrap().phase == "Pending" && !pod.meta.deleting();
        for _ in 0..20 {
            let pods: Vec<_> = self.0.pods().into_iter().filter(waits).collect();
            self.0.report(&pods, |_| (running_since(&since), false));
            self.0.settle();
            if !self.0.pods().iter().any(waits) {
                break;
            }
        }
        let leaving: Vec<_> = self.0.pods().into_iter().filter(|pod| pod.meta.deleting()).collect();
        self.0.report(&leaving, |_| (Value::Null, true));
        self.0.settle();
    }

    fn samples(&self, cpu_milli: u64) -> Samples {
        let container = |pod: &Arc<Object>| {
            let spec = pod.document.spec_value();
            let name = spec["containers"][0]["name"].as_str().unwrap().to_owned();
            ContainerSample::new(&name, cpu_milli * 1_000_000, 50 << 20)
        };
        let sample = |pod: &Arc<Object>| PodSample {
            time_ms: self.0.now_ms,
            window_ms: 15_000,
            containers: vec![container(pod)],
        };
        self.0.pods().iter().map(|pod| (pod.meta.uid.clone(), sample(pod))).collect()
    }

    fn measure(&self, samples: &Samples) -> Vec<Measurement> {
        let survey = Survey::of(&self.0.state);
        (0..survey.len()).filter_map(|at| survey.measure(at, samples, self.0.now_ms)).collect()
    }

    /// The next look, where each pod uses so many thousandths of a processor.
    fn look(&mut self, cpu_milli: u64) -> Vec<Change> {
        self.0.now_ms += PERIOD_MS;
        let samples = self.samples(cpu_milli);
        let measured = self.measure(&samples);
        let survey = Survey::of(&self.0.state);
        let news = (0..survey.len()).any(|at| survey.news(at, &samples, self.0.now_ms).is_some());
        let changes = self.0.decide(Input::Measured(measured)).0;
        assert_eq!(news, !changes.is_empty(), "who proposes knows what comes of it");
        self.0.assert_replicas_agree();
        changes
    }

    /// The same, and how many pods the deployment asks for after it.
    fn asks(&mut self, cpu_milli: u64) -> i64 {
        self.look(cpu_milli);
        self.run();
        self.replicas()
    }

    fn replicas(&self) -> i64 {
        self.0.get(Kind::DEPLOYMENT, "web").deployment().unwrap().replicas
    }

    fn status(&self) -> Value {
        self.0.status(SCALER, "web")
    }

    /// The value, the reason and the message of a condition.
    fn condition(&self, kind: &str) -> (String, String, String) {
        let status = self.status();
        let found = status["conditions"].as_array().unwrap().iter().find(|it| it["type"] == kind).unwrap();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn reason(&self, kind: &str) -> (String, String) {
        let (status, reason, _) = self.condition(kind);
        (status, reason)
    }

    fn histories(&self) -> Vec<Value> {
        let all = self.0.state.list(Kind::AUTOSCALER_HISTORY, None);
        all.map(|object| object.document.status_value()).collect()
    }
}

fn running_since(since: &str) -> Value {
    json!({"phase": "Running", "startTime": since,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]})
}

fn said(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn pods_that_use_more_than_is_aimed_at_become_more() {
    let mut scene = Scene::web(2, json!({}));
    let generation = scene.0.get(Kind::DEPLOYMENT, "web").meta.generation;
    scene.look(100);
    let web = scene.0.get(Kind::DEPLOYMENT, "web");
    assert_eq!((web.deployment().unwrap().replicas, web.meta.generation), (4, generation + 1));
    assert_eq!(scene.0.pods().len(), 4, "in the same turn");
    let now = rfc3339(scene.0.now_ms);
    let status = scene.status();
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    assert_eq!(status["lastScaleTime"], json!(now));
    assert_eq!(
        status["currentMetrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": 100, "averageValue": "100m"}}}])
    );
    let condition = |reason: &str, message: &str| ("True".to_owned(), reason.to_owned(), message.to_owned());
    assert_eq!(
        scene.condition("AbleToScale"),
        condition("SucceededRescale", "the HPA controller was able to update the target scale to 4")
    );
    assert_eq!(
        scene.condition("ScalingActive"),
        condition(
            "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)"
        )
    );
    assert_eq!(scene.reason("ScalingLimited"), said("False", "DesiredWithinRange"));
    assert_eq!(
        scene.0.events("SuccessfulRescale"),
        ["New size: 4; reason: cpu resource utilization (percentage of request) above target"]
    );
    // What is enough stays, and what stays is written once.
    scene.run();
    assert_eq!(words(&scene.look(50)), ["put HorizontalPodAutoscaler"]);
    assert_eq!(scene.reason("AbleToScale"), said("True", "ReadyForNewScale"));
    for _ in 0..100 {
        assert_eq!(scene.look(50), []);
    }
    let status = scene.status();
    assert_eq!((&status["currentReplicas"], &status["lastScaleTime"]), (&json!(4), &json!(now)));
}

#[test]
fn fewer_pods_are_waited_for_whoever_leads_meanwhile() {
    let mut scene = Scene::web(8, json!({}));
    for _ in 0..3 {
        assert_eq!(scene.asks(50), 8);
    }
    // The last of the looks that asked for eight is now.
    for look in 1..20 {
        assert_eq!(scene.asks(10), 8, "{look}");
        assert_eq!(scene.reason("AbleToScale"), said("True", "ScaleDownStabilized"));
        // Another leader knows what the state says, and nothing else.
        let cluster = &mut scene.0;
        std::mem::swap(&mut cluster.state, &mut cluster.follower);
    }
    assert_eq!(scene.asks(10), 2);
    assert_eq!(scene.0.events("SuccessfulRescale"), ["New size: 2; reason: All metrics below target"]);
}

#[test]
fn policies_and_windows_look_back_on_what_was_done() {
    let behavior = json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 30, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]},
    });
    let mut scene = Scene::web(4, json!({"behavior": behavior}));
    let up: Vec<i64> = (0..5).map(|_| scene.asks(100)).collect();
    assert_eq!(up, [5, 5, 5, 5, 6]);
    assert_eq!(scene.reason("ScalingLimited"), said("True", "ScaleUpLimit"));
    let down: Vec<i64> = (0..3).map(|_| scene.asks(1)).collect();
    // The pods that came within the minute are none that it counts from.
    assert_eq!(down, [6, 2, 2]);
    assert_eq!(scene.reason("ScalingLimited"), said("True", "ScaleDownLimit"));
    let histories = scene.histories();
    assert_eq!((histories[0]["up"].as_array().unwrap().len(), histories.len()), (1, 1));
}

#[test]
fn what_is_out_of_bounds_comes_back_without_a_metric() {
    let mut scene = Scene::web(2, json!({"minReplicas": 3, "maxReplicas": 5}));
    assert_eq!(scene.asks(50), 3);
    scene.0.set_replicas(Kind::DEPLOYMENT, "web", 9);
    scene.run();
    assert_eq!(scene.asks(50), 5);
    assert_eq!(
        scene.0.events("SuccessfulRescale"),
        [
            "New size: 3; reason: Current number of replicas below Spec.MinReplicas",
            "New size: 5; reason: Current number of replicas above Spec.MaxReplicas",
        ]
    );
    assert_eq!(scene.reason("AbleToScale"), said("True", "SucceededRescale"));
    // Whoever wants more gets no more than that.
    assert_eq!(scene.asks(100), 5);
    assert_eq!(scene.reason("ScalingLimited"), said("True", "TooManyReplicas"));
    // At none it is off.
    scene.0.set_replicas(Kind::DEPLOYMENT, "web", 0);
    scene.run();
    assert_eq!(scene.asks(100), 0);
    assert_eq!(
        scene.condition("ScalingActive"),
        (
            "False".to_owned(),
            "ScalingDisabled".to_owned(),
            "scaling is disabled since the replica count of the target is zero".to_owned()
        )
    );
    assert_eq!(scene.look(100), []);
    let status = scene.status();
    assert!(status.get("currentReplicas").is_none() && status.get("currentMetrics").is_none(), "{status}");
}

#[test]
fn what_has_no_scale_is_said_once() {
    let mut cluster = Cluster::new(0);
    let daemons = json!({"metadata": {"name": "d", "namespace": "default"}, "spec": {}});
    cluster.create(Kind::DAEMON_SET, daemons);
    let mut scene = Scene(cluster);
    let mut web = scaler("Deployment", "web", json!({}));
    for (api_version, kind, name, why) in [
        ("apps/v1", "Deployment", "web", "deployments.apps \"web\" not found"),
        ("apps/v1", "DaemonSet", "d", "the server could not find the requested resource"),
        ("v1", "Deployment", "web", "no matches for kind \"Deployment\" in group \"\""),
        ("a/b/c", "Deployment", "web", "unexpected GroupVersion string: a/b/c"),
    ] {
        web["spec"]["scaleTargetRef"] = json!({"apiVersion": api_version, "kind": kind, "name": name});
        match scene.0.find(SCALER, "web") {
            Some(_) => drop(scene.0.edit(SCALER, "web", |it| it["spec"] = web["spec"].clone())),
            None => drop(scene.0.create(SCALER, web.clone())),
        }
        scene.look(0);
        let message = format!("the HPA controller was unable to get the target's current scale: {why}");
        assert_eq!(
            scene.condition("AbleToScale"),
            ("False".to_owned(), "FailedGetScale".to_owned(), message)
        );
        assert_eq!(scene.0.events("FailedGetScale").pop().unwrap(), why);
        assert_eq!(scene.look(0), [], "{why}");
    }
    assert!(scene.histories().is_empty());
}

#[test]
fn metrics_without_a_value_are_named_and_never_a_reason_for_fewer() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 2));
    let mut scene = Scene(cluster);
    scene.run();
    scene.0.create(SCALER, scaler("Deployment", "web", json!({})));
    scene.look(10);
    let pod = scene.0.pods()[0].key.name.clone();
    let why =
        format!("failed to get cpu utilization: missing request for cpu in container main of Pod {pod}");
    assert_eq!(
        scene.condition("ScalingActive"),
        (
            "False".to_owned(),
            "FailedGetResourceMetric".to_owned(),
            format!("the HPA was unable to compute the replica count: {why}")
        )
    );
    assert_eq!(scene.0.events("FailedGetResourceMetric"), [why.as_str()]);
    let all = |why: &str| {
        format!(
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
        )
    };
    assert_eq!(scene.0.events("FailedComputeMetricsReplicas"), [all(&why)]);
    assert_eq!(scene.status()["currentMetrics"], json!([{"type": ""}]));
    assert_eq!(scene.look(10), [], "it is said once");
    // No worker says anything.
    scene.0.now_ms += PERIOD_MS;
    let measured = scene.measure(&Samples::new());
    scene.0.decide(Input::Measured(measured));
    let none = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API";
    assert_eq!(scene.0.events("FailedGetResourceMetric").pop().unwrap(), none);

    // Of several, those that have a value may ask for more, and not for fewer.
    let memory = |amount: &str| json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": amount}}});
    scene.0.edit(SCALER, "web", |it| it["spec"]["metrics"] = json!([cpu(50), memory("500Mi")]));
    assert_eq!(scene.asks(10), 2);
    assert_eq!(scene.reason("ScalingActive"), said("False", "FailedGetResourceMetric"));
    let current = json!([{"type": ""}, {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "52428800"}}}]);
    assert_eq!(scene.status()["currentMetrics"], current);
    scene.0.edit(SCALER, "web", |it| it["spec"]["metrics"] = json!([cpu(50), memory("25Mi")]));
    assert_eq!(scene.asks(10), 4);
    assert_eq!(scene.0.events("SuccessfulRescale"), ["New size: 4; reason: memory resource above target"]);
    assert_eq!(scene.reason("ScalingActive"), said("True", "ValidMetricFound"));
}

#[test]
fn metrics_that_nobody_here_tells_of_fail_as_without_their_apis() {
    let metric = json!({"name": "rate", "selector": {"matchLabels": {"a": "b"}}});
    let aim = json!({"type": "AverageValue", "averageValue": "1"});
    let no_custom = "unable to get metric rate: unable to fetch metrics from custom metrics API: no custom metrics API \
                     (custom.metrics.k8s.io) registered";
    for (metric, reason, why) in [
        (
            json!({"type": "Pods", "pods": {"metric": metric, "target": aim}}),
            "FailedGetPodsMetric",
            no_custom.to_owned(),
        ),
        (
            json!({"type": "Object", "object": {"metric": metric, "target": aim, "describedObject": {"kind": "Service", "name": "s"}}}),
            "FailedGetObjectMetric",
            format!("{no_custom} on Service default/s"),
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": aim}}),
            "FailedGetExternalMetric",
            "unable to get external metric default/rate/&LabelSelector{MatchLabels:map[string]string{a: b,},\
             MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: the server could \
             not find the requested resource"
                .to_owned(),
        ),
    ] {
        let mut scene = Scene::web(2, json!({"metrics": [metric]}));
        assert_eq!(scene.asks(100), 2);
        assert_eq!(scene.reason("ScalingActive"), said("False", reason));
        assert_eq!(scene.0.events(reason), [why]);
        assert_eq!(scene.0.events("FailedComputeMetricsReplicas").len(), 1);
    }
}

#[test]
fn one_container_may_be_what_counts() {
    let metric = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "main",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    let mut scene = Scene::web(1, json!({"metrics": [metric]}));
    assert_eq!(scene.asks(100), 2);
    assert_eq!(
        scene.status()["currentMetrics"][0]["containerResource"],
        json!({"name": "cpu", "container": "main", "current": {"averageUtilization": 100, "averageValue": "100m"}})
    );
    assert_eq!(
        scene.0.events("SuccessfulRescale"),
        ["New size: 2; reason: cpu container resource utilization (percentage of request) above target"]
    );
    scene.0.edit(SCALER, "web", |it| {
        it["spec"]["metrics"][0]["containerResource"]["container"] = "none".into();
    });
    scene.look(100);
    assert_eq!(scene.reason("ScalingActive"), said("False", "FailedGetContainerResourceMetric"));
}

#[test]
fn pods_that_are_new_or_silent_count_for_what_changes_least() {
    let mut scene = Scene::web(2, json!({}));
    scene.0.now_ms += PERIOD_MS;
    // One that was not measured since it is ready says nothing.
    let since = rfc3339(scene.0.now_ms - 10_000);
    let first = scene.0.pods()[..1].to_vec();
    scene.0.report(&first, |_| (running_since(&since), false));
    let proposal = |scene: &Scene, samples: &Samples| match &scene.measure(samples)[0].metrics[0] {
        Measured::Value(proposal) => (proposal.replicas, proposal.utilization.unwrap()),
        Measured::Failed(why) => panic!("{why}"),
    };
    let mut samples = scene.samples(200);
    assert_eq!(proposal(&scene, &samples), (4, 200), "of the other one: four times too much, for two");
    scene.0.now_ms += 5_000;
    samples.values_mut().for_each(|sample| sample.time_ms = scene.0.now_ms);
    assert_eq!(proposal(&scene, &samples), (8, 200));
    // One that nothing is known of.
    samples.remove(&first[0].meta.uid);
    assert_eq!(proposal(&scene, &samples), (4, 200));
    let mut samples = scene.samples(10);
    samples.remove(&first[0].meta.uid);
    assert_eq!(proposal(&scene, &samples), (2, 10), "all that it asks for may be in use");
}

#[test]
fn what_was_found_out_about_something_else_does_not_count() {
    let mut scene = Scene::web(2, json!({}));
    let measured = scene.measure(&scene.samples(100));
    // It was scaled, or changed, meanwhile.
    scene.0.set_replicas(Kind::DEPLOYMENT, "web", 3);
    assert_eq!(scene.0.decide(Input::Measured(measured.clone())).0, []);
    scene.0.set_replicas(Kind::DEPLOYMENT, "web", 2);
    scene.0.edit(SCALER, "web", |it| it["spec"]["maxReplicas"] = 2.into());
    assert_eq!(scene.0.decide(Input::Measured(measured)).0, []);
    // And what is no measurement of it.
    let mut odd = scene.measure(&scene.samples(100)).remove(0);
    odd.metrics.clear();
    assert_eq!(scene.0.decide(Input::Measured(vec![odd.clone()])).0, []);
    odd.scaler = key(Kind::DEPLOYMENT, "web");
    odd.revision = scene.0.get(Kind::DEPLOYMENT, "web").revision;
    assert_eq!(scene.0.decide(Input::Measured(vec![odd.clone()])).0, []);
    odd.scaler = key(SCALER, "gone");
    assert_eq!(scene.0.decide(Input::Measured(vec![odd])).0, []);
}

#[test]
fn two_of_the_same_pods_do_nothing() {
    let mut scene = Scene::web(2, json!({}));
    let mut other = scaler("Deployment", "web", json!({}));
    other["metadata"]["name"] = "other".into();
    scene.0.create(SCALER, other);
    assert_eq!(scene.asks(100), 2);
    let why = "pods by selector app=web are controlled by multiple HPAs: [{default other} {default web}]";
    assert_eq!(
        scene.condition("ScalingActive"),
        ("False".to_owned(), "AmbiguousSelector".to_owned(), why.to_owned())
    );
    assert_eq!(scene.0.events("AmbiguousSelector"), [why, why]);
    assert_eq!(scene.look(100), []);
    scene.0.delete(SCALER, "other", None);
    assert_eq!(scene.asks(100), 4);
}

#[test]
fn everything_with_a_scale_is_scaled() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::REPLICA_SET, asking(replica_set("set", 2)));
    let mut controller = asking(replica_set("rc", 2));
    controller["spec"]["selector"] = json!({"app": "rc"});
    cluster.create(Kind::REPLICATION_CONTROLLER, controller);
    let mut stateful = asking(replica_set("sts", 2));
    stateful["spec"]["podManagementPolicy"] = "Parallel".into();
    cluster.create(Kind::STATEFUL_SET, stateful);
    let mut scene = Scene(cluster);
    scene.run();
    let all = [
        (Kind::REPLICA_SET, "ReplicaSet", "set"),
        (Kind::REPLICATION_CONTROLLER, "ReplicationController", "rc"),
        (Kind::STATEFUL_SET, "StatefulSet", "sts"),
    ];
    for (_, kind, name) in all {
        scene.0.create(SCALER, scaler(kind, name, json!({})));
    }
    scene.look(100);
    for (kind, _, name) in all {
        assert_eq!(scene.0.get(kind, name).document.spec_value()["replicas"], 4, "{name}");
    }
}

#[test]
fn custom_resources_are_scaled_where_their_definition_says() {
    let mut scene = Scene::web(2, json!({}));
    scene.0.delete(SCALER, "web", None);
    let widget = Kind::custom("example.com", "widgets", "Widget", true);
    let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"});
    scene.0.create(
        Kind::CUSTOM_RESOURCE_DEFINITION,
        json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"scale": scale}}]}}),
    );
    scene.0.create(
        widget,
        json!({"metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 2}, "status": {"selector": "app=web"}}),
    );
    let mut of_widget = scaler("Widget", "w", json!({}));
    of_widget["spec"]["scaleTargetRef"]["apiVersion"] = "example.com/v1".into();
    scene.0.create(SCALER, of_widget);
    scene.look(100);
    let spec = |scene: &Scene| scene.0.get(widget, "w").document.spec_value();
    assert_eq!(spec(&scene), json!({"size": 4}));
    // One that does not say which pods are its own.
    scene.0.edit(widget, "w", |it| it["spec"] = json!({"size": 3}));
    let whole = |scene: &mut Scene, status: Value| {
        let object = scene.0.get(widget, "w");
        let mut value = object.document.to_value();
        value["status"] = status;
        let document = Document::from_value(value);
        let part = kontiki_actors::input::Part::Status;
        let request = Request::Update {
            key: object.key.clone(),
            document,
            part,
            revision: None,
            uid: None,
            dry_run: false,
        };
        scene.0.decide(Input::Api(request));
    };
    whole(&mut scene, json!({}));
    scene.look(100);
    let (status, reason) = scene.0.condition(SCALER, "w", "ScalingActive").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "InvalidSelector"));
    assert_eq!(scene.0.events("SelectorRequired"), ["selector is required"]);
    assert_eq!(spec(&scene), json!({"size": 3}));
}

#[test]
fn its_history_goes_with_it() {
    for propagation in [None, Some(Propagation::Orphan), Some(Propagation::Foreground)] {
        let mut scene = Scene::web(2, json!({}));
        scene.look(50);
        assert_eq!(scene.histories().len(), 1);
        scene.0.delete(SCALER, "web", propagation);
        scene.0.settle();
        assert_eq!(scene.0.find(SCALER, "web").map(|it| it.key.clone()), None, "{propagation:?}");
        assert_eq!(scene.histories().len(), 0, "{propagation:?}");
    }
    let mut scene = Scene::web(2, json!({}));
    scene.look(50);
    let space = json!({"metadata": {"name": "space"}, "spec": {"finalizers": ["kubernetes"]}});
    scene.0.create(Kind::NAMESPACE, space);
    let mut lonely = scaler("Deployment", "web", json!({}));
    lonely["metadata"]["namespace"] = "space".into();
    scene.0.create(SCALER, lonely);
    let mut web = asking(deployment("web", 0));
    web["metadata"]["namespace"] = "space".into();
    scene.0.create(Kind::DEPLOYMENT, web);
    scene.look(50);
    assert_eq!(scene.histories().len(), 2);
    let options = DeleteOptions::default();
    let request =
        Request::Delete { key: ObjectKey::new(Kind::NAMESPACE, "", "space"), options, dry_run: false };
    scene.0.decide(Input::Api(request));
    scene.0.settle();
    assert!(scene.0.find(Kind::NAMESPACE, "space").is_none());
    assert_eq!(scene.histories().len(), 1);
}

/// Controllers that are not upgraded yet could not read what would be written.
#[test]
fn below_its_level_nothing_is_looked_after() {
    let mut scene = Scene::web(2, json!({}));
    let samples = scene.samples(100);
    let measured = scene.measure(&samples);
    let mut older = State::default();
    older.restore_level(Kind::AUTOSCALER_HISTORY.level() - 1);
    for object in scene.0.state.iter() {
        older.restore(Object::clone(object));
    }
    older.restore_position(scene.0.state.revision(), scene.0.state.chain());
    assert!(Survey::of(&older).is_empty());
    scene.0.state = older.clone();
    scene.0.follower = older;
    assert_eq!(scene.0.decide(Input::Measured(measured)).0, []);
}

#[test]
fn so_many_metrics_are_looked_at_and_no_more() {
    let many = vec![cpu(50); METRICS_MAX + 1];
    let mut scene = Scene::web(2, json!({"metrics": many}));
    assert_eq!(scene.measure(&scene.samples(100))[0].metrics.len(), METRICS_MAX);
    // The others are no reason for more pods, and may be one against fewer.
    assert_eq!(scene.asks(100), 4);
    scene.look(1);
    assert_eq!(scene.reason("ScalingActive"), said("False", "TooManyMetrics"));
    let why = "the autoscaler has 65 metrics, and only the first 64 are looked at: take some away";
    assert_eq!(scene.0.events("TooManyMetrics"), [why]);
    let all = format!("invalid metrics (1 invalid out of 65), first error is: {why}");
    assert_eq!(scene.0.events("FailedComputeMetricsReplicas"), [all]);
}

#[test]
fn only_nodes_with_pods_of_targets_are_asked() {
    let mut scene = Scene::web(1, json!({}));
    let pod = scene.0.pods()[0].clone();
    let node = pod.pod().unwrap().node.clone().unwrap().to_string();
    assert_eq!(Survey::of(&scene.0.state).nodes(), [node].into());
    scene.0.delete(SCALER, "web", None);
    let survey = Survey::of(&scene.0.state);
    assert!(survey.is_empty() && survey.nodes().is_empty());
}
