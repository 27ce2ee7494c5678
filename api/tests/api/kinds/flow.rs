//! Flow schemas and priority levels.

use serde_json::{Value, json};

use super::{fixed, refused, stored, with};
use crate::client::{Client, MERGE};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

#[tokio::test]
async fn flow_schemas() {
    let client = Client::new();
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "robots"},
        "spec": {
            "priorityLevelConfiguration": {"name": "robots"}, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "default", "name": "robot"}}],
                "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/metrics", "/api/*"]}],
            }],
        },
    });
    let made = stored(
        &client,
        SCHEMAS,
        &schema,
        &[
            ("/spec/matchingPrecedence", json!(1000)),
            ("/status/conditions/0/type", json!("Dangling")),
            ("/status/conditions/0/status", json!("True")),
        ],
        &[
            ("PriorityLevel", json!("robots")),
            ("MatchingPrecedence", json!(1000)),
            ("DistinguisherMethod", json!("ByUser")),
            ("Age", json!(null)),
            ("MissingPL", json!("True")),
        ],
    )
    .await;
    assert_eq!(made["metadata"]["generation"], 1);
    let rule = |edits: &[(&str, Value)]| with(&schema["spec"]["rules"][0], edits);
    let edits = [
        ("/spec/matchingPrecedence", json!(1)),
        ("/spec/distinguisherMethod/type", json!("ByColour")),
        ("/spec/priorityLevelConfiguration/name", json!("")),
        ("/spec/rules/-", json!({"subjects": []})),
        (
            "/spec/rules/-",
            rule(&[
                ("/subjects/0", json!({"kind": "User", "group": {"name": "a"}})),
                ("/subjects/-", json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*"}})),
                ("/subjects/-", json!({"kind": "Robot"})),
                ("/resourceRules/0/verbs", json!(["*", "get"])),
                ("/resourceRules/0/apiGroups", json!([])),
                ("/resourceRules/0/namespaces", json!(["B"])),
                ("/nonResourceRules/0/verbs", json!(["post"])),
                ("/nonResourceRules/0/nonResourceURLs", json!(["metrics", "/a*", "/a//b", "/*"])),
            ]),
        ),
        ("/spec/rules/-", rule(&[("/resourceRules/0/namespaces", Value::Null)])),
    ];
    refused(
        &client,
        SCHEMAS,
        &schema,
        &edits,
        &[
            ("spec.matchingPrecedence", "only the schema named 'exempt' may have matchingPrecedence 1"),
            ("spec.distinguisherMethod.type", "supported values: \"ByNamespace\", \"ByUser\""),
            ("spec.priorityLevelConfiguration.name", "must reference a priority level"),
            ("spec.rules[1].subjects", "subjects must contain at least one value"),
            ("spec.rules[1]", "at least one of resourceRules and nonResourceRules has to be non-empty"),
            ("spec.rules[2].subjects[0].user", "user is required when subject kind is 'User'"),
            ("spec.rules[2].subjects[0].group", "group is forbidden when subject kind is not 'Group'"),
            (
                "spec.rules[2].subjects[1].serviceAccount.namespace",
                "must specify namespace for service account",
            ),
            ("spec.rules[2].subjects[2].kind", "supported values: \"Group\", \"ServiceAccount\", \"User\""),
            ("spec.rules[2].resourceRules[0].verbs", "if '*' is present, must not specify other verbs"),
            ("spec.rules[2].resourceRules[0].apiGroups", "resource rules must supply at least one api group"),
            (
                "spec.rules[2].resourceRules[0].namespaces[0]",
                "each member of this list must be '*' or a DNS-1123 label",
            ),
            ("spec.rules[2].nonResourceRules[0].verbs", "\"patch\", \"proxy\", \"update\", \"watch\""),
            ("spec.rules[2].nonResourceRules[0].nonResourceURLs[0]", "must start with slash"),
            ("spec.rules[2].nonResourceRules[0].nonResourceURLs[1]", "wildcard can only do suffix matching"),
            ("spec.rules[2].nonResourceRules[0].nonResourceURLs[2]", "must not contain double slash"),
            ("spec.rules[3].resourceRules[0].namespaces", "must supply at least one namespace"),
        ],
    )
    .await;
    let exempt = client.get(&format!("{SCHEMAS}/exempt")).await.with(200);
    let other = [("/spec/matchingPrecedence", json!(7))];
    fixed(&client, SCHEMAS, &exempt, &other, &[("spec", "spec of 'exempt' must equal the fixed value")])
        .await;
}

