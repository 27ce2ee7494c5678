//! One rule of a role, and what it allows.

use std::fmt::Write;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};

/// The name that stands for anything.
const ANY: &str = "*";

/// A rule: verbs on resources, or on paths that are none. Names are compared letter by letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    /// `get`, `list`, ..., `*`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<CompactString>,
    /// Groups of the resources, empty for core, `*` for all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<CompactString>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<CompactString>,
    /// Only objects of these names; none named: all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<CompactString>,
    /// Paths, a star at the end stands for anything.
    #[serde(rename = "nonResourceURLs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<CompactString>,
}

/// A list that may be `null`. What is no list of texts fails the whole: a rule that is half understood could allow too much.
fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CompactString>, D::Error> {
    Ok(Option::<Vec<CompactString>>::deserialize(from)?.unwrap_or_default())
}

pub(super) fn has(list: &[CompactString], text: &str) -> bool {
    list.iter().any(|item| item == text)
}

impl PolicyRule {
    /// Whether it allows a verb on a resource, or on what stands below one. An empty name is that of no object in particular.
    pub fn allows(&self, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        self.any_verb(verb)
            && self.api_groups.iter().any(|g| g == ANY || g == group)
            && self.resources.iter().any(|rule| means(rule, resource, subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, name))
    }

    /// Whether it allows a verb on a path that is no resource.
    pub fn allows_path(&self, verb: &str, path: &str) -> bool {
        self.any_verb(verb) && self.paths.iter().any(|rule| reaches(rule, path))
    }

    fn any_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == ANY || v == verb)
    }

    /// As Kubernetes shows rules in refusals: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub fn in_short(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let mut out = String::from("{");
        for (name, list) in parts.into_iter().filter(|(_, list)| !list.is_empty()) {
            let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
            let comma = if out.len() > 1 { ", " } else { "" };
            // Writing to a String does not fail.
            let _ = write!(out, "{comma}{name}:[{}]", quoted.join(" "));
        }
        out.push('}');
        out
    }
}

/// Whether a rule's resource means this one. `pods` does not mean `pods/log`; `*` means all, `*/scale` the scales of all.
fn means(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ANY {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    let Some(of) = rule.strip_suffix(subresource).and_then(|of| of.strip_suffix('/')) else { return false };
    of == resource || of == ANY
}

/// Whether a rule's path means this one.
pub(super) fn reaches(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rule(value: serde_json::Value) -> PolicyRule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_resource_in_a_rule_means() {
        for (written, resource, subresource, meant) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/log", "pods", "log", true),
            ("pods/log", "pods", "", false),
            ("pods/*", "pods", "log", false),
            ("pods/*", "pods", "", false),
            ("*", "pods", "log", true),
            ("*", "things", "", true),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "status", false),
            ("*/scale", "scale", "", false),
            ("*/*", "pods", "log", false),
            ("Pods", "pods", "", false),
            ("xscale", "x", "scale", false),
            ("userextras/acme.com/team", "userextras", "acme.com/team", true),
        ] {
            let rule = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": [written]}));
            assert_eq!(
                rule.allows("get", "", resource, subresource, "x"),
                meant,
                "{written} for {resource}/{subresource}"
            );
        }
    }

    #[test]
    fn verbs_groups_and_names() {
        let one = rule(
            json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a", "b"]}),
        );
        assert!(one.allows("get", "apps", "deployments", "", "a"));
        for (verb, group, name) in
            [("list", "apps", "a"), ("get", "", "a"), ("get", "apps", "c"), ("get", "apps", "")]
        {
            assert!(!one.allows(verb, group, "deployments", "", name), "{verb} {group} {name}");
        }
        let all = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        assert!(all.allows("frobnicate", "no.such", "things", "below", "x"));
        assert!(!all.allows_path("get", "/metrics"), "a path is no resource");
        assert!(!rule(json!({})).allows("", "", "", "", ""), "an empty rule allows nothing");
    }

    #[test]
    fn paths() {
        for (written, path, meant) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/", false),
            ("/healthz/*", "/healthz/a/b", true),
            ("/healthz/*", "/healthz", false),
            ("/heal*", "/healthz", true),
            ("*", "/anything", true),
            ("/*/x", "/a/x", false),
        ] {
            let rule = rule(json!({"verbs": ["get"], "nonResourceURLs": [written]}));
            assert_eq!(rule.allows_path("get", path), meant, "{written} for {path}");
            assert!(!rule.allows_path("post", path));
        }
    }

    #[test]
    fn a_rule_that_is_half_understood_is_none() {
        assert!(serde_json::from_value::<PolicyRule>(json!({"verbs": ["*"], "resourceNames": "a"})).is_err());
        let nulls = rule(json!({"verbs": ["get"], "resourceNames": null, "apiGroups": null}));
        assert_eq!(nulls, PolicyRule { verbs: vec!["get".into()], ..PolicyRule::default() });
    }

    #[test]
    fn rules_in_short() {
        let some = rule(
            json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods"], "resourceNames": ["x"]}),
        );
        assert_eq!(
            some.in_short(),
            r#"{APIGroups:["" "apps"], Resources:["pods"], ResourceNames:["x"], Verbs:["get" "list"]}"#
        );
        let path = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}));
        assert_eq!(path.in_short(), r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#);
    }
}
