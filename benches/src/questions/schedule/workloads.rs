//! kube-scheduler's own workloads, by name, shape and size: test/integration/scheduler_perf of Kubernetes. Their nodes have four cores,
//! 32 GiB and room for 110 pods; a pod asks for a tenth of a core and 500 MiB.

use serde_json::{Value, json};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Pods that ask for nothing but resources.
    Basic,
    /// Required spread over three zones.
    TopologySpreading,
    /// Preferred spread over three zones.
    PreferredTopologySpreading,
    /// Required node affinity.
    NodeAffinity,
    /// Required pod affinity: all pods in the zone of their like.
    PodAffinity,
    /// Required pod anti-affinity: one pod of a kind per node.
    PodAntiAffinity,
    /// Preferred pod affinity, by node.
    PreferredPodAffinity,
    /// Preferred pod anti-affinity, by node.
    PreferredPodAntiAffinity,
    /// While nodes, pods and Services come and go, one of each per second.
    MixedChurn,
    /// While five pods per second come that fit nowhere.
    Unschedulable,
    /// While five pods per second come for which others must leave.
    Preemption,
}

/// What a workload consists of.
pub(crate) struct Shape {
    /// Its name and size in scheduler_perf.
    pub(crate) title: &'static str,
    /// The zones that the nodes are in.
    pub(crate) zones: &'static str,
    /// So many pods are there already.
    pub(crate) before: usize,
    /// So many are measured.
    pub(crate) measured: usize,
    /// Placed pods per second below which Kubernetes' own test of it fails; none if it has no such test.
    pub(crate) floor: Option<u32>,
    /// Placed pods per second that Kontiki is to reach.
    pub(crate) goal: f64,
}

/// The namespaces of those that are there already and of those that are measured.
pub(crate) const NAMESPACES: [&str; 2] = ["sched-0", "sched-1"];

impl Workload {
    /// Its name on the command line and in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Basic => "schedule-basic",
            Workload::TopologySpreading => "schedule-spread",
            Workload::PreferredTopologySpreading => "schedule-preferred-spread",
            Workload::NodeAffinity => "schedule-node-affinity",
            Workload::PodAffinity => "schedule-affinity",
            Workload::PodAntiAffinity => "schedule-anti-affinity",
            Workload::PreferredPodAffinity => "schedule-preferred-affinity",
            Workload::PreferredPodAntiAffinity => "schedule-preferred-anti-affinity",
            Workload::MixedChurn => "schedule-churn",
            Workload::Unschedulable => "schedule-unschedulable",
            Workload::Preemption => "schedule-preemption",
        }
    }

    /// What it consists of.
    pub(crate) fn shape(self) -> Shape {
        let of = |title, zones, before, measured, floor, goal| Shape {
            title,
            zones,
            before,
            measured,
            floor,
            goal,
        };
        let (one, three) = ("zone1", "moon-1,moon-2,moon-3");
        match self {
            Workload::Basic => {
                of("SchedulingBasic 5000Nodes_10000Pods", one, 1000, 10_000, Some(680), 5000.0)
            }
            Workload::TopologySpreading => {
                of("TopologySpreading 5000Nodes_5000Pods", three, 5000, 5000, Some(460), 2000.0)
            }
            Workload::PreferredTopologySpreading => {
                of("PreferredTopologySpreading 5000Nodes_5000Pods", three, 5000, 5000, Some(340), 2000.0)
            }
            Workload::NodeAffinity => {
                of("SchedulingNodeAffinity 5000Nodes_10000Pods", one, 5000, 10_000, Some(220), 2000.0)
            }
            Workload::PodAffinity => {
                of("SchedulingPodAffinity 5000Nodes_5000Pods", one, 5000, 5000, Some(35), 1000.0)
            }
            Workload::PodAntiAffinity => {
                of("SchedulingPodAntiAffinity 5000Nodes_2000Pods", one, 1000, 2000, Some(60), 1000.0)
            }
            Workload::PreferredPodAffinity => {
                of("SchedulingPreferredPodAffinity 5000Nodes_5000Pods", one, 5000, 5000, Some(90), 1000.0)
            }
            Workload::PreferredPodAntiAffinity => {
                of("SchedulingPreferredPodAntiAffinity 5000Nodes_5000Pods", one, 5000, 5000, Some(90), 1000.0)
            }
            Workload::MixedChurn => {
                of("SchedulingWithMixedChurn 5000Nodes_10000Pods", one, 0, 10_000, Some(710), 2000.0)
            }
            Workload::Unschedulable => {
                of("Unschedulable 5kNodes/20kInitPods", one, 20_000, 10_000, Some(600), 2000.0)
            }
            Workload::Preemption => of("PreemptionAsync 5000Nodes", one, 20_000, 5000, Some(570), 1000.0),
        }
    }

    /// A pod that is there already.
    pub(crate) fn before(self, name: &str) -> Value {
        match self {
            Workload::PodAffinity
            | Workload::PodAntiAffinity
            | Workload::PreferredPodAffinity
            | Workload::PreferredPodAntiAffinity => self.measured(name),
            Workload::Preemption => pod(name, None, json!({}), "900m"),
            _ => pod(name, None, json!({}), "100m"),
        }
    }

    /// A pod that is measured.
    pub(crate) fn measured(self, name: &str) -> Value {
        let (color, spec) = match self {
            Workload::TopologySpreading => ("blue", spread("DoNotSchedule")),
            Workload::PreferredTopologySpreading => ("blue", spread("ScheduleAnyway")),
            Workload::NodeAffinity => ("", in_zones()),
            Workload::PodAffinity => ("blue", required("podAffinity", "blue", ZONE)),
            Workload::PodAntiAffinity => ("green", required("podAntiAffinity", "green", HOST)),
            Workload::PreferredPodAffinity => ("red", preferred("podAffinity", "red")),
            Workload::PreferredPodAntiAffinity => ("yellow", preferred("podAntiAffinity", "yellow")),
            Workload::Basic | Workload::MixedChurn | Workload::Unschedulable | Workload::Preemption => {
                ("", json!({}))
            }
        };
        pod(name, Some(color).filter(|color| !color.is_empty()), spec, "100m")
    }

    /// What comes meanwhile, and how many per second of it: a pod that fits nowhere, or one for which others must leave.
    pub(crate) fn meanwhile(self, name: &str) -> Option<(Value, u32)> {
        match self {
            Workload::Unschedulable => Some((pod(name, None, json!({}), "9"), 5)),
            Workload::MixedChurn => Some((pod(name, None, json!({}), "9"), 1)),
            Workload::Preemption => Some((pod(name, None, json!({"priorityClassName": URGENT}), "3"), 5)),
            _ => None,
        }
    }
}

/// The class of pods for which others must leave.
pub(crate) const URGENT: &str = "urgent";
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn pod(name: &str, color: Option<&str>, mut spec: Value, cpu: &str) -> Value {
    spec["containers"] = json!([{"name": "pause", "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}}}]);
    let labels = color.map_or(json!({}), |color| json!({"color": color}));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})
}

fn spread(otherwise: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": {"color": "blue"}}}]})
}

fn in_zones() -> Value {
    let zones = json!({"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]});
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zones]}}}})
}

fn term(color: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key, "namespaces": NAMESPACES})
}

fn required(which: &str, color: &str, key: &str) -> Value {
    json!({"affinity": {which: {"requiredDuringSchedulingIgnoredDuringExecution": [term(color, key)]}}})
}

fn preferred(which: &str, color: &str) -> Value {
    let wish = json!({"weight": 1, "podAffinityTerm": term(color, HOST)});
    json!({"affinity": {which: {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}})
}
