//! What webhooks, policies and bindings are for: rules, and selectors of namespaces and objects.

use serde_json::Value;

use super::asked::Asked;
use crate::{
    resource::fields::{at, items},
    selector::Selector,
    served::Served,
};

/// Which writes something is for.
#[derive(Debug)]
pub(super) struct Scope {
    /// None where all resources are meant.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// Whether other versions of a resource are meant, too.
    equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

/// Some resources, and what is done to them.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resources and what stands below them: `pods` and nothing, `pods` and `*`.
    resources: Vec<(String, String)>,
    /// Names of objects; empty where all are meant.
    names: Vec<String>,
    scope: String,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        let texts = |key: &str| -> Vec<String> {
            items(rule, key).filter_map(|(_, text)| text.as_str()).map(str::to_owned).collect()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, below)) => (resource.to_owned(), below.to_owned()),
            None => (text, String::new()),
        };
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            names: texts("resourceNames"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Whether it is for this, in whatever group and version.
    fn is_for(&self, asked: &Asked) -> bool {
        let info = asked.served.kind.info();
        let cluster = asked.is_namespace() || asked.namespace.is_empty();
        let scope = match self.scope.as_str() {
            "*" | "" => true,
            "Namespaced" => !cluster,
            "Cluster" => cluster,
            _ => false,
        };
        let fits = |known: &str, wanted: &str| known == "*" || known == wanted;
        scope
            && has(&self.operations, asked.operation.name())
            && self
                .resources
                .iter()
                .any(|(resource, below)| fits(resource, info.plural) && fits(below, &asked.subresource))
            && (self.names.is_empty() || self.names.contains(&asked.name))
    }

    /// Whether it is for resources in this group and version.
    fn has_version(&self, served: &Served) -> bool {
        has(&self.groups, served.group()) && has(&self.versions, served.version())
    }
}

/// The first version for which one of the rules is: the one that is asked for, or if they are for others too, one of these.
fn version<'o>(
    rules: &[Rule],
    equivalent: bool,
    asked: &Asked,
    others: impl Fn() -> &'o [Served],
) -> Option<Served> {
    let rules = || rules.iter().filter(|rule| rule.is_for(asked));
    rules().next()?;
    if rules().any(|rule| rule.has_version(&asked.served)) {
        return Some(asked.served.clone());
    }
    if !equivalent {
        return None;
    }
    rules().find_map(|rule| others().iter().find(|other| rule.has_version(other))).cloned()
}

impl Scope {
    /// Reads one that was checked when it was written. What cannot be read all the same must not let anything pass: it selects everything.
    fn read(told: &Value, rules: Option<Vec<Rule>>) -> Scope {
        let selector = |key: &str| match &told[key] {
            Value::Null => Selector::everything(),
            selector => Selector::from_object(Some(selector)).unwrap_or_else(|_| Selector::everything()),
        };
        Scope {
            rules,
            excluded: items(told, "excludeResourceRules").map(|(_, rule)| Rule::read(rule)).collect(),
            equivalent: told["matchPolicy"].as_str() != Some("Exact"),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// That of a webhook: without rules it is for nothing.
    pub(super) fn of_webhook(webhook: &Value) -> Scope {
        Scope::read(webhook, Some(items(webhook, "rules").map(|(_, rule)| Rule::read(rule)).collect()))
    }

    /// The MatchResources of a policy or a binding: without rules they are for everything.
    pub(super) fn of_resources(told: &Value) -> Scope {
        let rules: Vec<Rule> = items(told, "resourceRules").map(|(_, rule)| Rule::read(rule)).collect();
        Scope::read(told, Some(rules).filter(|rules| !rules.is_empty()))
    }

    /// The version in which what is written is wanted; none if this is not for it. `others` are the other versions that it has.
    pub(super) fn version<'o>(&self, asked: &Asked, others: impl Fn() -> &'o [Served]) -> Option<Served> {
        if version(&self.excluded, self.equivalent, asked, &others).is_some() {
            return None;
        }
        match &self.rules {
            None => Some(asked.served.clone()),
            Some(rules) => version(rules, self.equivalent, asked, &others),
        }
    }

    /// Whether it depends on labels of the namespace that stand in the state.
    pub(super) fn looks_at_namespace(&self, asked: &Asked) -> bool {
        !asked.namespace.is_empty() && !asked.has_own_labels() && !self.namespaces.is_everything()
    }

    /// Whether a namespace with these labels is meant.
    pub(super) fn has_namespace(&self, labels: &Value) -> bool {
        selects(&self.namespaces, labels)
    }

    /// Whether one of an object and what it was before is meant, and for a namespace, its own labels.
    pub(super) fn has_object(&self, asked: &Asked, object: &Value, old: &Value) -> bool {
        let own = !asked.has_own_labels() || self.has_namespace(&object["metadata"]["labels"]);
        own && selects_either(&self.objects, object, old)
    }
}

/// Whether a selector takes labels that may be none: not an object, absent.
fn selects(selector: &Selector, labels: &Value) -> bool {
    selector.is_everything() || selector.matches(labels)
}

/// Whether a selector takes one of an object and what it was before. What has no metadata has nothing to be selected by.
fn selects_either(selector: &Selector, object: &Value, old: &Value) -> bool {
    let selected = |object: &Value| {
        object["metadata"].is_object() && selects(selector, at(object, &["metadata", "labels"]))
    };
    selector.is_everything() || selected(object) || selected(old)
}
