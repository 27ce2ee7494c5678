//! A pod's digest.

use std::{cell::LazyCell, collections::BTreeMap, ops::Deref, sync::Arc};

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{Affinity, Condition, PodAffinity, Selector, affinity, read};
use crate::{
    object::{Document, parse_time_ms},
    quantity,
};

/// What actors and the scheduler need of a pod. What it wants is read as if it stood here.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PodDigest {
    /// The node it is placed on.
    pub node: Option<CompactString>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: CompactString,
    /// Whether its Ready condition is True.
    pub ready: bool,
    /// Since when the Ready condition stands, Unix milliseconds.
    pub ready_since_ms: i64,
    /// The node where room is being made for it.
    pub nominated: Option<CompactString>,
    /// The reason of a PodScheduled condition that is False.
    pub unscheduled_reason: Option<String>,
    /// Its message.
    pub unscheduled_message: Option<String>,
    /// The sum of its containers' restarts, init containers among them.
    pub restarts: i64,
    wants: Arc<PodWants>,
}

/// What pods of one template have in common: what the spec says but for the node. Held once for all of them, where that is noticed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PodWants {
    /// Whether the spec could be read; one that cannot wants nothing.
    pub readable: bool,
    /// What it asks of a node: the larger of the sum of its containers and its largest init container, plus overhead.
    pub requests: Resources,
    /// The same of what only some nodes have; nothing for most pods.
    pub scalars: Scalars,
    /// Host ports it binds: (protocol, port).
    pub host_ports: Vec<(CompactString, u16)>,
    /// Node labels it insists on.
    pub node_selector: BTreeMap<CompactString, CompactString>,
    /// Node affinity.
    pub affinity: Affinity,
    /// Pod affinity and anti-affinity; none of it for most pods.
    pub pod_affinity: Option<Arc<PodAffinity>>,
    /// The claims of its volumes, those among them that are made for it.
    pub claims: Vec<CompactString>,
    /// The claims that are made for it, from the templates of its volumes; none for most pods.
    pub own_claims: Vec<CompactString>,
    /// Taints it bears.
    pub tolerations: Vec<Toleration>,
    /// How it wants to be spread.
    pub spread: Vec<SpreadConstraint>,
    /// Its spread or affinity is about pods with the same labels as its own, of some keys.
    pub follows_own_labels: bool,
    /// Its priority.
    pub priority: i32,
    /// Whether pods of lower priority may be sent away for it.
    pub preempts: bool,
    /// `default-scheduler` unless somebody else places it.
    pub scheduler: CompactString,
    /// Held back from scheduling by gates.
    pub gated: bool,
    /// `Always`, `OnFailure`, `Never`.
    pub restart_policy: CompactString,
    /// The grace period that its spec gives it, seconds.
    pub grace_s: i64,
}

impl Deref for PodDigest {
    type Target = PodWants;

    fn deref(&self) -> &PodWants {
        &self.wants
    }
}

impl From<PodWants> for PodDigest {
    fn from(wants: PodWants) -> PodDigest {
        PodDigest { wants: Arc::new(wants), ..PodDigest::default() }
    }
}

/// Amounts of what a node has and a pod asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
}

/// Amounts of what only some nodes have, by name and none of them zero: extended resources (`nvidia.com/gpu`), huge pages, attachable
/// volumes.
pub type Scalars = BTreeMap<CompactString, i64>;

/// One toleration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Empty: every key.
    pub key: Option<CompactString>,
    /// `Equal` (default) or `Exists`.
    pub operator: Option<CompactString>,
    /// The value for `Equal`.
    pub value: Option<CompactString>,
    /// Empty: every effect.
    pub effect: Option<CompactString>,
    /// For NoExecute: how long it is borne.
    pub toleration_seconds: Option<i64>,
}

