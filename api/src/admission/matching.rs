//! Whether a webhook is to be asked: rules, and selectors of namespaces and objects.

use serde_json::Value;

use super::asked::Asked;
use crate::{
    resource::fields::{at, items},
    selector::Selector,
};

/// What a webhook is for.
#[derive(Debug)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resources and what stands below them: `pods` and nothing, `pods` and `*`.
    resources: Vec<(String, String)>,
    scope: String,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    pub(super) fn read(rule: &Value) -> Rule {
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
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Whether it is for this, in whatever version.
    pub(super) fn is_for(&self, asked: &Asked) -> bool {
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
            && has(&self.groups, info.group)
            && self
                .resources
                .iter()
                .any(|(resource, below)| fits(resource, info.plural) && fits(below, &asked.subresource))
    }

    /// Whether it is for this version.
    pub(super) fn has_version(&self, version: &str) -> bool {
        has(&self.versions, version)
    }
}

/// Whether a selector takes labels that may be none: not an object, absent.
pub(super) fn selects(selector: &Selector, labels: &Value) -> bool {
    selector.is_everything() || selector.matches(labels)
}

/// Whether a selector takes one of an object and what it was before. What has no metadata has nothing to be selected by.
pub(super) fn selects_either(selector: &Selector, object: &Value, old: &Value) -> bool {
    let selected = |object: &Value| {
        object["metadata"].is_object() && selects(selector, at(object, &["metadata", "labels"]))
    };
    selector.is_everything() || selected(object) || selected(old)
}