#[tokio::test]
async fn priority_levels() {
    let client = Client::new();
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "robots"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 0}}}},
    });
    stored(
        &client,
        LEVELS,
        &level,
        &[
            ("/spec/limited/nominalConcurrencyShares", json!(30)),
            ("/spec/limited/lendablePercent", json!(0)),
            (
                "/spec/limited/limitResponse/queuing",
                json!({"queues": 64, "handSize": 8, "queueLengthLimit": 50}),
            ),
        ],
        &[
            ("Type", json!("Limited")),
            ("NominalConcurrencyShares", json!("30")),
            ("Queues", json!("64")),
            ("HandSize", json!("8")),
            ("QueueLengthLimit", json!("50")),
            ("Age", json!(null)),
        ],
    )
    .await;
    let limited = "/spec/limited";
    for (edits, causes) in [
        (
            vec![("/spec/type", json!("Exempt"))],
            vec![
                ("spec.type", "type must be 'Exempt' if and only if name is 'exempt'"),
                ("spec.limited", "must be nil if the type is not Limited"),
            ],
        ),
        (vec![(limited, Value::Null)], vec![("spec.limited", "must not be empty when type is Limited")]),
        (
            vec![
                ("/spec/limited/lendablePercent", json!(101)),
                ("/spec/limited/borrowingLimitPercent", json!(-1)),
                ("/spec/limited/nominalConcurrencyShares", json!(-1)),
                ("/spec/limited/limitResponse/type", json!("Reject")),
            ],
            vec![
                ("spec.limited.nominalConcurrencyShares", "must be a non-negative integer"),
                ("spec.limited.lendablePercent", "must be between 0 and 100, inclusive"),
                ("spec.limited.borrowingLimitPercent", "must be a non-negative integer"),
                ("spec.limited.limitResponse.queuing", "must be nil"),
            ],
        ),
        (
            vec![(
                "/spec/limited/limitResponse/queuing",
                json!({"queues": 4, "handSize": 5, "queueLengthLimit": -1}),
            )],
            vec![
                ("spec.limited.limitResponse.queuing.queueLengthLimit", "must be positive"),
                ("spec.limited.limitResponse.queuing.handSize", "should not be greater than queues (4)"),
            ],
        ),
        (
            vec![("/spec/limited/limitResponse/queuing", json!({"queues": 512, "handSize": 8}))],
            vec![(
                "spec.limited.limitResponse.queuing.handSize",
                "required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
            )],
        ),
    ] {
        refused(&client, LEVELS, &level, &edits, &causes).await;
    }
    let exempt = client.get(&format!("{LEVELS}/exempt")).await.with(200);
    let lent = with(&exempt, &[("/spec/exempt/lendablePercent", json!(10))]);
    client.put(&format!("{LEVELS}/exempt"), &lent).await.with(200);
}

/// The column MissingPL, whether a level is missing.
async fn missing(client: &Client, name: &str) -> Value {
    let shown = client.table(&format!("{SCHEMAS}/{name}")).await;
    crate::client::cells(&shown)[5].clone()
}

#[tokio::test]
async fn a_schema_says_whether_its_level_is_there() {
    let client = Client::new();
    assert_eq!(missing(&client, "global-default").await, "False");
    client.delete(&format!("{LEVELS}/global-default")).await.with(200);
    assert_eq!(missing(&client, "global-default").await, "True");
    let level = json!({
        "metadata": {"name": "global-default"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
    });
    client.post(LEVELS, &level).await.with(201);
    assert_eq!(missing(&client, "global-default").await, "False");
}

#[tokio::test]
async fn what_must_be_there_comes_back_at_once() {
    let client = Client::new();
    for url in [format!("{SCHEMAS}/catch-all"), format!("{LEVELS}/exempt")] {
        let before = client.get(&url).await.with(200);
        client.delete(&url).await.with(200);
        let after = client.get(&url).await.with(200);
        assert_eq!(before["spec"], after["spec"], "{url}");
        assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"], "{url}");
    }
}

/// A new leader puts the default objects, of a newer version, too.
#[tokio::test]
async fn suggested_objects_are_kept_up_unless_somebody_says_no() {
    let client = Client::new();
    let again = || {
        let first = kontiki_actors::flow::defaults::objects();
        client.memory.turn(kontiki_actors::Input::Bootstrap(first), None);
    };
    let url = format!("{LEVELS}/workload-low");
    let shares = |level: &Value| level["spec"]["limited"]["nominalConcurrencyShares"].clone();
    let seven = json!({"spec": {"limited": {"nominalConcurrencyShares": 7}}});
    client.patch(&url, MERGE, &seven).await.with(200);
    again();
    let kept = client.get(&url).await.with(200);
    assert_eq!((shares(&kept), &kept["metadata"]["generation"]), (json!(100), &json!(3)));
    let own = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}});
    client.patch(&url, MERGE, &own).await.with(200);
    client.patch(&url, MERGE, &seven).await.with(200);
    again();
    assert_eq!(shares(&client.get(&url).await.with(200)), 7);
}