/// One topology spread constraint.
#[derive(Clone, PartialEq, Debug)]
pub struct SpreadConstraint {
    /// Largest allowed difference of matching pods between domains.
    pub max_skew: i64,
    /// The node label whose values are the domains.
    pub topology_key: CompactString,
    /// `DoNotSchedule`: a hard rule; else a preference.
    pub hard: bool,
    /// Which pods of the namespace are counted.
    pub selector: Selector,
    /// Fewer domains than this count as an empty one.
    pub min_domains: Option<i64>,
    /// `nodeAffinityPolicy: Ignore`: nodes count even where selector and affinity keep the pod away.
    pub ignores_affinity: bool,
    /// `nodeTaintsPolicy: Honor`: nodes count only if the pod bears their taints.
    pub honors_taints: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<CompactString>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: BTreeMap<CompactString, Value>,
    node_selector: BTreeMap<CompactString, CompactString>,
    affinity: Option<affinity::Raw>,
    tolerations: Vec<Toleration>,
    topology_spread_constraints: Vec<RawSpread>,
    volumes: Vec<Volume>,
    priority: Option<i32>,
    preemption_policy: Option<CompactString>,
    scheduler_name: Option<CompactString>,
    scheduling_gates: Vec<Value>,
    restart_policy: Option<CompactString>,
    termination_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: CompactString,
    persistent_volume_claim: Option<Claim>,
    ephemeral: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Claim {
    claim_name: CompactString,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    resources: ContainerResources,
    ports: Vec<Port>,
    restart_policy: Option<CompactString>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerResources {
    requests: BTreeMap<CompactString, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    host_port: Option<u16>,
    protocol: Option<CompactString>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSpread {
    max_skew: i64,
    topology_key: CompactString,
    when_unsatisfiable: CompactString,
    label_selector: Option<Value>,
    match_label_keys: Vec<CompactString>,
    min_domains: Option<i64>,
    node_affinity_policy: Option<CompactString>,
    node_taints_policy: Option<CompactString>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<CompactString>,
    nominated_node_name: Option<CompactString>,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    restart_count: i64,
}

/// What is larger counts as this: no machine has so much (8 PiB), and the sum over a thousand pods of a node still fits, so that what is
/// added to it can be taken from it again.
const LARGEST: i64 = i64::MAX >> 10;

impl Resources {
    /// Reads a resource list (`{"cpu": "100m"}`); no amount is beyond the largest that is told apart.
    pub fn of(list: &BTreeMap<CompactString, Value>) -> Resources {
        let milli = |name: &str| list.get(name).and_then(quantity::wide_of).unwrap_or(0);
        let read = Resources {
            cpu_milli: narrow(milli("cpu")),
            memory: narrow(whole(milli("memory"))),
            ephemeral_storage: narrow(whole(milli("ephemeral-storage"))),
        };
        read.bounded()
    }

    /// The same, none of it beyond [`LARGEST`].
    fn bounded(self) -> Resources {
        let bounded = |amount: i64| amount.clamp(-LARGEST, LARGEST);
        Resources {
            cpu_milli: bounded(self.cpu_milli),
            memory: bounded(self.memory),
            ephemeral_storage: bounded(self.ephemeral_storage),
        }
    }

    /// The sum, saturating.
    pub fn plus(self, other: Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: self.memory.saturating_add(other.memory),
            ephemeral_storage: self.ephemeral_storage.saturating_add(other.ephemeral_storage),
        }
    }

    /// The difference, saturating.
    pub fn minus(self, other: Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
            ephemeral_storage: self.ephemeral_storage.saturating_sub(other.ephemeral_storage),
        }
    }

    /// Whether so much is free; what is not asked for is never missing, even where more is given than there is.
    pub fn fits_in(self, free: Resources) -> bool {
        let enough = |wanted: i64, free: i64| wanted <= 0 || wanted <= free;
        enough(self.cpu_milli, free.cpu_milli)
            && enough(self.memory, free.memory)
            && enough(self.ephemeral_storage, free.ephemeral_storage)
    }

    /// The larger of each.
    pub fn max(self, other: Resources) -> Resources {
        Resources {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory: self.memory.max(other.memory),
            ephemeral_storage: self.ephemeral_storage.max(other.ephemeral_storage),
        }
    }
}

/// Thousandths as whole ones, rounded up.
fn whole(milli: i128) -> i128 {
    milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) > 0)
}

