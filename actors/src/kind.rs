//! The table of kinds. A passive kind (stored, listed, watched, nothing more) is one line here; a kind with an actor
//! names its `reconcile` besides. Codes stand in stored keys and log entries: never change or reuse one.
//!
//! Kinds that users define are not in the table: each is its own name (see [`custom`]).

mod custom;

pub use custom::Custom;

use crate::{kinds, object::Object, turn::Turn};

/// A kind of object: the stable code of a line of the table, or the name of a custom kind. There is none for a code that is not in the
/// table: what names one cannot be decoded, so that a build never takes part in a cluster that it does not understand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Id);

/// Built-in kinds come first, in order of their codes; then the custom ones, in order of their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    BuiltIn(u16),
    Custom(Custom),
}

/// A code that is not in this build's table: the state was written by a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kind {0} is unknown here: this controller is older than the state it was given: upgrade it")]
pub struct UnknownKind(pub u16);

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
    /// API version within the group. Empty for custom kinds: their definition says in which they are served.
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
    /// Whether `metadata.generation` counts the changes of what its objects ask for.
    pub generation: bool,
    /// The actor's reaction; none for passive kinds.
    pub reconcile: Option<Reconcile>,
}

const NONE: &[&str] = &[];
const ALL: &[&str] = &["all"];
const API: &[&str] = &["api-extensions"];

