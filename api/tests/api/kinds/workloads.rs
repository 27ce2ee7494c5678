use serde_json::{Value, json};

use super::{fixed, namespaced, refused, stored, with};
use crate::client::{Client, MERGE, cells};

fn template(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": name, "image": format!("{name}:1.2")}]},
    })
}

fn workload(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name)},
    })
}

#[tokio::test]
async fn stateful_sets() {
    let client = Client::new();
    let url = namespaced("apps", "statefulsets");
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let edits = [
        ("/spec/serviceName", json!("db")),
        ("/spec/volumeClaimTemplates", json!([claim])),
        ("/spec/template/spec/containers/0/volumeMounts", json!([{"name": "data", "mountPath": "/data"}])),
    ];
    let set = with(&workload("StatefulSet", "db"), &edits);
    let defaults = [
        ("/spec/replicas", json!(1)),
        ("/spec/podManagementPolicy", json!("OrderedReady")),
        ("/spec/updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})),
        ("/spec/revisionHistoryLimit", json!(10)),
        (
            "/spec/persistentVolumeClaimRetentionPolicy",
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
        ),
        ("/spec/volumeClaimTemplates/0/spec/volumeMode", json!("Filesystem")),
        ("/spec/volumeClaimTemplates/0/kind", json!("PersistentVolumeClaim")),
        ("/spec/template/spec/restartPolicy", json!("Always")),
        ("/status/availableReplicas", json!(0)),
        ("/metadata/generation", json!(1)),
    ];
    let made = stored(
        &client,
        &url,
        &set,
        &defaults,
        &[
            ("Ready", json!("0/1")),
            ("Age", json!(null)),
            ("Containers*", json!("db")),
            ("Images*", json!("db:1.2")),
        ],
    )
    .await;
    let text = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy'";
    fixed(&client, &url, &made, &[("/spec/serviceName", json!("other"))], &[("spec", text)]).await;
    let edits = [
        ("/spec/podManagementPolicy", json!("Chaos")),
        ("/spec/updateStrategy", json!({"type": "OnDelete", "rollingUpdate": {}})),
        ("/spec/replicas", json!(-1)),
        ("/spec/template/spec/restartPolicy", json!("Never")),
    ];
    refused(
        &client,
        &url,
        &set,
        &edits,
        &[
            ("spec.podManagementPolicy", "Invalid value: \"Chaos\": must be 'OrderedReady' or 'Parallel'"),
            ("spec.updateStrategy.rollingUpdate", "only allowed for updateStrategy 'RollingUpdate'"),
            ("spec.replicas", "must be greater than or equal to 0"),
            (
                "spec.template.spec.restartPolicy",
                "Unsupported value: \"Never\": supported values: \"Always\"",
            ),
        ],
    )
    .await;
    let path = "spec.template.spec.containers[0].volumeMounts[0].name";
    let unclaimed = [("/spec/volumeClaimTemplates", json!([]))];
    refused(&client, &url, &set, &unclaimed, &[(path, "Not found: \"data\"")]).await;
    let none = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "0%"}});
    let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    refused(&client, &url, &set, &[("/spec/updateStrategy", none)], &[(path, "cannot be 0")]).await;
    let scaled =
        client.patch(&format!("{url}/db/scale"), MERGE, &json!({"spec": {"replicas": 3}})).await.with(200);
    assert_eq!((&scaled["spec"]["replicas"], &scaled["status"]["selector"]), (&json!(3), &json!("app=db")));
    assert_eq!(client.get(&format!("{url}/db")).await.with(200)["metadata"]["generation"], 2);
    let bad = with(&set, &[("/metadata/name", json!("a.b"))]);
    assert_eq!(client.post(&url, &bad).await.with(422)["details"]["causes"][0]["field"], "metadata.name");
}

