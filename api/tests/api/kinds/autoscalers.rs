//! HorizontalPodAutoscalers in both of their forms: `autoscaling/v2`, which is stored, and `autoscaling/v1`.

use serde_json::{Value, json};

use super::{fixed, refused, stored, with};
use crate::client::{Client, revision};

const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn scaler(version: &str, spec: Value) -> Value {
    let mut scaler = json!({
        "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 9},
    });
    scaler["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    scaler
}

fn share(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn amount(resource: &str, amount: &str) -> Value {
    json!({"type": "Resource", "resource": {"name": resource,
        "target": {"type": "AverageValue", "averageValue": amount}}})
}

#[tokio::test]
async fn they_are_kept_completed_and_printed() {
    let client = Client::new();
    let behavior = json!({"scaleDown": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}});
    let manifest = scaler(
        "v2",
        json!({"behavior": behavior, "metrics": [amount("memory", "1Gi"), share(50), share(60)]}),
    );
    let completed = json!({
        "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 0, "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
    });
    let defaults = [
        ("/spec/minReplicas", json!(1)),
        ("/spec/behavior", completed),
        ("/status", json!({"desiredReplicas": 0})),
    ];
    let table = [
        ("Reference", json!("Deployment/web")),
        ("Targets", json!("memory: <unknown>/1Gi, cpu: <unknown>/50% + 1 more...")),
        ("MinPods", json!("1")),
        ("MaxPods", json!(9)),
        ("Replicas", json!(0)),
        ("Age", json!(null)),
    ];
    let made = stored(&client, V2, &manifest, &defaults, &table).await;
    assert!(made["metadata"].get("generation").is_none(), "as in Kubernetes");
    fixed(
        &client,
        V2,
        &made,
        &[("/spec/maxReplicas", json!(0))],
        &[
            ("spec.maxReplicas", "must be greater than 0"),
            ("spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
        ],
    )
    .await;
    client.delete(&format!("{V2}/web")).await.with(200);
    let plain = client.post(V2, &scaler("v2", json!({}))).await.with(201);
    assert_eq!(plain["spec"]["metrics"], json!([share(80)]));
}

#[tokio::test]
async fn the_older_form_is_the_same_object() {
    let client = Client::new();
    let defaults =
        [("/spec/minReplicas", json!(1)), ("/status", json!({"currentReplicas": 0, "desiredReplicas": 0}))];
    let table = [
        ("Reference", json!("Deployment/web")),
        ("Targets", json!("cpu: <unknown>/50%")),
        ("MinPods", json!("1")),
        ("MaxPods", json!(9)),
        ("Replicas", json!(0)),
        ("Age", json!(null)),
    ];
    let old =
        stored(&client, V1, &scaler("v1", json!({"targetCPUUtilizationPercentage": 50})), &defaults, &table)
            .await;
    assert!(old["metadata"].get("annotations").is_none());
    let new = client.get(&format!("{V2}/web")).await.with(200);
    assert_eq!(new["spec"]["metrics"], json!([share(50)]));
    assert_eq!(new["metadata"]["uid"], old["metadata"]["uid"]);
    // What the older form has no fields for is in annotations, and stays when its clients write.
    let more = with(&new, &[("/spec/metrics", json!([amount("memory", "1Gi"), share(70)]))]);
    client.put(&format!("{V2}/web"), &more).await.with(200);
    let status = json!({"status": {"currentReplicas": 2, "desiredReplicas": 3,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 71, "averageValue": "7m"}}}],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "r"}]}});
    let told = client.patch(&format!("{V2}/web/status"), STRATEGIC, &status).await.with(200);
    let old = client.get(&format!("{V1}/web")).await.with(200);
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 70);
    assert_eq!(
        old["status"],
        json!({"currentReplicas": 2, "desiredReplicas": 3, "currentCPUUtilizationPercentage": 71})
    );
    let note = old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str().unwrap();
    let note: Value = serde_json::from_str(note).unwrap();
    assert_eq!(
        note,
        json!([{"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}])
    );
    let same = client.put(&format!("{V1}/web"), &old).await.with(200);
    assert_eq!(revision(&same), revision(&told), "nothing changed");
    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 40}});
    client.patch(&format!("{V1}/web"), STRATEGIC, &patch).await.with(200);
    let new = client.get(&format!("{V2}/web")).await.with(200);
    assert_eq!(new["spec"]["metrics"], json!([amount("memory", "1Gi"), share(40)]));
    assert_eq!(new["status"], told["status"]);
    assert!(new["metadata"].get("annotations").is_none());
    let patch = json!({"status": {"currentReplicas": 5}});
    client.patch(&format!("{V1}/web/status"), STRATEGIC, &patch).await.with(200);
    let new = client.get(&format!("{V2}/web")).await.with(200);
    assert_eq!(
        (&new["status"]["currentReplicas"], &new["status"]["conditions"]),
        (&json!(5), &told["status"]["conditions"])
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let client = Client::new();
    let manifest =
        scaler("v2", json!({"minReplicas": 2, "metrics": [share(50)], "behavior": {"scaleUp": {}}}));
    let metric = |metric: Value| vec![("/spec/metrics/0", metric)];
    let cases = [
        (
            vec![("/spec/minReplicas", json!(0))],
            vec![("spec.minReplicas", "must be greater than or equal to 1")],
        ),
        (
            vec![("/spec/scaleTargetRef", json!({"kind": "a/b"}))],
            vec![("spec.scaleTargetRef.kind", "may not"), ("spec.scaleTargetRef.name", "Required value")],
        ),
        (metric(json!({"type": "Odd"})), vec![("spec.metrics[0].type", "Unsupported value")]),
        (
            metric(json!({"type": "Pods", "resource": share(1)["resource"]})),
            vec![
                ("spec.metrics[0].pods", "must populate information for the given metric source"),
                ("spec.metrics[0].resource", "must populate the given metric source only"),
            ],
        ),
        (
            metric(amount("cpu", "0")),
            vec![("spec.metrics[0].resource.target.averageValue", "must be positive")],
        ),
        (
            metric(
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}),
            ),
            vec![(
                "spec.metrics[0].resource.target.averageUtilization",
                "must set either a target raw value or",
            )],
        ),
        (
            metric(
                json!({"type": "External", "external": {"metric": {"name": ""}, "target": {"type": "Value", "value": "1"}}}),
            ),
            vec![("spec.metrics[0].external.metric.name", "must specify a metric name")],
        ),
        (
            vec![(
                "/spec/behavior/scaleUp",
                json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "All",
                "policies": [{"type": "Odd", "value": 0, "periodSeconds": 1801}]}),
            )],
            vec![
                ("spec.behavior.scaleUp.stabilizationWindowSeconds", "must be less than or equal to 3600"),
                ("spec.behavior.scaleUp.selectPolicy", "Unsupported value"),
                ("spec.behavior.scaleUp.policies[0].type", "Unsupported value"),
                ("spec.behavior.scaleUp.policies[0].value", "must be greater than zero"),
                ("spec.behavior.scaleUp.policies[0].periodSeconds", "must be less than or equal to 1800"),
            ],
        ),
    ];
    for (edits, causes) in cases {
        refused(&client, V2, &manifest, &edits, &causes).await;
    }
}

#[tokio::test]
async fn the_newer_form_is_preferred() {
    let client = Client::new();
    let group = client.get("/apis/autoscaling").await.with(200);
    assert_eq!(group["preferredVersion"]["version"], "v2");
    assert_eq!(group["versions"].as_array().unwrap().len(), 2);
    for version in ["v1", "v2"] {
        let list = client.get(&format!("/apis/autoscaling/{version}")).await.with(200);
        let names: Vec<&Value> = list["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
        assert_eq!(names, ["horizontalpodautoscalers", "horizontalpodautoscalers/status"]);
    }
}
