use serde_json::json;

use super::{fixed, namespaced, refused, stored};
use crate::client::Client;

const API: &str = "rbac.authorization.k8s.io/v1";

#[tokio::test]
async fn roles_say_what_may_be_done() {
    let client = Client::new();
    let url = namespaced("rbac.authorization.k8s.io", "roles");
    let role = json!({
        "apiVersion": API, "kind": "Role", "metadata": {"name": "log:reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}],
    });
    let made = stored(
        &client,
        &url,
        &role,
        &[("/metadata/generation", json!(null))],
        &[("Created At", json!(null))],
    )
    .await;
    let table = client.table(&url).await;
    assert_eq!(crate::client::cells(&table)[1], made["metadata"]["creationTimestamp"]);
    refused(
        &client,
        &url,
        &role,
        &[("/rules/0", json!({}))],
        &[
            ("rules[0].verbs", "Required value: verbs must contain at least one value"),
            ("rules[0].apiGroups", "Required value: resource rules must supply at least one api group"),
            ("rules[0].resources", "Required value: resource rules must supply at least one resource"),
        ],
    )
    .await;
    let anywhere = json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]});
    refused(
        &client,
        &url,
        &role,
        &[("/rules/0", anywhere.clone())],
        &[(
            "rules[0].nonResourceURLs",
            "Invalid value: [\"/metrics\"]: namespaced rules cannot apply to non-resource URLs",
        )],
    )
    .await;
    let cluster = json!({
        "apiVersion": API, "kind": "ClusterRole", "metadata": {"name": "scraper"}, "rules": [anywhere],
    });
    let url = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    stored(&client, url, &cluster, &[], &[("Created At", json!(null))]).await;
    let edits = [("/aggregationRule", json!({})), ("/rules/0/resources", json!(["pods"]))];
    refused(
        &client,
        url,
        &cluster,
        &edits,
        &[
            (
                "rules[0].nonResourceURLs",
                "rules cannot apply to both regular resources and non-resource URLs",
            ),
            ("aggregationRule.clusterRoleSelectors", "at least one clusterRoleSelector required"),
        ],
    )
    .await;
    // An update of what is not there makes it, as for all roles.
    let put =
        client.put(&format!("{url}/new"), &super::with(&cluster, &[("/metadata/name", json!("new"))])).await;
    assert_eq!(put.code, 201);
}

#[tokio::test]
async fn bindings_keep_their_role() {
    let client = Client::new();
    let url = namespaced("rbac.authorization.k8s.io", "rolebindings");
    let binding = json!({
        "apiVersion": API, "kind": "RoleBinding", "metadata": {"name": "readers"},
        "roleRef": {"kind": "Role", "name": "log:reader", "apiGroup": ""},
        "subjects": [
            {"kind": "User", "name": "jo"},
            {"kind": "User", "name": "kim"},
            {"kind": "Group", "name": "ops", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "default"},
        ],
    });
    let defaults = [
        ("/roleRef/apiGroup", json!("rbac.authorization.k8s.io")),
        ("/subjects/0/apiGroup", json!("rbac.authorization.k8s.io")),
        ("/subjects/3/apiGroup", json!(null)),
    ];
    let made = stored(
        &client,
        &url,
        &binding,
        &defaults,
        &[
            ("Role", json!("Role/log:reader")),
            ("Age", json!(null)),
            ("Users*", json!("jo, kim")),
            ("Groups*", json!("ops")),
            ("ServiceAccounts*", json!("default/robot")),
        ],
    )
    .await;
    fixed(
        &client,
        &url,
        &made,
        &[("/roleRef/name", json!("other"))],
        &[("roleRef", "cannot change roleRef")],
    )
    .await;
    let edits = [
        ("/roleRef", json!({"kind": "Pod", "name": "", "apiGroup": "apps"})),
        ("/subjects/0", json!({"kind": "Robot", "name": "x"})),
        ("/subjects/1", json!({"kind": "Group", "name": "", "apiGroup": "x"})),
    ];
    refused(
        &client,
        &url,
        &binding,
        &edits,
        &[
            (
                "roleRef.apiGroup",
                "Unsupported value: \"apps\": supported values: \"rbac.authorization.k8s.io\"",
            ),
            ("roleRef.kind", "Unsupported value: \"Pod\": supported values: \"Role\", \"ClusterRole\""),
            ("roleRef.name", "Required value"),
            ("subjects[0].kind", "supported values: \"ServiceAccount\", \"User\", \"Group\""),
            ("subjects[1].name", "Required value"),
            ("subjects[1].apiGroup", "Unsupported value: \"x\""),
        ],
    )
    .await;
    let url = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let edits = [("/kind", json!("ClusterRoleBinding")), ("/subjects/3/namespace", json!(null))];
    refused(
        &client,
        url,
        &binding,
        &edits,
        &[("roleRef.kind", "supported values: \"ClusterRole\""), ("subjects[3].namespace", "Required value")],
    )
    .await;
}