fn narrow(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Reads what a resource list (`{"nvidia.com/gpu": "1"}`) has of scalar resources.
pub fn scalars_of(list: &BTreeMap<CompactString, Value>) -> Scalars {
    let scalars = list.iter().filter(|(name, _)| is_scalar(name));
    let read = |(name, amount): (&CompactString, &Value)| {
        let amount = narrow(whole(quantity::wide_of(amount)?)).min(LARGEST);
        (amount > 0).then(|| (name.clone(), amount))
    };
    scalars.filter_map(read).collect()
}

/// Whether a resource is one that the scheduler counts by its name alone. What has neither a domain nor one of the names that
/// Kubernetes knows is none.
fn is_scalar(name: &str) -> bool {
    (name.contains('/') && !name.starts_with("requests."))
        || name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
}

/// What a pod asks for of them, as [`PodDigest::requests`].
fn scalars_of_pod(
    containers: &[Container],
    sidecars: &[Container],
    inits: &[Container],
    overhead: &BTreeMap<CompactString, Value>,
) -> Scalars {
    let of = |container: &Container| scalars_of(&container.resources.requests);
    let mut beside = Scalars::new();
    sidecars.iter().for_each(|sidecar| add_scalars(&mut beside, &of(sidecar)));
    let mut all = beside.clone();
    containers.iter().for_each(|container| add_scalars(&mut all, &of(container)));
    for init in inits {
        let mut step = of(init);
        if step.is_empty() {
            continue;
        }
        add_scalars(&mut step, &beside);
        for (name, amount) in step {
            let most = all.entry(name).or_default();
            *most = amount.max(*most);
        }
    }
    add_scalars(&mut all, &scalars_of(overhead));
    all.values_mut().for_each(|amount| *amount = (*amount).min(LARGEST));
    all
}

/// Adds amounts to others.
pub fn add_scalars(to: &mut Scalars, more: &Scalars) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

/// Takes away amounts that were added.
pub fn take_scalars(from: &mut Scalars, less: &Scalars) {
    for (name, amount) in less {
        if let Some(sum) = from.get_mut(name) {
            *sum -= amount;
            if *sum <= 0 {
                from.remove(name);
            }
        }
    }
}

/// The name of the claim that is made for a pod from the template of one of its volumes.
pub fn own_claim(pod: &str, volume: &str) -> CompactString {
    format_compact!("{pod}-{volume}")
}

impl PodDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> PodDigest {
        let spec: Option<Spec> = serde_json::from_slice(&document.spec).ok();
        let readable = spec.is_some();
        let spec = spec.unwrap_or_default();
        let sum = |containers: &[Container]| {
            containers
                .iter()
                .fold(Resources::default(), |sum, c| sum.plus(Resources::of(&c.resources.requests)))
        };
        // Restartable init containers (sidecars) run beside the others; the rest run one by one before them.
        let (sidecars, inits): (Vec<Container>, Vec<Container>) =
            spec.init_containers.into_iter().partition(|c| c.restart_policy.as_deref() == Some("Always"));
        let running = sum(&spec.containers).plus(sum(&sidecars));
        let largest_init =
            inits.iter().fold(Resources::default(), |max, c| max.max(Resources::of(&c.resources.requests)));
        let requests =
            running.max(largest_init.plus(sum(&sidecars))).plus(Resources::of(&spec.overhead)).bounded();
        let scalars = scalars_of_pod(&spec.containers, &sidecars, &inits, &spec.overhead);
        let host_ports = spec
            .containers
            .iter()
            .chain(&sidecars)
            .flat_map(|c| &c.ports)
            .filter_map(|p| {
                Some((p.protocol.clone().unwrap_or("TCP".into()), p.host_port.filter(|p| *p != 0)?))
            })
            .collect();
        // Its own namespace is what its terms are about unless they say otherwise, and its labels if they ask for that; the rest of the
        // metadata is no part of the digest.
        let own = LazyCell::new(|| read::<affinity::Own>(&document.metadata));
        let affinity = spec.affinity.unwrap_or_default();
        let pod_affinity = affinity.pods(|| &*own);
        let keys = spec.topology_spread_constraints.iter().map(|c| c.match_label_keys.len());
        let follows_own_labels = keys.sum::<usize>() > 0 || affinity.follows_own_labels();
        let own_claims: Vec<CompactString> = spec
            .volumes
            .iter()
            .filter(|volume| volume.ephemeral.is_some())
            .map(|volume| own_claim(&own.name, &volume.name))
            .collect();
        let named = spec.volumes.into_iter().filter_map(|v| Some(v.persistent_volume_claim?.claim_name));
        let wants = PodWants {
            readable,
            requests,
            scalars,
            host_ports,
            node_selector: spec.node_selector,
            affinity: affinity.node(),
            pod_affinity,
            claims: named.chain(own_claims.iter().cloned()).collect(),
            own_claims,
            tolerations: spec.tolerations,
            spread: spec
                .topology_spread_constraints
                .into_iter()
                .map(|c| SpreadConstraint {
                    max_skew: c.max_skew.max(1),
                    topology_key: c.topology_key,
                    hard: c.when_unsatisfiable != "ScheduleAnyway",
                    selector: match &c.label_selector {
                        Some(selector) if c.match_label_keys.is_empty() => Selector::of(selector),
                        Some(selector) => {
                            Selector::of(selector).and_own(&c.match_label_keys, &[], &own.labels)
                        }
                        None => Selector::nothing(),
                    },
                    min_domains: c.min_domains,
                    ignores_affinity: c.node_affinity_policy.as_deref() == Some("Ignore"),
                    honors_taints: c.node_taints_policy.as_deref() == Some("Honor"),
                })
                .collect(),
            follows_own_labels,
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            scheduler: spec.scheduler_name.unwrap_or("default-scheduler".into()),
            gated: !spec.scheduling_gates.is_empty(),
            restart_policy: spec.restart_policy.unwrap_or("Always".into()),
            grace_s: spec.termination_grace_period_seconds.unwrap_or(30),
        };
        let node = spec.node_name.filter(|n| !n.is_empty());
        let mut digest = PodDigest { node, ..wants.into() };
        digest.set_status(&document.status);
        digest
    }

    /// That of a pod that got a node, and wants what it wanted.
    pub(super) fn placed(&self, node: CompactString, status: &[u8]) -> PodDigest {
        let mut digest = PodDigest { node: Some(node), ..self.clone() };
        digest.set_status(status);
        digest
    }

    /// Has it bear more.
    pub(super) fn bear(&mut self, more: impl IntoIterator<Item = Toleration>) {
        Arc::make_mut(&mut self.wants).tolerations.extend(more);
    }

    /// What it may have in common with others.
    pub(crate) fn wants(&self) -> &Arc<PodWants> {
        &self.wants
    }

    /// Holds what it wants where others hold it, if it is the same.
    pub(crate) fn share(&mut self, wants: &Arc<PodWants>) {
        if !Arc::ptr_eq(&self.wants, wants) && self.wants == *wants {
            self.wants = wants.clone();
        }
    }

    /// What the status says; the rest comes from the spec.
    pub(super) fn set_status(&mut self, segment: &[u8]) {
        let status: Status = read(segment);
        let ready = status.conditions.iter().find(|c| c.r#type == "Ready");
        let scheduled = status.conditions.iter().find(|c| c.r#type == "PodScheduled" && c.status == "False");
        let since = ready.and_then(|c| c.last_transition_time.as_deref()).and_then(parse_time_ms);
        self.nominated = status.nominated_node_name.filter(|name| !name.is_empty());
        self.phase = status.phase.unwrap_or("Pending".into());
        self.ready = ready.is_some_and(|c| c.status == "True");
        self.ready_since_ms = since.unwrap_or(0);
        self.unscheduled_reason = scheduled.and_then(|c| c.reason.clone());
        self.unscheduled_message = scheduled.and_then(|c| c.message.clone());
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses);
        self.restarts = containers.map(|c| c.restart_count).sum();
    }

    /// Whether it has ended for good.
    pub fn terminal(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }

    /// Whether it must be near other pods.
    pub fn wants_others(&self) -> bool {
        self.pod_affinity.as_ref().is_some_and(|affinity| !affinity.required.is_empty())
    }

    /// Whether it is ready for at least this long at that time.
    pub fn available(&self, min_ready_s: i64, now_ms: i64) -> bool {
        self.ready && (min_ready_s == 0 || self.ready_since_ms + min_ready_s * 1000 <= now_ms)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalar_resources_are_those_that_kubernetes_counts_by_name() {
        let container = |amounts: Value| json!({"resources": {"requests": amounts}});
        let pod = PodDigest::of(&Document::from_value(json!({"spec": {
            "containers": [
                container(json!({"nvidia.com/gpu": "1", "cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"})),
                container(json!({"nvidia.com/gpu": 1, "hugepages-2Mi": "4Mi", "example.com/none": "0"})),
            ],
            "initContainers": [
                container(json!({"nvidia.com/gpu": "4", "example.com/once": "1500m"})),
                {"restartPolicy": "Always", "resources": {"requests": {"nvidia.com/gpu": "1"}}},
            ],
            "overhead": {"example.com/over": "9e99", "pods": "1", "requests.example.com/no": "1"},
        }})));
        let expected = [
            ("example.com/once", 2),
            ("example.com/over", LARGEST),
            ("hugepages-2Mi", 4 << 20),
            ("nvidia.com/gpu", 5),
        ];
        assert_eq!(pod.scalars, expected.map(|(name, amount)| (name.into(), amount)).into());
    }

    #[test]
    fn what_is_taken_away_leaves_nothing_behind() {
        let of =
            |amounts: &[(&str, i64)]| -> Scalars { amounts.iter().map(|(n, a)| ((*n).into(), *a)).collect() };
        let mut sum = Scalars::new();
        add_scalars(&mut sum, &of(&[("a/b", 2), ("c/d", 1)]));
        add_scalars(&mut sum, &of(&[("a/b", 1)]));
        take_scalars(&mut sum, &of(&[("a/b", 2), ("c/d", 1)]));
        assert_eq!(sum, of(&[("a/b", 1)]));
    }
}
