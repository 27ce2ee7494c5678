//! What definitions add to what is served.

use std::{borrow::Cow, cmp::Reverse};

use kontiki_actors::{DefinitionDigest, Object, State};
use serde_json::Value;

use super::{CHANGE, Resource, STANDARD, Subresource};
use crate::resource::fields::{items, text};

/// The resources of all definitions that are served, by version: the newest of each first.
pub(super) fn resources(state: &State) -> Vec<Resource> {
    let mut all: Vec<Resource> =
        state.established().flat_map(|(object, digest)| of(object, digest)).collect();
    all.sort_by_key(|resource| (resource.group, Reverse(priority(&resource.version))));
    all
}

fn of(object: &Object, digest: &DefinitionDigest) -> Vec<Resource> {
    let info = digest.kind().info();
    let names = &digest.status.accepted_names;
    let spec = object.document.spec_value();
    // What is going takes no new objects.
    let verbs = if object.meta.deleting() { &STANDARD[1..] } else { STANDARD };
    let served = items(&spec, "versions").filter(|(_, version)| version["served"] == true);
    served
        .map(|(_, told)| {
            let version = text(told, "name").to_owned();
            let has = |name: &str| told["subresources"].get(name).is_some_and(Value::is_object);
            let mut subresources = Vec::new();
            let below = |name, group, version: &str, kind| Subresource {
                name,
                group,
                version: Cow::Owned(version.to_owned()),
                kind,
                verbs: CHANGE,
            };
            if has("status") {
                subresources.push(below("status", info.group, &version, info.kind));
            }
            if has("scale") {
                subresources.push(below("scale", "autoscaling", "v1", "Scale"));
            }
            Resource {
                group: info.group,
                version: version.into(),
                kind: info.kind,
                plural: info.plural,
                singular: names.singular.to_string().into(),
                short_names: names.short_names.iter().map(ToString::to_string).collect(),
                categories: names.categories.iter().map(ToString::to_string).collect(),
                namespaced: info.namespaced,
                verbs,
                subresources,
            }
        })
        .collect()
}

/// How new a version is, as Kubernetes orders them: v2, v1, v1beta2, v1beta1, v1alpha1, then what is no version, by name.
fn priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let last = (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return last };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse::<u64>() else { return last };
    let (stage, minor) = match &rest[digits..] {
        "" => return (3, major, 0, Reverse(String::new())),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return last,
        },
    };
    minor.parse().map_or(last, |minor| (stage, major, minor, Reverse(String::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = [
            "foo10",
            "v1alpha1",
            "v10",
            "v1",
            "v12alpha1",
            "v3beta1",
            "foo1",
            "v11alpha2",
            "v2",
            "v11beta2",
            "v10beta3",
        ];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v10beta3",
                "v3beta1",
                "v12alpha1",
                "v11alpha2",
                "v1alpha1",
                "foo1",
                "foo10"
            ]
        );
    }
}
