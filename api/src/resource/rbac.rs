//! Roles and their bindings: defaults, validation, columns. What they grant is the business of `rest/rbac/`.

use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{default_text, each, items, object, text},
    metadata,
    names::NameRule,
};

const GROUP: &str = "rbac.authorization.k8s.io";
const ROLE: Strategy = Strategy {
    name: NameRule::Segment,
    columns: &[Column::text("Created At")],
    cells: |role, _| vec![role["metadata"]["creationTimestamp"].clone()],
    create_on_update: true,
    ..Strategy::PASSIVE
};
const BINDING: Strategy = Strategy {
    default: default_binding,
    validate_update: |new, old, errors| {
        if new["roleRef"] != old["roleRef"] {
            errors.invalid("roleRef", &new["roleRef"], "cannot change roleRef");
        }
    },
    columns: &[
        Column::text("Role"),
        Column::text("Age"),
        Column::wide("Users"),
        Column::wide("Groups"),
        Column::wide("ServiceAccounts"),
    ],
    cells: binding_cells,
    ..ROLE
};

/// The strategy of roles.
pub static ROLE_STRATEGY: Strategy = Strategy { validate: |role, errors| rules(role, true, errors), ..ROLE };

/// The strategy of cluster roles.
pub static CLUSTER_ROLE: Strategy = Strategy {
    validate: |role, errors| {
        rules(role, false, errors);
        if role["aggregationRule"].is_object() {
            let path = "aggregationRule.clusterRoleSelectors";
            let mut selectors = items(&role["aggregationRule"], "clusterRoleSelectors").peekable();
            if selectors.peek().is_none() {
                errors.required(
                    path,
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                );
            }
            selectors
                .for_each(|(at, selector)| metadata::selector(selector, &format!("{path}[{at}]"), errors));
        }
    },
    ..ROLE
};

/// The strategy of role bindings.
pub static ROLE_BINDING: Strategy = Strategy {
    validate: |binding, errors| binding_of(binding, true, &["Role", "ClusterRole"], errors),
    ..BINDING
};

/// The strategy of cluster role bindings.
pub static CLUSTER_ROLE_BINDING: Strategy =
    Strategy { validate: |binding, errors| binding_of(binding, false, &["ClusterRole"], errors), ..BINDING };

fn rules(role: &Value, namespaced: bool, errors: &mut Errors) {
    for (at, rule) in items(role, "rules") {
        let path = |key: &str| format!("rules[{at}].{key}");
        let empty = |key: &str| items(rule, key).next().is_none();
        if empty("verbs") {
            errors.required(&path("verbs"), "verbs must contain at least one value");
        }
        if !empty("nonResourceURLs") {
            let urls = &rule["nonResourceURLs"];
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(&path("nonResourceURLs"), urls, detail);
            }
            if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&path("nonResourceURLs"), urls, detail);
            }
            continue;
        }
        if empty("apiGroups") {
            errors.required(&path("apiGroups"), "resource rules must supply at least one api group");
        }
        if empty("resources") {
            errors.required(&path("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn default_binding(binding: &mut Value) {
    let Some(map) = binding.as_object_mut() else { return };
    default_text(object(map, "roleRef"), "apiGroup", GROUP);
    for subject in each(map, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            default_text(subject, "apiGroup", GROUP);
        }
    }
}

fn binding_of(binding: &Value, namespaced: bool, roles: &[&str], errors: &mut Errors) {
    let role = &binding["roleRef"];
    if text(role, "apiGroup") != GROUP {
        errors.not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]);
    }
    if !roles.contains(&text(role, "kind")) {
        errors.not_supported("roleRef.kind", text(role, "kind"), roles);
    }
    match text(role, "name") {
        "" => errors.required("roleRef.name", ""),
        name => {
            for wrong in NameRule::Segment.check(name) {
                errors.invalid_text("roleRef.name", name, &wrong);
            }
        }
    }
    for (at, subject) in items(binding, "subjects") {
        let path = |key: &str| format!("subjects[{at}].{key}");
        let (kind, name, group) = (text(subject, "kind"), text(subject, "name"), text(subject, "apiGroup"));
        if name.is_empty() {
            errors.required(&path("name"), "");
        }
        let expected = match kind {
            "ServiceAccount" => "",
            "User" | "Group" => GROUP,
            _ => {
                errors.not_supported(&path("kind"), kind, &["ServiceAccount", "User", "Group"]);
                continue;
            }
        };
        if group != expected {
            errors.not_supported(&path("apiGroup"), group, &[expected]);
        }
        if kind == "ServiceAccount" {
            if !name.is_empty() {
                for wrong in NameRule::Subdomain.check(name) {
                    errors.invalid_text(&path("name"), name, &wrong);
                }
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(&path("namespace"), "");
            }
        }
    }
}

fn binding_cells(binding: &Value, now_ms: i64) -> Vec<Value> {
    let role = &binding["roleRef"];
    let named = |kind: &str| {
        let of_kind = items(binding, "subjects").map(|(_, s)| s).filter(|s| text(s, "kind") == kind);
        let names = of_kind.map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", text(s, "namespace"), text(s, "name")),
            _ => text(s, "name").to_owned(),
        });
        json!(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
        age(binding, now_ms),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]
}