#[tokio::test]
async fn daemon_sets() {
    let client = Client::new();
    let url = namespaced("apps", "daemonsets");
    let set = with(
        &workload("DaemonSet", "agent"),
        &[("/spec/template/spec/nodeSelector", json!({"disk": "fast"}))],
    );
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
    let made = stored(
        &client,
        &url,
        &set,
        &[("/spec/updateStrategy", rolling)],
        &[
            ("Desired", json!(0)),
            ("Current", json!(0)),
            ("Ready", json!(0)),
            ("Up-to-date", json!(0)),
            ("Available", json!(0)),
            ("Node Selector", json!("disk=fast")),
            ("Age", json!(null)),
            ("Containers*", json!("agent")),
            ("Images*", json!("agent:1.2")),
            ("Selector*", json!("app=agent")),
        ],
    )
    .await;
    let generation =
        |set: &Value| set["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    assert_eq!(generation(&made), "1");
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": image}]}}}});
    for (patch, told) in [
        (json!({"metadata": {"annotations": {"a": "b"}}}), "1"),
        (image("agent:2"), "2"),
        (json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "9"}}}), "2"),
        (image("agent:1.2"), "3"),
    ] {
        let set = client.patch(&format!("{url}/agent"), MERGE, &patch).await.with(200);
        assert_eq!(generation(&set), told, "{patch}");
    }
    let made = client.get(&format!("{url}/agent")).await.with(200);
    let other = [("/spec/selector/matchLabels", json!({"app": "other"}))];
    fixed(
        &client,
        &url,
        &made,
        &other,
        &[
            ("spec.template.metadata.labels", "`selector` does not match template `labels`"),
            ("spec.selector", "field is immutable"),
        ],
    )
    .await;
    let both = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "50%"}});
    refused(
        &client,
        &url,
        &set,
        &[("/spec/updateStrategy", both)],
        &[(
            "spec.updateStrategy.rollingUpdate.maxSurge",
            "Invalid value: \"50%\": may not be set when maxUnavailable is non-zero",
        )],
    )
    .await;
    refused(
        &client,
        &url,
        &set,
        &[("/spec/updateStrategy", json!({"type": "Slowly"}))],
        &[(
            "spec.updateStrategy.type",
            "Unsupported value: \"Slowly\": supported values: \"RollingUpdate\", \"OnDelete\"",
        )],
    )
    .await;
}

#[tokio::test]
async fn replication_controllers() {
    let client = Client::new();
    let url = namespaced("", "replicationcontrollers");
    let controller = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "template": template("old")},
    });
    let defaults = [
        ("/spec/selector", json!({"app": "old"})),
        ("/metadata/labels", json!({"app": "old"})),
        // Its actor was there already.
        ("/status", json!({"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1})),
    ];
    stored(
        &client,
        &url,
        &controller,
        &defaults,
        &[
            ("Desired", json!(2)),
            ("Current", json!(2)),
            ("Ready", json!(0)),
            ("Age", json!(null)),
            ("Containers*", json!("old")),
            ("Images*", json!("old:1.2")),
            ("Selector*", json!("app=old")),
        ],
    )
    .await;
    let scale = client.get(&format!("{url}/old/scale")).await.with(200);
    assert_eq!(scale["status"]["selector"], "app=old");
    let edits = [("/spec/selector", json!({"app": "x"}))];
    let causes = [("spec.template.metadata.labels", "`selector` does not match template `labels`")];
    refused(&client, &url, &controller, &edits, &causes).await;
    let causes = [("spec.selector", "Required value"), ("spec.template", "Required value")];
    refused(&client, &url, &controller, &[("/spec/template", json!(null))], &causes).await;
}

/// Who deletes one and does not say what becomes of its pods leaves them behind; nobody is warned, as in Kubernetes.
#[tokio::test]
async fn replication_controllers_leave_their_pods_unless_told() {
    let client = Client::new();
    let url = namespaced("", "replicationcontrollers");
    let controller = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old", "labels": {"x": "y"}},
        "spec": {"replicas": 2, "template": template("old")},
    });
    let pods = || async { client.get("/api/v1/namespaces/default/pods").await.with(200)["items"].clone() };
    for query in ["/old", "?labelSelector=x=y"] {
        client.post(&url, &controller).await.with(201);
        let answer = client.delete(&format!("{url}{query}")).await;
        assert_eq!((answer.code, answer.headers.get("warning")), (200, None));
        client.get(&format!("{url}/old")).await.with(404);
        let left = pods().await;
        assert_eq!(left.as_array().unwrap().len(), 2, "adopted and left again");
        assert!(left[0]["metadata"].get("ownerReferences").is_none());
    }
    client.post(&url, &controller).await.with(201);
    client.delete(&format!("{url}/old?propagationPolicy=Background")).await.with(200);
    assert_eq!(pods().await, json!([]));
}

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"},
        "spec": {"completions": 4, "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "sum", "image": "sum:1"}]}}},
    })
}

