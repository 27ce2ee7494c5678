//! The flow schemas and priority levels that every cluster has: those that must be, and those that Kubernetes suggests.
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>. Schemas for Kubernetes' own parts
//! (`kube-controller-manager` and so on) are missing: there are no such parts that would come as clients.

use serde_json::{Value, json};

use super::AUTO_UPDATE;
use crate::{
    kind::Kind,
    object::{Document, ObjectKey},
};

/// The level and the schema of those who are never held up.
pub const EXEMPT: &str = "exempt";
/// The level and the schema of what no other schema takes.
pub const CATCH_ALL: &str = "catch-all";

/// Shares and lendable percent of a level, and its queues: how many, how many of them a flow may use, and their length.
type Level = (&'static str, i64, i64, Option<[i64; 3]>);

const LEVELS: &[Level] = &[
    (CATCH_ALL, 5, 0, None),
    ("system", 30, 33, Some([64, 6, 50])),
    ("node-high", 40, 25, Some([64, 6, 50])),
    ("leader-election", 10, 0, Some([16, 4, 50])),
    ("workload-high", 40, 50, Some([128, 6, 50])),
    ("workload-low", 100, 90, Some([128, 6, 50])),
    ("global-default", 20, 50, Some([128, 6, 50])),
];

/// What a schema takes: resources by verbs, groups (`core` is the nameless one) and names, also those outside of namespaces or not; or
/// paths by verbs.
enum Rule {
    On(&'static str, &'static str, &'static str, bool),
    Path(&'static str, &'static str),
}

/// Whose requests.
enum Whose {
    Groups(&'static [&'static str]),
    /// All service accounts of a namespace.
    AccountsOf(&'static str),
}

/// What tells one flow of a schema from another.
#[derive(Clone, Copy)]
enum By {
    Nothing,
    User,
    Namespace,
}

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    by: By,
    whose: Whose,
    rules: &'static [Rule],
}

const EVERYTHING: &[Rule] = &[Rule::On("*", "*", "*", true), Rule::Path("*", "*")];
const EVERYBODY: Whose = Whose::Groups(&["system:unauthenticated", "system:authenticated"]);
const NODES: Whose = Whose::Groups(&["system:nodes"]);
const SYSTEM_ACCOUNTS: Whose = Whose::AccountsOf("kube-system");
const READ_AND_HOLD: &str = "get create update";

const SCHEMAS: &[Schema] = &[
    Schema {
        name: EXEMPT,
        level: EXEMPT,
        precedence: 1,
        by: By::Nothing,
        whose: Whose::Groups(&["system:masters"]),
        rules: EVERYTHING,
    },
    Schema {
        name: "probes",
        level: EXEMPT,
        precedence: 2,
        by: By::Nothing,
        whose: EVERYBODY,
        rules: &[Rule::Path("get", "/healthz /readyz /livez")],
    },
    Schema {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        by: By::User,
        whose: SYSTEM_ACCOUNTS,
        rules: &[Rule::On(READ_AND_HOLD, "coordination.k8s.io", "leases", false)],
    },
    Schema {
        name: "endpoint-controller",
        level: "workload-high",
        precedence: 150,
        by: By::User,
        whose: SYSTEM_ACCOUNTS,
        rules: &[Rule::On(READ_AND_HOLD, "core", "endpoints", false)],
    },
    Schema {
        name: "workload-leader-election",
        level: "leader-election",
        precedence: 200,
        by: By::User,
        whose: SYSTEM_ACCOUNTS,
        rules: &[
            Rule::On(READ_AND_HOLD, "core", "endpoints configmaps", false),
            Rule::On(READ_AND_HOLD, "coordination.k8s.io", "leases", false),
        ],
    },
    Schema {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        by: By::User,
        whose: NODES,
        rules: &[
            Rule::On("*", "core", "nodes nodes/status", true),
            Rule::On("*", "coordination.k8s.io", "leases", false),
        ],
    },
    Schema {
        name: "system-nodes",
        level: "system",
        precedence: 500,
        by: By::User,
        whose: NODES,
        rules: EVERYTHING,
    },
    Schema {
        name: "kube-system-service-accounts",
        level: "workload-high",
        precedence: 900,
        by: By::Namespace,
        whose: SYSTEM_ACCOUNTS,
        rules: EVERYTHING,
    },
    Schema {
        name: "service-accounts",
        level: "workload-low",
        precedence: 9000,
        by: By::User,
        whose: Whose::Groups(&["system:serviceaccounts"]),
        rules: EVERYTHING,
    },
    Schema {
        name: "global-default",
        level: "global-default",
        precedence: 9900,
        by: By::User,
        whose: EVERYBODY,
        rules: EVERYTHING,
    },
    Schema {
        name: CATCH_ALL,
        level: CATCH_ALL,
        precedence: 10_000,
        by: By::User,
        whose: EVERYBODY,
        rules: EVERYTHING,
    },
];

/// All of them, as they are to be: levels before the schemas that name them.
pub fn objects() -> Vec<(ObjectKey, Document)> {
    let object = |kind, name: &str, spec: Value| {
        let value = json!({"metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec, "status": {}});
        (ObjectKey::new(kind, "", name), Document::from_value(value))
    };
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let exempt = object(Kind::PRIORITY_LEVEL_CONFIGURATION, EXEMPT, exempt);
    let levels =
        LEVELS.iter().map(|level| object(Kind::PRIORITY_LEVEL_CONFIGURATION, level.0, level_spec(level)));
    let schemas = SCHEMAS.iter().map(|schema| object(Kind::FLOW_SCHEMA, schema.name, schema.spec()));
    std::iter::once(exempt).chain(levels).chain(schemas).collect()
}

/// What one of those that must be is to say; none for all others. Nobody may say something else there.
pub fn mandatory_spec(key: &ObjectKey) -> Option<Value> {
    if ![EXEMPT, CATCH_ALL].contains(&key.name.as_str()) {
        return None;
    }
    let (_, document) = objects().into_iter().find(|(known, _)| known == key)?;
    Some(document.spec_value())
}

fn level_spec((_, shares, lendable, queues): &Level) -> Value {
    let response = match queues {
        None => json!({"type": "Reject"}),
        Some([queues, hand, length]) => {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
        }
    };
    let limited =
        json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
    json!({"type": "Limited", "limited": limited})
}

impl Schema {
    fn spec(&self) -> Value {
        let subjects: Value = match self.whose {
            Whose::Groups(names) => {
                names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
            }
            Whose::AccountsOf(namespace) => {
                json!([{"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": "*"}}])
            }
        };
        let mut rules = json!({"subjects": subjects});
        for rule in self.rules {
            let (list, value) = rule.value();
            match rules[list].as_array_mut() {
                Some(have) => have.push(value),
                None => rules[list] = json!([value]),
            }
        }
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": self.level}, "matchingPrecedence": self.precedence, "rules": [rules],
        });
        match self.by {
            By::Nothing => {}
            By::User => spec["distinguisherMethod"] = json!({"type": "ByUser"}),
            By::Namespace => spec["distinguisherMethod"] = json!({"type": "ByNamespace"}),
        }
        spec
    }
}

