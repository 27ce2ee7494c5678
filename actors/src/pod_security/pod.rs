//! A pod, or a template of pods, as the checks see it.

use serde_json::Value;

use crate::kind::Kind;

/// Kinds whose spec has a template of pods.
const WITH_TEMPLATES: [Kind; 6] = [
    Kind::DEPLOYMENT,
    Kind::REPLICA_SET,
    Kind::REPLICATION_CONTROLLER,
    Kind::STATEFUL_SET,
    Kind::DAEMON_SET,
    Kind::JOB,
];
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What is checked of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// Its metadata.
    pub metadata: &'a Value,
    /// Its spec.
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// Whether objects of a kind are pods, or make some.
    pub fn is_within(kind: Kind) -> bool {
        matches!(kind, Kind::POD | Kind::POD_TEMPLATE | Kind::CRON_JOB) || WITH_TEMPLATES.contains(&kind)
    }

    /// What an object makes pods of: a pod itself, or its template. None of other kinds, or if it has no template.
    pub fn within(kind: Kind, object: &'a Value) -> Option<Pod<'a>> {
        let template = match kind {
            Kind::POD => object,
            Kind::POD_TEMPLATE => &object["template"],
            Kind::CRON_JOB => &object["spec"]["jobTemplate"]["spec"]["template"],
            kind if WITH_TEMPLATES.contains(&kind) => &object["spec"]["template"],
            _ => return None,
        };
        template.is_object().then(|| Pod { metadata: &template["metadata"], spec: &template["spec"] })
    }

    /// All containers, those that begin first.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        LISTS.into_iter().flat_map(|list| items(&self.spec[list]))
    }

    /// The names of the containers of which something is true.
    pub(super) fn containers_that(&self, test: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| test(container)).map(name).collect()
    }

    /// Whether it says that it is for Windows.
    pub(super) fn is_for_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// The class by which it is run; empty if it names none.
    pub fn runtime_class(&self) -> &'a str {
        self.spec["runtimeClassName"].as_str().unwrap_or_default()
    }
}

/// The items of a list.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The name of a container or a volume.
pub(super) fn name(named: &Value) -> &str {
    named["name"].as_str().unwrap_or_default()
}

/// Whether an update of a pod may be one for the worse: it has another container, or an image is another one. All else that may change in a
/// pod is not checked.
pub fn significant_change(old: &Value, new: &Value) -> bool {
    let images = |spec: &Value, list: &str| -> Vec<Value> {
        items(&spec[list]).map(|container| container["image"].clone()).collect()
    };
    let changed = |list: &&str| images(old, list) != images(new, list);
    if ["initContainers", "containers"].iter().any(changed) {
        return true;
    }
    let before = |named: &str| items(&old["ephemeralContainers"]).find(|container| name(container) == named);
    items(&new["ephemeralContainers"])
        .any(|container| before(name(container)).is_none_or(|old| old["image"] != container["image"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_a_change() {
        let one = |list: &str, name: &str, image: &str| json!({list: [{"name": name, "image": image}]});
        for (old, new, changed) in [
            (one("containers", "a", "i"), one("containers", "a", "i"), false),
            (one("containers", "a", "i"), one("containers", "a", "j"), true),
            (one("initContainers", "a", "i"), one("initContainers", "a", "j"), true),
            (json!({}), one("containers", "a", "i"), true),
            (json!({}), one("ephemeralContainers", "a", "i"), true),
            (one("ephemeralContainers", "a", "i"), one("ephemeralContainers", "a", "i"), false),
            (one("ephemeralContainers", "a", "i"), one("ephemeralContainers", "a", "j"), true),
            (one("ephemeralContainers", "a", "i"), json!({}), false),
            (json!({"hostPID": true}), json!({}), false),
        ] {
            assert_eq!(significant_change(&old, &new), changed, "{old} -> {new}");
        }
    }
}