macro_rules! kinds {
    ($( $constant:ident = $code:literal, $group:literal, $version:literal, $kind:literal, $plural:literal,
        $singular:literal, $short:expr, $scope:ident, $categories:expr, $counted:ident, $reconcile:expr; )*) => {
        #[allow(missing_docs, reason = "each constant is the kind of its name")]
        impl Kind { $( pub const $constant: Kind = Kind(Id::BuiltIn($code)); )* }

        const TABLE: &[KindInfo] = &[ $( KindInfo {
            code: $code, group: $group, version: $version, kind: $kind, plural: $plural, singular: $singular,
            short_names: $short, namespaced: scope!($scope), categories: $categories, generation: counted!($counted),
            reconcile: $reconcile,
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

macro_rules! counted {
    (Counted) => {
        true
    };
    (Uncounted) => {
        false
    };
}

#[rustfmt::skip]
kinds! {
    NAMESPACE       = 1,  "", "v1", "Namespace", "namespaces", "namespace", &["ns"], Cluster, NONE, Uncounted, Some(kinds::namespace::reconcile);
    NODE            = 2,  "", "v1", "Node", "nodes", "node", &["no"], Cluster, NONE, Uncounted, Some(kinds::node::reconcile);
    POD             = 3,  "", "v1", "Pod", "pods", "pod", &["po"], Namespaced, ALL, Counted, Some(kinds::pod::reconcile);
    EVENT           = 4,  "", "v1", "Event", "events", "event", &["ev"], Namespaced, NONE, Uncounted, Some(kinds::event::reconcile);
    CONFIG_MAP      = 5,  "", "v1", "ConfigMap", "configmaps", "configmap", &["cm"], Namespaced, NONE, Uncounted, None;
    SECRET          = 6,  "", "v1", "Secret", "secrets", "secret", NONE, Namespaced, NONE, Uncounted, None;
    SERVICE_ACCOUNT = 7,  "", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"], Namespaced, NONE, Uncounted, None;
    SERVICE         = 8,  "", "v1", "Service", "services", "service", &["svc"], Namespaced, ALL, Uncounted, None;
    ENDPOINTS       = 9,  "", "v1", "Endpoints", "endpoints", "endpoints", &["ep"], Namespaced, NONE, Uncounted, Some(kinds::endpoints::reconcile);
    LIMIT_RANGE     = 10, "", "v1", "LimitRange", "limitranges", "limitrange", &["limits"], Namespaced, NONE, Uncounted, None;
    RESOURCE_QUOTA  = 11, "", "v1", "ResourceQuota", "resourcequotas", "resourcequota", &["quota"], Namespaced, NONE, Uncounted, Some(kinds::resource_quota::reconcile);
    PERSISTENT_VOLUME = 12, "", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", &["pv"], Cluster, NONE, Uncounted, Some(kinds::storage::volume::reconcile);
    PERSISTENT_VOLUME_CLAIM = 13, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", &["pvc"], Namespaced, NONE, Uncounted, Some(kinds::storage::claim::reconcile);
    POD_TEMPLATE    = 14, "", "v1", "PodTemplate", "podtemplates", "podtemplate", NONE, Namespaced, NONE, Uncounted, None;
    REPLICATION_CONTROLLER = 15, "", "v1", "ReplicationController", "replicationcontrollers", "replicationcontroller", &["rc"], Namespaced, ALL, Counted, Some(kinds::replica_set::reconcile);
    DEPLOYMENT      = 20, "apps", "v1", "Deployment", "deployments", "deployment", &["deploy"], Namespaced, ALL, Counted, Some(kinds::deployment::reconcile);
    REPLICA_SET     = 21, "apps", "v1", "ReplicaSet", "replicasets", "replicaset", &["rs"], Namespaced, ALL, Counted, Some(kinds::replica_set::reconcile);
    CONTROLLER_REVISION = 22, "apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision", NONE, Namespaced, NONE, Uncounted, None;
    STATEFUL_SET    = 23, "apps", "v1", "StatefulSet", "statefulsets", "statefulset", &["sts"], Namespaced, ALL, Counted, Some(kinds::stateful_set::reconcile);
    DAEMON_SET      = 24, "apps", "v1", "DaemonSet", "daemonsets", "daemonset", &["ds"], Namespaced, ALL, Counted, Some(kinds::daemon_set::reconcile);
    JOB             = 25, "batch", "v1", "Job", "jobs", "job", NONE, Namespaced, ALL, Counted, Some(kinds::job::reconcile);
    CRON_JOB        = 26, "batch", "v1", "CronJob", "cronjobs", "cronjob", &["cj"], Namespaced, ALL, Counted, Some(kinds::cron_job::reconcile);
    HORIZONTAL_POD_AUTOSCALER = 27, "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler", &["hpa"], Namespaced, ALL, Uncounted, None;
    LEASE           = 30, "coordination.k8s.io", "v1", "Lease", "leases", "lease", NONE, Namespaced, NONE, Uncounted, None;
    ENDPOINT_SLICE  = 31, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", NONE, Namespaced, NONE, Counted, None;
    PRIORITY_CLASS  = 32, "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "priorityclass", &["pc"], Cluster, NONE, Uncounted, None;
    RUNTIME_CLASS   = 33, "node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "runtimeclass", NONE, Cluster, NONE, Uncounted, None;
    STORAGE_CLASS   = 34, "storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass", &["sc"], Cluster, NONE, Uncounted, None;
    INGRESS         = 35, "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", &["ing"], Namespaced, NONE, Counted, None;
    NETWORK_POLICY  = 36, "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", &["netpol"], Namespaced, NONE, Counted, None;
    INGRESS_CLASS   = 37, "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", NONE, Cluster, NONE, Counted, None;
    SERVICE_CIDR    = 38, "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", "servicecidr", NONE, Cluster, NONE, Uncounted, Some(kinds::service_cidr::reconcile);
    IP_ADDRESS      = 39, "networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ipaddress", &["ip"], Cluster, NONE, Uncounted, None;
    POD_DISRUPTION_BUDGET = 40, "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", &["pdb"], Namespaced, NONE, Counted, Some(kinds::disruption_budget::reconcile);
    ROLE            = 41, "rbac.authorization.k8s.io", "v1", "Role", "roles", "role", NONE, Namespaced, NONE, Uncounted, None;
    CLUSTER_ROLE    = 42, "rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "clusterrole", NONE, Cluster, NONE, Uncounted, Some(kinds::cluster_role::reconcile);
    ROLE_BINDING    = 43, "rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "rolebinding", NONE, Namespaced, NONE, Uncounted, None;
    CLUSTER_ROLE_BINDING = 44, "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", NONE, Cluster, NONE, Uncounted, None;
    VOLUME_ATTACHMENT = 45, "storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", "volumeattachment", NONE, Cluster, NONE, Uncounted, None;
    CSI_DRIVER      = 46, "storage.k8s.io", "v1", "CSIDriver", "csidrivers", "csidriver", NONE, Cluster, NONE, Uncounted, None;
    CSI_NODE        = 47, "storage.k8s.io", "v1", "CSINode", "csinodes", "csinode", NONE, Cluster, NONE, Uncounted, None;
    CSI_STORAGE_CAPACITY = 48, "storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity", NONE, Namespaced, NONE, Uncounted, None;
    CERTIFICATE_SIGNING_REQUEST = 49, "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", "certificatesigningrequest", &["csr"], Cluster, NONE, Uncounted, None;
    API_SERVICE     = 50, "apiregistration.k8s.io", "v1", "APIService", "apiservices", "apiservice", NONE, Cluster, API, Uncounted, None;
    MUTATING_WEBHOOK_CONFIGURATION = 51, "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", NONE, Cluster, API, Counted, None;
    VALIDATING_WEBHOOK_CONFIGURATION = 52, "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration", NONE, Cluster, API, Counted, None;
    VALIDATING_ADMISSION_POLICY = 53, "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy", NONE, Cluster, API, Counted, Some(kinds::admission_policy::reconcile);
    VALIDATING_ADMISSION_POLICY_BINDING = 54, "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", NONE, Cluster, API, Counted, None;
    CUSTOM_RESOURCE_DEFINITION = 55, "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "customresourcedefinition", &["crd", "crds"], Cluster, API, Counted, Some(kinds::definition::reconcile);
    FLOW_SCHEMA     = 60, "flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", "flowschema", NONE, Cluster, NONE, Counted, Some(kinds::flow_schema::reconcile);
    PRIORITY_LEVEL_CONFIGURATION = 61, "flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", "prioritylevelconfiguration", NONE, Cluster, NONE, Counted, None;
}

/// Kinds that the API does not have: nobody reads, writes or watches their objects but turns, and the leader for them. They are stored as all
/// others are.
const INTERNAL: &[KindInfo] = &[
    internal(70, "PodCandidate", "podcandidates", "podcandidate"),
    internal(71, "Candidate", "candidates", "candidate"),
    internal(72, "AutoscalerHistory", "autoscalerhistories", "autoscalerhistory"),
];

const fn internal(code: u16, kind: &'static str, plural: &'static str, singular: &'static str) -> KindInfo {
    KindInfo {
        code,
        group: "",
        version: "",
        kind,
        plural,
        singular,
        short_names: NONE,
        namespaced: true,
        categories: NONE,
        generation: false,
        reconcile: None,
    }
}

impl Kind {
    /// A pod that an actor wants and that is not admitted yet: see [`crate::candidates`].
    pub const POD_CANDIDATE: Kind = Kind(Id::BuiltIn(70));
    /// The same of anything else that actors want.
    pub const CANDIDATE: Kind = Kind(Id::BuiltIn(71));
    /// What an autoscaler asked for and did: see [`crate::kinds::autoscaler`].
    pub const AUTOSCALER_HISTORY: Kind = Kind(Id::BuiltIn(72));

    /// Whether the API does not have it.
    pub fn is_internal(self) -> bool {
        Kind::internal().any(|kind| kind == self)
    }
}

/// Groups and versions in which built-in kinds are served besides those of their lines, by conversions at the API's edge. Objects are stored
/// in one form whatever their clients use; references from object to object may name them in any.
pub const ALSO: &[(Kind, &str, &str)] =
    &[(Kind::EVENT, "events.k8s.io", "v1"), (Kind::HORIZONTAL_POD_AUTOSCALER, "autoscaling", "v1")];

/// Every kind that the API has, in the order of the table.
pub static KINDS: &[KindInfo] = TABLE;

/// One more than the largest code.
const CODES: usize = {
    let (mut most, mut of) = (0, 0);
    while of < TABLES.len() {
        let mut at = 0;
        while at < TABLES[of].len() {
            if TABLES[of][at].code > most {
                most = TABLES[of][at].code;
            }
            at += 1;
        }
        of += 1;
    }
    most as usize + 1
};

/// All that have a code.
const TABLES: [&[KindInfo]; 2] = [TABLE, INTERNAL];

/// Every kind has its level, or it would stop the controllers that do not know it: see [`crate::level`].
const _: () = {
    let mut of = 0;
    while of < TABLES.len() {
        let mut at = 0;
        while at < TABLES[of].len() {
            assert!(
                crate::level::of_code(TABLES[of][at].code).is_some(),
                "a kind without a level: see level.rs"
            );
            at += 1;
        }
        of += 1;
    }
};

/// Where the line of a code stands in the table.
static LINES: [Option<&KindInfo>; CODES] = {
    let (mut lines, mut of) = ([None; CODES], 0);
    while of < TABLES.len() {
        let mut at = 0;
        while at < TABLES[of].len() {
            lines[TABLES[of][at].code as usize] = Some(&TABLES[of][at]);
            at += 1;
        }
        of += 1;
    }
    lines
};

impl Kind {
    /// The built-in kind of a stored code; none for a code of a newer version.
    pub fn from_code(code: u16) -> Option<Kind> {
        LINES.get(usize::from(code)).copied().flatten().map(|info| Kind(Id::BuiltIn(info.code)))
    }

    /// Every built-in kind that the API has, in the order of the table.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|info| Kind(Id::BuiltIn(info.code)))
    }

    /// The kinds that it does not have.
    pub fn internal() -> impl Iterator<Item = Kind> {
        INTERNAL.iter().map(|info| Kind(Id::BuiltIn(info.code)))
    }

    /// The kind that a definition defines.
    pub fn custom(group: &str, plural: &str, kind: &str, namespaced: bool) -> Kind {
        Kind(Id::Custom(Custom::new(group, plural, kind, namespaced)))
    }

    /// Whether a definition defines it.
    pub fn is_custom(self) -> bool {
        matches!(self.0, Id::Custom(_))
    }

    /// Finds a built-in kind by its URL: group, version and resource.
    pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<Kind> {
        KINDS
            .iter()
            .find(|info| info.group == group && info.version == version && info.plural == plural)
            .map(|info| Kind(Id::BuiltIn(info.code)))
    }

    /// Finds a built-in kind by the `apiVersion` and `kind` of a document, in any form that it is served in.
    pub fn by_name(api_version: &str, kind: &str) -> Option<Kind> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let line =
            KINDS.iter().find(|info| info.group == group && info.version == version && info.kind == kind);
        line.map(|info| Kind(Id::BuiltIn(info.code))).or_else(|| {
            let also =
                |(of, g, v): &&(Kind, &str, &str)| *g == group && *v == version && of.info().kind == kind;
            ALSO.iter().find(also).map(|(kind, ..)| *kind)
        })
    }

    /// Its code; all custom kinds have one in common.
    pub fn code(self) -> u16 {
        match self.0 {
            Id::BuiltIn(code) => code,
            Id::Custom(_) => custom::CODE,
        }
    }

    /// Its line of the table, or what stands for one.
    pub fn info(self) -> &'static KindInfo {
        match self.0 {
            Id::BuiltIn(code) => LINES[usize::from(code)].expect("a Kind is only made from the table"),
            Id::Custom(custom) => custom.info(),
        }
    }

    /// `v1`, `apps/v1`: of built-in kinds.
    pub fn api_version(self) -> String {
        self.api_version_in(self.info().version)
    }

    /// `apps/v1`, from a version: custom kinds are served in any number of them.
    pub fn api_version_in(self, version: &str) -> String {
        let group = self.info().group;
        if group.is_empty() { version.to_string() } else { format!("{group}/{version}") }
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
    use crate::{codec, object::ObjectKey};

    #[test]
    fn codes_and_names_are_unique() {
        let all: Vec<&KindInfo> = KINDS.iter().chain(INTERNAL).collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a.code, b.code, "{} and {}", a.kind, b.kind);
                assert_ne!((a.group, a.plural), (b.group, b.plural));
            }
        }
    }

    #[test]
    fn a_code_leads_to_its_line() {
        for info in KINDS.iter().chain(INTERNAL) {
            let kind = Kind::from_code(info.code).unwrap();
            assert_eq!(kind.info().kind, info.kind);
        }
        let internal: Vec<&str> = Kind::internal().map(|kind| kind.info().kind).collect();
        let kinds = [Kind::POD_CANDIDATE, Kind::CANDIDATE, Kind::AUTOSCALER_HISTORY];
        assert_eq!(internal, kinds.map(|kind| kind.info().kind));
        assert!(Kind::AUTOSCALER_HISTORY.is_internal() && !Kind::POD.is_internal());
        assert_eq!(Kind::all().count(), KINDS.len());
        for code in [0, CODES as u16, custom::CODE] {
            assert_eq!(Kind::from_code(code), None, "{code}");
        }
    }

    /// By no URL and no document does anybody get to what is only the turns' business.
    #[test]
    fn the_api_has_no_internal_kind() {
        for kind in Kind::internal() {
            let info = kind.info();
            assert!(Kind::all().all(|other| other != kind));
            for version in ["", "v1"] {
                assert_eq!(Kind::by_resource(info.group, version, info.plural), None);
                assert_eq!(Kind::by_name(version, info.kind), None);
            }
        }
    }

    #[test]
    fn what_names_an_unknown_kind_is_refused_in_words() {
        // As the derived form of a newer build has it.
        let newer = codec::encode(&(u16::MAX - 1, "default", "x")).unwrap();
        let error = codec::decode::<ObjectKey>(&newer).unwrap_err().to_string();
        assert!(error.contains("kind 65534 is unknown here"), "{error}");
        assert!(
            error.contains("this controller is older than the state it was given: upgrade it"),
            "{error}"
        );
        let known = codec::encode(&(Kind::POD.code(), "default", "x")).unwrap();
        assert_eq!(codec::decode(&known), Ok(ObjectKey::new(Kind::POD, "default", "x")));
    }
}
