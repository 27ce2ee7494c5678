//! Which new objects webhooks, policies and bindings of policies are for, as far as a turn has to know: whether somebody is to be asked about
//! what an actor wants. It may say so where nobody is, and never the other way round; whom it is for indeed is the business of `api/`, which
//! reads all of it.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::Value;

use super::Selector;
use crate::{candidates, kind::Kind, object::Document};

type Labels = BTreeMap<CompactString, CompactString>;

/// What a configuration is for, of what actors make.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdmissionDigest {
    /// The policy that a binding puts in force; empty for all else.
    pub policy: CompactString,
    /// One for each part of it that is for any of that.
    scopes: Vec<Scope>,
}

#[derive(Clone, PartialEq, Debug)]
struct Scope {
    kinds: Kinds,
    namespaces: Selector,
    objects: Selector,
}

/// Some of [`candidates::KINDS`], each a bit by its place there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Kinds(u8);

const _: () = assert!(candidates::KINDS.len() <= 8, "a bit for each");

impl Kinds {
    fn of(meant: impl Fn(Kind) -> bool) -> Kinds {
        let bits = candidates::KINDS.iter().enumerate().filter(|(_, kind)| meant(**kind));
        Kinds(bits.fold(0, |all, (at, _)| all | 1 << at))
    }

    fn has(self, kind: Kind) -> bool {
        candidates::KINDS.iter().position(|one| *one == kind).is_some_and(|at| self.0 & 1 << at != 0)
    }
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

    /// Whether it may be for a new object of this kind with these labels, in a namespace with those.
    pub fn may_mean(&self, kind: Kind, namespace: &Labels, object: &Labels) -> bool {
        let means = |scope: &Scope| {
            scope.kinds.has(kind) && scope.namespaces.matches(namespace) && scope.objects.matches(object)
        };
        self.scopes.iter().any(means)
    }
}

impl Scope {
    /// That of a webhook: without rules it is for nothing.
    fn of_webhook(webhook: &Value) -> Option<Scope> {
        let rules = list(webhook, "rules");
        Scope::of(webhook, Kinds::of(|kind| rules.iter().any(|rule| is_for_new(kind, rule))))
    }

    /// The MatchResources of a policy or a binding: without rules they are for everything.
    fn of_resources(told: &Value) -> Option<Scope> {
        let rules = list(told, "resourceRules");
        Scope::of(told, Kinds::of(|kind| rules.is_empty() || rules.iter().any(|rule| is_for_new(kind, rule))))
    }

    fn of(told: &Value, kinds: Kinds) -> Option<Scope> {
        (kinds != Kinds::default()).then(|| Scope {
            kinds,
            namespaces: selector(&told["namespaceSelector"]),
            objects: selector(&told["objectSelector"]),
        })
    }
}

fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

/// Whether a rule is for the creation of objects of a kind, of some name.
fn is_for_new(kind: Kind, rule: &Value) -> bool {
    let info = kind.info();
    let has = |key: &str, wanted: &str| list(rule, key).iter().any(|one| *one == "*" || *one == wanted);
    let resource = |one: &Value| {
        let (resource, below) = one
            .as_str()
            .unwrap_or_default()
            .split_once('/')
            .unwrap_or((one.as_str().unwrap_or_default(), ""));
        (resource == "*" || resource == info.plural) && matches!(below, "" | "*")
    };
    has("operations", "CREATE")
        && has("apiGroups", info.group)
        && has("apiVersions", info.version)
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
        let means = |rule| webhook(rule, json!({})).may_mean(Kind::POD, &labels(&[]), &labels(&[]));
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
    fn each_kind_has_its_own_rules() {
        let meant = |rule: Value| {
            let digest = webhook(rule, json!({}));
            let means = |kind: &&Kind| digest.may_mean(**kind, &labels(&[]), &labels(&[]));
            candidates::KINDS.iter().filter(means).copied().collect::<Vec<_>>()
        };
        for kind in candidates::KINDS {
            let info = kind.info();
            assert_eq!(meant(rule("CREATE", info.group, info.version, info.plural)), [kind]);
        }
        assert_eq!(meant(rule("CREATE", "*", "*", "*")), candidates::KINDS);
        assert_eq!(meant(rule("CREATE", "", "v1", "*")), [Kind::POD, Kind::PERSISTENT_VOLUME_CLAIM]);
        assert_eq!(meant(rule("CREATE", "apps", "v1", "deployments")), [] as [Kind; 0]);
    }

    #[test]
    fn selectors_of_namespaces_and_objects_count() {
        let selectors = json!({"namespaceSelector": {"matchLabels": {"inject": "yes"}},
            "objectSelector": {"matchExpressions": [{"key": "inject", "operator": "NotIn", "values": ["no"]}]}});
        let digest = webhook(rule("CREATE", "", "v1", "pods"), selectors);
        let (yes, no) = (labels(&[("inject", "yes")]), labels(&[("inject", "no")]));
        let means = |digest: &AdmissionDigest, namespace: &Labels, pod: &Labels| {
            digest.may_mean(Kind::POD, namespace, pod)
        };
        assert!(means(&digest, &yes, &labels(&[])) && means(&digest, &yes, &yes));
        assert!(
            !means(&digest, &no, &yes) && !means(&digest, &labels(&[]), &yes) && !means(&digest, &yes, &no)
        );
        let unknown = json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}});
        let doubtful = webhook(rule("CREATE", "", "v1", "pods"), unknown);
        assert!(means(&doubtful, &no, &no), "asked in doubt");
    }

    #[test]
    fn policies_and_bindings_without_rules_are_for_everything() {
        let of = |kind, spec| {
            AdmissionDigest::of(kind, &Document::from_value(json!({"metadata": {}, "spec": spec})))
        };
        let binding = of(Kind::VALIDATING_ADMISSION_POLICY_BINDING, json!({"policyName": "p"}));
        assert_eq!(binding.policy, "p");
        for kind in candidates::KINDS {
            assert!(binding.may_mean(kind, &labels(&[]), &labels(&[])));
        }
        let of_policy = |resource| {
            let constraints = json!({"resourceRules": [rule("CREATE", "", "v1", resource)]});
            of(Kind::VALIDATING_ADMISSION_POLICY, json!({"matchConstraints": constraints}))
        };
        assert!(of_policy("pods").may_mean(Kind::POD, &labels(&[]), &labels(&[])));
        assert!(!of_policy("services").may_mean(Kind::POD, &labels(&[]), &labels(&[])));
    }
}
