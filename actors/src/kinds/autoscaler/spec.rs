//! What an autoscaler's spec says, typed. It was validated when it was written; what cannot be read all the same counts as absent.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use crate::object::Object;

/// An autoscaler's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    /// Whose pods.
    pub(super) scale_target_ref: Reference,
    min_replicas: Option<i64>,
    /// So many pods at most.
    pub(super) max_replicas: i64,
    /// What it goes by.
    pub(super) metrics: Vec<Metric>,
    /// How fast it goes.
    pub(super) behavior: Option<Behavior>,
}

/// Another object, of the same namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reference {
    pub(super) api_version: CompactString,
    pub(super) kind: CompactString,
    pub(super) name: CompactString,
}

/// One metric: its source stands under the name of its type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metric {
    r#type: CompactString,
    resource: Option<Source>,
    container_resource: Option<Source>,
    pods: Option<Source>,
    object: Option<Source>,
    external: Option<Source>,
}

/// What a metric is of; each type uses some of the fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    /// The resource.
    pub(super) name: CompactString,
    /// The container.
    pub(super) container: CompactString,
    /// The metric, where it is none of a resource.
    pub(super) metric: Identifier,
    /// The object that the metric is about.
    pub(super) described_object: Reference,
    /// What is aimed at.
    pub(super) target: Aim,
}

/// A metric by its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Identifier {
    pub(super) name: CompactString,
    pub(super) selector: Option<Value>,
}

/// What is aimed at: quantities, but for the percentage.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Aim {
    pub(super) value: Option<Value>,
    pub(super) average_value: Option<Value>,
    pub(super) average_utilization: Option<i64>,
}

/// The types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Resource,
    ContainerResource,
    Pods,
    Object,
    External,
}

impl Sort {
    /// As a metric names its type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Resource => "Resource",
            Sort::ContainerResource => "ContainerResource",
            Sort::Pods => "Pods",
            Sort::Object => "Object",
            Sort::External => "External",
        }
    }
}

/// How fast it goes, up and down. What is left out is as Kubernetes has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Behavior {
    scale_up: Option<Rules>,
    scale_down: Option<Rules>,
}

/// Rules of one direction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rules {
    stabilization_window_seconds: Option<i64>,
    /// `Max`, `Min`, `Disabled`.
    pub(super) select_policy: CompactString,
    pub(super) policies: Vec<Policy>,
}

/// So much within so many seconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Policy {
    /// `Pods` or `Percent`.
    pub(super) r#type: CompactString,
    pub(super) value: i64,
    pub(super) period_seconds: i64,
}

/// Seconds that fewer pods are waited for with, where nothing is said: `--horizontal-pod-autoscaler-downscale-stabilization`.
pub(super) const DOWN_WINDOW_S: i64 = 300;

impl Spec {
    /// That of an autoscaler.
    pub(super) fn of(scaler: &Object) -> Spec {
        serde_json::from_slice(&scaler.document.whole().spec).unwrap_or_default()
    }

    /// So many pods at least.
    pub(super) fn least(&self) -> i64 {
        self.min_replicas.unwrap_or(1)
    }

    /// Whether it takes metrics to decide, with so many pods asked for.
    pub(super) fn goes_by_metrics(&self, replicas: i64) -> bool {
        replicas != 0 && (self.least()..=self.max_replicas).contains(&replicas)
    }
}

impl Metric {
    /// Its type and source, if it is of a known type and has that source.
    pub(super) fn source(&self) -> Option<(Sort, &Source)> {
        let (sort, source) = match self.r#type.as_str() {
            "Resource" => (Sort::Resource, &self.resource),
            "ContainerResource" => (Sort::ContainerResource, &self.container_resource),
            "Pods" => (Sort::Pods, &self.pods),
            "Object" => (Sort::Object, &self.object),
            "External" => (Sort::External, &self.external),
            _ => return None,
        };
        source.as_ref().map(|source| (sort, source))
    }

    /// What it is, in an autoscaler's words. Those that aim at a share of what pods ask for say so.
    pub(super) fn in_words(&self, share: bool) -> String {
        match self.source() {
            Some((Sort::ContainerResource, source)) if share => {
                format!("{} container resource utilization (percentage of request)", source.name)
            }
            Some((_, source)) if share => {
                format!("{} resource utilization (percentage of request)", source.name)
            }
            Some((_, source)) => format!("{} resource", source.name),
            None => String::new(),
        }
    }

    /// Its type, as it is written.
    pub(super) fn type_name(&self) -> &str {
        &self.r#type
    }
}

impl Behavior {
    /// The rules for more pods.
    pub(super) fn up(&self) -> Rules {
        let policy = |r#type: &str, value| Policy { r#type: r#type.into(), value, period_seconds: 15 };
        self.scale_up
            .clone()
            .unwrap_or_default()
            .completed(0, vec![policy("Pods", 4), policy("Percent", 100)])
    }

    /// The rules for fewer pods.
    pub(super) fn down(&self) -> Rules {
        let all = Policy { r#type: "Percent".into(), value: 100, period_seconds: 15 };
        self.scale_down.clone().unwrap_or_default().completed(DOWN_WINDOW_S, vec![all])
    }
}

impl Rules {
    fn completed(mut self, window_s: i64, policies: Vec<Policy>) -> Rules {
        self.stabilization_window_seconds.get_or_insert(window_s);
        if self.policies.is_empty() {
            self.policies = policies;
        }
        self
    }

    /// Over which time what was asked for is compared.
    pub(super) fn window_ms(&self) -> i64 {
        self.stabilization_window_seconds.unwrap_or(0).saturating_mul(1000)
    }

    /// How far its policies look back.
    pub(super) fn longest_period_ms(&self) -> i64 {
        self.policies.iter().map(|policy| policy.period_seconds.saturating_mul(1000)).max().unwrap_or(0)
    }
}
