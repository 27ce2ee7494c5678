//! The roles and bindings that every cluster has: those of Kubernetes' that are for people and their programs. Those for Kubernetes' own
//! parts (`system:kube-scheduler` and so on) are missing: there are no such parts that would come as clients.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>

use serde_json::{Value, json};

use super::{GROUP, upkeep::AUTO_UPDATE};
use crate::{
    kind::Kind,
    object::{Document, ObjectKey},
};

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const ALL: &str = "create delete deletecollection get list patch update watch";

/// A rule in few words: verbs, groups (`core` is the nameless one) and resources, or paths.
enum Rule {
    On(&'static str, &'static str, &'static str),
    Path(&'static str, &'static str),
}

struct Role {
    name: &'static str,
    /// `admin`, `edit` or `view`, which gathers its rules.
    gathered_by: Option<&'static str>,
    /// Whose rules it gathers: those that are marked for this name.
    gathers: Option<&'static str>,
    rules: &'static [Rule],
}

const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, gathered_by: None, gathers: None, rules }
}

const fn part(name: &'static str, of: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, gathered_by: Some(of), gathers: None, rules }
}

const fn gathered(name: &'static str, gathered_by: Option<&'static str>) -> Role {
    Role { name, gathered_by, gathers: Some(name), rules: &[] }
}

const ROLES: &[Role] = &[
    role("cluster-admin", &[Rule::On("*", "*", "*"), Rule::Path("*", "*")]),
    gathered("admin", None),
    gathered("edit", Some("admin")),
    gathered("view", Some("edit")),
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            Rule::On("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            Rule::On(ALL, GROUP, "rolebindings roles"),
        ],
    ),
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            Rule::On(
                READ,
                "core",
                "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
            ),
            Rule::On("impersonate", "core", "serviceaccounts"),
            Rule::On(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
            Rule::On("create", "core", "pods/eviction"),
            Rule::On(
                WRITE,
                "core",
                "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
                 serviceaccounts services services/proxy",
            ),
            Rule::On("create", "core", "serviceaccounts/token"),
            Rule::On(
                WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
                 statefulsets/scale",
            ),
            Rule::On(WRITE, "autoscaling", "horizontalpodautoscalers"),
            Rule::On(WRITE, "batch", "cronjobs jobs"),
            Rule::On(
                WRITE,
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets \
                 replicasets/scale replicationcontrollers/scale",
            ),
            Rule::On(WRITE, "policy", "poddisruptionbudgets"),
            Rule::On(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            Rule::On(ALL, "coordination.k8s.io", "leases"),
        ],
    ),
    // metrics-server's own role, by which whoever sees pods sees what they use.
    part("system:aggregated-metrics-reader", "view", &[Rule::On(READ, "metrics.k8s.io", "pods nodes")]),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            Rule::On(
                READ,
                "core",
                "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
                 replicationcontrollers/scale serviceaccounts services services/status",
            ),
            Rule::On(
                READ,
                "core",
                "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
                 resourcequotas resourcequotas/status",
            ),
            Rule::On(READ, "core", "namespaces"),
            Rule::On(READ, "discovery.k8s.io", "endpointslices"),
            Rule::On(
                READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets \
                 replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            ),
            Rule::On(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            Rule::On(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            Rule::On(
                READ,
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status \
                 networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
            ),
            Rule::On(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            Rule::On(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            Rule::On("create", "authentication.k8s.io", "tokenreviews"),
            Rule::On("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:basic-user",
        &[
            Rule::On("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            Rule::On("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:discovery",
        &[Rule::Path(
            "get",
            "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        )],
    ),
    role("system:public-info-viewer", &[Rule::Path("get", "/healthz /livez /readyz /version /version/")]),
    role(
        "system:monitoring",
        &[Rule::Path("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[Rule::Path(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )],
    ),
];

/// Cluster roles and the groups that have them, by a binding of the same name.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ("system:monitoring", &["system:monitoring"]),
    ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
];

/// All of them, as they are to be.
pub fn objects() -> Vec<(ObjectKey, Document)> {
    let object =
        |kind, name: &str, value: Value| (ObjectKey::new(kind, "", name), Document::from_value(value));
    let roles = ROLES.iter().map(|role| object(Kind::CLUSTER_ROLE, role.name, role.value()));
    let bindings = BINDINGS.iter().map(|(role, groups)| {
        let group = |name: &&str| json!({"apiGroup": GROUP, "kind": "Group", "name": name});
        let binding = json!({
            "metadata": metadata(role, None),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": groups.iter().map(group).collect::<Vec<_>>(),
        });
        object(Kind::CLUSTER_ROLE_BINDING, role, binding)
    });
    roles.chain(bindings).collect()
}

impl Role {
    fn value(&self) -> Value {
        let mut value = json!({"metadata": metadata(self.name, self.gathered_by)});
        if let Some(name) = self.gathers {
            let labels = json!({aggregate_to(name): "true"});
            value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        } else {
            value["rules"] = self.rules.iter().map(Rule::value).collect();
        }
        value
    }
}

impl Rule {
    fn value(&self) -> Value {
        let list = |text: &str| -> Value { text.split_whitespace().map(Value::from).collect() };
        match self {
            Rule::On(verbs, group, resources) => {
                let group = if *group == "core" { "" } else { group };
                json!({"verbs": list(verbs), "apiGroups": [group], "resources": list(resources)})
            }
            Rule::Path(verbs, paths) => json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}),
        }
    }
}

fn aggregate_to(name: &str) -> String {
    format!("{GROUP}/aggregate-to-{name}")
}

fn metadata(name: &str, gathered_by: Option<&str>) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if let Some(by) = gathered_by {
        labels[aggregate_to(by)] = "true".into();
    }
    json!({"name": name, "labels": labels, "annotations": {AUTO_UPDATE: "true"}})
}