#[tokio::test]
async fn jobs() {
    let client = Client::new();
    let url = namespaced("batch", "jobs");
    let defaults = [
        ("/spec/parallelism", json!(1)),
        ("/spec/backoffLimit", json!(6)),
        ("/spec/completionMode", json!("NonIndexed")),
        ("/spec/suspend", json!(false)),
        ("/spec/manualSelector", json!(false)),
        ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
        ("/spec/template/metadata/labels/job-name", json!("sum")),
    ];
    let client_made = stored(
        &client,
        &url,
        &job(),
        &defaults,
        &[
            ("Status", json!("Running")),
            ("Completions", json!("0/4")),
            ("Duration", json!(null)),
            ("Age", json!(null)),
            ("Containers*", json!("sum")),
            ("Images*", json!("sum:1")),
            ("Selector*", json!(null)),
        ],
    )
    .await;
    let uid = &client_made["metadata"]["uid"];
    assert_eq!(client_made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], *uid);
    assert_eq!(client_made["spec"]["template"]["metadata"]["labels"]["controller-uid"], *uid);
    fixed(
        &client,
        &url,
        &client_made,
        &[("/spec/template/spec/containers/0/image", json!("sum:2"))],
        &[("spec.template", "field is immutable")],
    )
    .await;
    fixed(
        &client,
        &url,
        &client_made,
        &[("/spec/completions", json!(5))],
        &[("spec.completions", "Invalid value: 5: field is immutable")],
    )
    .await;
    refused(
        &client,
        &url,
        &job(),
        &[("/spec/template/spec/restartPolicy", json!(null))],
        &[("spec.template.spec.restartPolicy", "Required value: valid values: \"OnFailure\", \"Never\"")],
    )
    .await;
    let edits = [
        ("/spec/completionMode", json!("Indexed")),
        ("/spec/completions", json!(null)),
        ("/spec/parallelism", json!(2)),
        ("/spec/selector", json!({"matchLabels": {"a": "b"}})),
        ("/spec/backoffLimit", json!(-1)),
    ];
    refused(
        &client,
        &url,
        &job(),
        &edits,
        &[
            ("spec.backoffLimit", "must be greater than or equal to 0"),
            ("spec.completions", "Required value: when completion mode is Indexed"),
            ("spec.selector", "`selector` not auto-generated"),
        ],
    )
    .await;
    let failures = json!({"rules": [
        {"action": "Shrug", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Count"},
    ]});
    let edits =
        [("/spec/podFailurePolicy", failures), ("/spec/template/spec/restartPolicy", json!("OnFailure"))];
    refused(
        &client,
        &url,
        &job(),
        &edits,
        &[
            (
                "spec.template.spec.restartPolicy",
                "only \"Never\" is supported when podFailurePolicy is specified",
            ),
            ("spec.podFailurePolicy.rules[0].action", "Unsupported value: \"Shrug\""),
            (
                "spec.podFailurePolicy.rules[1]",
                "specifying one of OnExitCodes and OnPodConditions is required",
            ),
        ],
    )
    .await;
    let mut rules = vec![json!({"succeededCount": 1}); 20];
    rules.push(json!({"succeededIndexes": "1,".repeat(32 * 1024 + 1)}));
    let edits =
        [("/spec/completionMode", json!("Indexed")), ("/spec/successPolicy", json!({"rules": rules}))];
    refused(
        &client,
        &url,
        &job(),
        &edits,
        &[
            ("spec.successPolicy.rules", "Too many: 21: must have at most 20 items"),
            ("spec.successPolicy.rules[20].succeededIndexes", "Too long: may not be more than 65536 bytes"),
        ],
    )
    .await;
    // Who knows its pods by own labels says so.
    let manual = with(
        &job(),
        &[
            ("/metadata/name", json!("manual")),
            ("/spec/manualSelector", json!(true)),
            ("/spec/selector", json!({"matchLabels": {"a": "b"}})),
            ("/spec/template/metadata", json!({"labels": {"a": "b"}})),
        ],
    );
    let manual = client.post(&url, &manual).await.with(201);
    assert_eq!(manual["spec"]["template"]["metadata"]["labels"], json!({"a": "b"}));
    let answer = client.delete(&format!("{url}/manual")).await;
    let warning = answer.headers.get("warning").map(|warning| warning.to_str().unwrap().to_owned());
    assert!(warning.unwrap().contains("child pods are preserved by default when jobs are deleted"));
    // One that waits may still be told where its pods belong, and nothing else of them.
    let waits = with(&job(), &[("/metadata/name", json!("waits")), ("/spec/suspend", json!(true))]);
    let waits = client.post(&url, &waits).await.with(201);
    let placed = with(&waits, &[("/spec/template/spec/nodeSelector", json!({"disk": "fast"}))]);
    let placed = client.put(&format!("{url}/waits"), &placed).await.with(200);
    let image = [("/spec/template/spec/containers/0/image", json!("sum:2"))];
    fixed(&client, &url, &placed, &image, &[("spec.template", "field is immutable")]).await;
    let status = json!({"status": {
        "succeeded": 4, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:30Z",
        "conditions": [{"type": "Complete", "status": "True"}]}});
    client.patch(&format!("{url}/sum/status"), MERGE, &status).await.with(200);
    let shown = client.table(&format!("{url}?fieldSelector=status.successful%3D4")).await;
    assert_eq!(shown["rows"].as_array().unwrap().len(), 1);
    assert_eq!(cells(&shown)[1..4], [json!("Complete"), json!("4/4"), json!("90s")]);
}

