//! Aggregated discovery: everything in one document.

use serde_json::{Value, json};

use super::{Resource, groups};

/// `/api` (core) or `/apis` (all others), in a version of the document: `v2`, `v2beta1`.
pub fn aggregated(all: &[Resource], core: bool, version: &str) -> Value {
    let groups = if core { vec![("", vec!["v1"])] } else { groups(all) };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = all
                        .iter()
                        .filter(|r| r.group == *group && r.version == *version)
                        .map(resource_value)
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let api_version = format!("apidiscovery.k8s.io/{version}");
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn resource_value(resource: &Resource) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": kind(resource.group, &resource.version, resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let below = resource.subresources.iter().map(|s| {
            json!({"subresource": s.name, "responseKind": kind(s.group, &s.version, s.kind), "verbs": s.verbs})
        });
        value["subresources"] = below.collect();
    }
    value
}
