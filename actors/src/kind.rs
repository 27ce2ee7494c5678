//! The table of kinds. A passive kind (stored, listed, watched, nothing more) is one line here; a kind with an actor
//! names its `reconcile` besides. Codes stand in stored keys and log entries: never change or reuse one.

use serde::{Deserialize, Serialize};

use crate::{kinds, object::Object, turn::Turn};

/// A kind of object: the stable code of a line of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind(u16);

/// How an actor reacts: it looks at its object and at what it depends on, and brings the state nearer to what the
/// object asks for. Level-triggered, so a message that is repeated or merged with another does no harm.
pub type Reconcile = fn(&mut Turn, &Object);

/// One line of the table: what the Kubernetes API says of the kind, and its actor.
#[derive(Debug)]
pub struct KindInfo {
    /// Stable code.
    pub code: u16,
    /// API group, empty for core.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`, the resource in URLs.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// `po`.
    pub short_names: &'static [&'static str],
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// `all` for what `kubectl get all` shows.
    pub categories: &'static [&'static str],
    /// The actor's reaction; none for passive kinds.
    pub reconcile: Option<Reconcile>,
}

const NONE: &[&str] = &[];
const ALL: &[&str] = &["all"];

macro_rules! kinds {
    ($( $constant:ident = $code:literal, $group:literal, $version:literal, $kind:literal, $plural:literal,
        $singular:literal, $short:expr, $scope:ident, $categories:expr, $reconcile:expr; )*) => {
        #[allow(missing_docs, reason = "each constant is the kind of its name")]
        impl Kind { $( pub const $constant: Kind = Kind($code); )* }

        /// Every kind, in the order of the table.
        pub static KINDS: &[KindInfo] = &[ $( KindInfo {
            code: $code, group: $group, version: $version, kind: $kind, plural: $plural, singular: $singular,
            short_names: $short, namespaced: scope!($scope), categories: $categories, reconcile: $reconcile,
        }, )* ];
    };
}
macro_rules! scope {
    (Namespaced) => {
        true
    };
    (Cluster) => {
        false
    };
}

#[rustfmt::skip]
kinds! {
    NAMESPACE       = 1,  "", "v1", "Namespace", "namespaces", "namespace", &["ns"], Cluster, NONE, Some(kinds::namespace::reconcile);
    NODE            = 2,  "", "v1", "Node", "nodes", "node", &["no"], Cluster, NONE, Some(kinds::node::reconcile);
    POD             = 3,  "", "v1", "Pod", "pods", "pod", &["po"], Namespaced, ALL, Some(kinds::pod::reconcile);
    EVENT           = 4,  "", "v1", "Event", "events", "event", &["ev"], Namespaced, NONE, Some(kinds::event::reconcile);
    CONFIG_MAP      = 5,  "", "v1", "ConfigMap", "configmaps", "configmap", &["cm"], Namespaced, NONE, None;
    SECRET          = 6,  "", "v1", "Secret", "secrets", "secret", NONE, Namespaced, NONE, None;
    SERVICE_ACCOUNT = 7,  "", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"], Namespaced, NONE, None;
    SERVICE         = 8,  "", "v1", "Service", "services", "service", &["svc"], Namespaced, ALL, None;
    ENDPOINTS       = 9,  "", "v1", "Endpoints", "endpoints", "endpoints", &["ep"], Namespaced, NONE, None;
    LIMIT_RANGE     = 10, "", "v1", "LimitRange", "limitranges", "limitrange", &["limits"], Namespaced, NONE, None;
    RESOURCE_QUOTA  = 11, "", "v1", "ResourceQuota", "resourcequotas", "resourcequota", &["quota"], Namespaced, NONE, None;
    PERSISTENT_VOLUME = 12, "", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", &["pv"], Cluster, NONE, None;
    PERSISTENT_VOLUME_CLAIM = 13, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", &["pvc"], Namespaced, NONE, None;
    POD_TEMPLATE    = 14, "", "v1", "PodTemplate", "podtemplates", "podtemplate", NONE, Namespaced, NONE, None;
    DEPLOYMENT      = 20, "apps", "v1", "Deployment", "deployments", "deployment", &["deploy"], Namespaced, ALL, Some(kinds::deployment::reconcile);
    REPLICA_SET     = 21, "apps", "v1", "ReplicaSet", "replicasets", "replicaset", &["rs"], Namespaced, ALL, Some(kinds::replica_set::reconcile);
    CONTROLLER_REVISION = 22, "apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision", NONE, Namespaced, NONE, None;
    LEASE           = 30, "coordination.k8s.io", "v1", "Lease", "leases", "lease", NONE, Namespaced, NONE, None;
    ENDPOINT_SLICE  = 31, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", NONE, Namespaced, NONE, None;
    PRIORITY_CLASS  = 32, "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "priorityclass", &["pc"], Cluster, NONE, None;
    RUNTIME_CLASS   = 33, "node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "runtimeclass", NONE, Cluster, NONE, None;
    STORAGE_CLASS   = 34, "storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass", &["sc"], Cluster, NONE, None;
    INGRESS         = 35, "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", &["ing"], Namespaced, NONE, None;
    NETWORK_POLICY  = 36, "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", &["netpol"], Namespaced, NONE, None;
}

impl Kind {
    /// The kind of a stored code; none for a code of a newer version.
    pub fn from_code(code: u16) -> Option<Kind> {
        KINDS.iter().find(|info| info.code == code).map(|info| Kind(info.code))
    }

    /// Finds a kind by its URL: group, version and resource.
    pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<Kind> {
        KINDS
            .iter()
            .find(|info| info.group == group && info.version == version && info.plural == plural)
            .map(|info| Kind(info.code))
    }

    /// Finds a kind by the `apiVersion` and `kind` of a document.
    pub fn by_name(api_version: &str, kind: &str) -> Option<Kind> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        KINDS
            .iter()
            .find(|info| info.group == group && info.version == version && info.kind == kind)
            .map(|info| Kind(info.code))
    }

    /// Its code.
    pub fn code(self) -> u16 {
        self.0
    }

    /// Its line of the table.
    pub fn info(self) -> &'static KindInfo {
        KINDS.iter().find(|info| info.code == self.0).expect("a Kind is only made from the table")
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(self) -> String {
        let info = self.info();
        if info.group.is_empty() {
            info.version.to_string()
        } else {
            format!("{}/{}", info.group, info.version)
        }
    }

    /// `pods`, `deployments.apps`: as Kubernetes names a resource in messages.
    pub fn resource_name(self) -> String {
        let info = self.info();
        if info.group.is_empty() {
            info.plural.to_string()
        } else {
            format!("{}.{}", info.plural, info.group)
        }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.info().kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        for (i, a) in KINDS.iter().enumerate() {
            for b in &KINDS[i + 1..] {
                assert_ne!(a.code, b.code, "{} and {}", a.kind, b.kind);
                assert_ne!((a.group, a.plural), (b.group, b.plural));
            }
        }
    }
}