#[tokio::test]
async fn cron_jobs() {
    let client = Client::new();
    let url = namespaced("batch", "cronjobs");
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "30 2 * * 1-5", "timeZone": "Europe/Oslo", "jobTemplate": {"spec": {"template": {
            "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "sum", "image": "sum:1"}]}}}}},
    });
    let defaults = [
        ("/spec/concurrencyPolicy", json!("Allow")),
        ("/spec/suspend", json!(false)),
        ("/spec/successfulJobsHistoryLimit", json!(3)),
        ("/spec/failedJobsHistoryLimit", json!(1)),
        ("/spec/jobTemplate/spec/template/spec/dnsPolicy", json!("ClusterFirst")),
        ("/spec/jobTemplate/spec/backoffLimit", json!(null)),
    ];
    stored(
        &client,
        &url,
        &cron,
        &defaults,
        &[
            ("Schedule", json!("30 2 * * 1-5")),
            ("Timezone", json!("Europe/Oslo")),
            ("Suspend", json!("False")),
            ("Active", json!(0)),
            ("Last Schedule", json!("<none>")),
            ("Age", json!(null)),
            ("Containers*", json!("sum")),
            ("Images*", json!("sum:1")),
            ("Selector*", json!("<none>")),
        ],
    )
    .await;
    let edits = [
        ("/spec/schedule", json!("61 * * * *")),
        ("/spec/timeZone", json!("Local")),
        ("/spec/concurrencyPolicy", json!("Maybe")),
        ("/spec/jobTemplate/spec/template/spec/restartPolicy", json!("Always")),
    ];
    refused(
        &client,
        &url,
        &cron,
        &edits,
        &[
            ("spec.schedule", "Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"),
            ("spec.timeZone", "timeZone must be an explicit time zone"),
            (
                "spec.concurrencyPolicy",
                "Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ),
            (
                "spec.jobTemplate.spec.template.spec.restartPolicy",
                "Required value: valid values: \"OnFailure\", \"Never\"",
            ),
        ],
    )
    .await;
    let edits = [("/spec/timeZone", json!("Mars/Olympus"))];
    refused(&client, &url, &cron, &edits, &[("spec.timeZone", "unknown time zone Mars/Olympus")]).await;
    let long = with(&cron, &[("/metadata/name", json!("x".repeat(53)))]);
    let status = client.post(&url, &long).await.with(422);
    assert!(status["message"].as_str().unwrap().contains("must be no more than 52 characters"), "{status}");
}

#[tokio::test]
async fn disruption_budgets() {
    let client = Client::new();
    let url = namespaced("policy", "poddisruptionbudgets");
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "quorum"},
        "spec": {"minAvailable": "60%", "selector": {"matchLabels": {"app": "db"}}},
    });
    let made = stored(
        &client,
        &url,
        &budget,
        &[("/status/disruptionsAllowed", json!(0))],
        &[
            ("Min Available", json!("60%")),
            ("Max Unavailable", json!("N/A")),
            ("Allowed Disruptions", json!(0)),
            ("Age", json!(null)),
        ],
    )
    .await;
    fixed(
        &client,
        &url,
        &made,
        &[("/metadata/resourceVersion", json!(null))],
        &[("metadata.resourceVersion", "must be specified for an update")],
    )
    .await;
    let edits =
        [("/spec/maxUnavailable", json!("101%")), ("/spec/unhealthyPodEvictionPolicy", json!("Never"))];
    refused(
        &client,
        &url,
        &budget,
        &edits,
        &[
            ("spec", "minAvailable and maxUnavailable cannot be both set"),
            ("spec.maxUnavailable", "Invalid value: \"101%\": must not be greater than 100%"),
            ("spec.unhealthyPodEvictionPolicy", "supported values: \"AlwaysAllow\", \"IfHealthyBudget\""),
        ],
    )
    .await;
}
