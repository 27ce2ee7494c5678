//! Which new pods webhooks, policies and bindings of policies are for, as far as a turn has to know: whether somebody is to be asked about a
//! pod. It may say so where nobody is, and never the other way round; whom it is for indeed is the business of `api/`, which reads all of it.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::Value;

use super::Selector;
use crate::{kind::Kind, object::Document};

type Labels = BTreeMap<CompactString, CompactString>;

/// What a configuration is for, of new pods.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdmissionDigest {
    /// The policy that a binding puts in force; empty for all else.
    pub policy: CompactString,
    /// One for each part of it that is for new pods at all.
    scopes: Vec<Scope>,
}

#[derive(Clone, PartialEq, Debug)]
struct Scope {
    namespaces: Selector,
    pods: Selector,
}

impl AdmissionDigest {
    /// The kinds that have one.
    pub const KINDS: [Kind; 4] = [
        Kind::MUTATING_WEBHOOK_CONFIGURATION,
        Kind::VALIDATING_WEBHOOK_CONFIGURATION,
        Kind::VALIDATING_ADMISSION_POLICY,
        Kind::VALIDATING_ADMISSION_POLICY_BINDING,
    ];

    /// Derives the digest.
    pub fn of(kind: Kind, document: &Document) -> AdmissionDigest {
        let (rest, spec) = (document.rest_value(), document.spec_value());
        let scopes = match kind {
            Kind::VALIDATING_ADMISSION_POLICY => {
                Scope::of_resources(&spec["matchConstraints"]).into_iter().collect()
            }
            Kind::VALIDATING_ADMISSION_POLICY_BINDING => {
                Scope::of_resources(&spec["matchResources"]).into_iter().collect()
            }
            _ => list(&rest, "webhooks").iter().filter_map(Scope::of_webhook).collect(),
        };
        AdmissionDigest { policy: spec["policyName"].as_str().unwrap_or_default().into(), scopes }
    }

    /// Whether it may be for a new pod with these labels, in a namespace with those.
    pub fn may_mean(&self, namespace: &Labels, pod: &Labels) -> bool {
        self.scopes.iter().any(|scope| scope.namespaces.matches(namespace) && scope.pods.matches(pod))
    }
}

impl Scope {
    /// That of a webhook: without rules it is for nothing.
    fn of_webhook(webhook: &Value) -> Option<Scope> {
        list(webhook, "rules").iter().any(is_for_new_pods).then(|| Scope::of(webhook))
    }

    /// The MatchResources of a policy or a binding: without rules they are for everything.
    fn of_resources(told: &Value) -> Option<Scope> {
        let rules = list(told, "resourceRules");
        (rules.is_empty() || rules.iter().any(is_for_new_pods)).then(|| Scope::of(told))
    }

    fn of(told: &Value) -> Scope {
        Scope { namespaces: selector(&told["namespaceSelector"]), pods: selector(&told["objectSelector"]) }
    }
}

fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a rule is for the creation of pods of some name.
fn is_for_new_pods(rule: &Value) -> bool {
    let has = |key: &str, wanted: &str| list(rule, key).iter().any(|one| *one == "*" || *one == wanted);
    let resource = |one: &Value| {
        let (resource, below) = one
            .as_str()
            .unwrap_or_default()
            .split_once('/')
            .unwrap_or((one.as_str().unwrap_or_default(), ""));
        matches!(resource, "*" | "pods") && matches!(below, "" | "*")
    };
    has("operations", "CREATE")
        && has("apiGroups", "")
        && has("apiVersions", "v1")
        && list(rule, "resources").iter().any(resource)
        && rule["scope"] != "Cluster"
}

/// A selector; one that is absent, or that has what is not known here, selects everything.
fn selector(told: &Value) -> Selector {
    let selector = Selector::of(told);
    let known = |operator: &str| matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist");
    match selector.requirements().iter().all(|requirement| known(&requirement.operator)) {
        true => selector,
        false => Selector::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn webhook(rule: Value, more: Value) -> AdmissionDigest {
        let mut webhook = json!({"rules": [rule]});
        for (key, value) in more.as_object().into_iter().flatten() {
            webhook[key] = value.clone();
        }
        let document = Document::from_value(json!({"metadata": {}, "webhooks": [{"rules": []}, webhook]}));
        AdmissionDigest::of(Kind::MUTATING_WEBHOOK_CONFIGURATION, &document)
    }

    fn rule(operation: &str, group: &str, version: &str, resource: &str) -> Value {
        json!({"operations": [operation], "apiGroups": [group], "apiVersions": [version], "resources": [resource]})
    }

    #[test]
    fn rules_are_for_new_pods_or_not() {
        let means = |rule| webhook(rule, json!({})).may_mean(&labels(&[]), &labels(&[]));
        for resource in ["pods", "*", "*/*", "pods/*"] {
            assert!(means(rule("CREATE", "", "v1", resource)), "{resource}");
        }
        assert!(means(rule("*", "*", "*", "*")));
        for other in [
            rule("UPDATE", "", "v1", "pods"),
            rule("CREATE", "apps", "v1", "pods"),
            rule("CREATE", "", "v2", "pods"),
            rule("CREATE", "", "v1", "pods/exec"),
            rule("CREATE", "", "v1", "services"),
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Cluster"}),
        ] {
            assert!(!means(other.clone()), "{other}");
        }
    }

    #[test]
    fn selectors_of_namespaces_and_pods_count() {
        let selectors = json!({"namespaceSelector": {"matchLabels": {"inject": "yes"}},
            "objectSelector": {"matchExpressions": [{"key": "inject", "operator": "NotIn", "values": ["no"]}]}});
        let digest = webhook(rule("CREATE", "", "v1", "pods"), selectors);
        let (yes, no) = (labels(&[("inject", "yes")]), labels(&[("inject", "no")]));
        assert!(digest.may_mean(&yes, &labels(&[])) && digest.may_mean(&yes, &yes));
        assert!(
            !digest.may_mean(&no, &yes)
                && !digest.may_mean(&labels(&[]), &yes)
                && !digest.may_mean(&yes, &no)
        );
        let unknown = json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}});
        assert!(webhook(rule("CREATE", "", "v1", "pods"), unknown).may_mean(&no, &no), "asked in doubt");
    }

    #[test]
    fn policies_and_bindings_without_rules_are_for_everything() {
        let of = |kind, spec| {
            AdmissionDigest::of(kind, &Document::from_value(json!({"metadata": {}, "spec": spec})))
        };
        let binding = of(Kind::VALIDATING_ADMISSION_POLICY_BINDING, json!({"policyName": "p"}));
        assert_eq!(binding.policy, "p");
        assert!(binding.may_mean(&labels(&[]), &labels(&[])));
        let of_policy = |resource| {
            let constraints = json!({"resourceRules": [rule("CREATE", "", "v1", resource)]});
            of(Kind::VALIDATING_ADMISSION_POLICY, json!({"matchConstraints": constraints}))
        };
        assert!(of_policy("pods").may_mean(&labels(&[]), &labels(&[])));
        assert!(!of_policy("services").may_mean(&labels(&[]), &labels(&[])));
    }
}