impl Rule {
    fn value(&self) -> (&'static str, Value) {
        let list = |text: &str| -> Value { text.split_whitespace().map(Value::from).collect() };
        match self {
            Rule::On(verbs, group, resources, outside) => {
                let group = if *group == "core" { "" } else { group };
                let mut rule = json!({
                    "verbs": list(verbs), "apiGroups": [group], "resources": list(resources), "namespaces": ["*"],
                });
                if *outside {
                    rule["clusterScope"] = true.into();
                }
                ("resourceRules", rule)
            }
            Rule::Path(verbs, paths) => {
                ("nonResourceRules", json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_default_schema_names_a_default_level() {
        let all = objects();
        let has = |kind, name: &str| all.iter().any(|(key, _)| *key == ObjectKey::new(kind, "", name));
        for (key, document) in all.iter().filter(|(key, _)| key.kind == Kind::FLOW_SCHEMA) {
            let spec = document.spec_value();
            let level = spec["priorityLevelConfiguration"]["name"].as_str().unwrap();
            assert!(has(Kind::PRIORITY_LEVEL_CONFIGURATION, level), "{}: {level}", key.name);
        }
        for kind in [Kind::FLOW_SCHEMA, Kind::PRIORITY_LEVEL_CONFIGURATION] {
            for name in [EXEMPT, CATCH_ALL] {
                assert!(mandatory_spec(&ObjectKey::new(kind, "", name)).is_some(), "{name}");
            }
            assert_eq!(mandatory_spec(&ObjectKey::new(kind, "", "global-default")), None);
        }
    }
}
