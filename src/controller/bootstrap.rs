//! The objects that every cluster begins with. Put at each new term, if they are missing; default roles and bindings are completed.

use kontiki_actors::{
    Document, Kind, ObjectKey, flow,
    kinds::{service_cidr, storage},
    rbac,
};
use serde_json::{Value, json};

/// The namespaces that clients expect.
const NAMESPACES: [&str; 4] = ["kube-system", "default", "kube-public", "kube-node-lease"];

/// The first objects: the authority's certificate before the namespaces, which hand it on.
pub(super) fn objects(ca_pem: &str) -> Vec<(ObjectKey, Document)> {
    let mut objects = Vec::new();
    let mut add = |kind: Kind, namespace: &str, name: &str, mut value: Value| {
        value["metadata"]["name"] = name.into();
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = namespace.into();
        }
        objects.push((ObjectKey::new(kind, namespace, name), Document::from_value(value)));
    };
    add(Kind::CONFIG_MAP, "kube-system", "kube-root-ca.crt", json!({"data": {"ca.crt": ca_pem}}));
    for name in NAMESPACES {
        let namespace = json!({
            "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        add(Kind::NAMESPACE, "", name, namespace);
    }
    let service = json!({
        "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]},
        "status": {"loadBalancer": {}},
    });
    add(Kind::SERVICE, "default", "kubernetes", service);
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class =
            json!({"value": value, "preemptionPolicy": "PreemptLowerPriority", "globalDefault": false});
        add(Kind::PRIORITY_CLASS, "", name, class);
    }
    add(Kind::RUNTIME_CLASS, "", "host", json!({"handler": "host"}));
    objects.push(storage::default_class());
    objects.push(service_cidr::default_range());
    objects.extend(rbac::defaults::objects());
    objects.extend(flow::defaults::objects());
    objects
}
