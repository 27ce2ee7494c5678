//! A pod of a target, with all that metrics are computed from.

use std::{collections::BTreeMap, sync::Arc};

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::sample::{PodSample, Samples};
use crate::{
    object::{Condition, Object, parse_time_ms},
    quantity,
};

/// A pod of a target.
pub(super) struct Subject<'a> {
    pub(super) pod: &'a Arc<Object>,
    pub(super) sample: Option<&'a PodSample>,
    /// When it began, Unix milliseconds.
    pub(super) started_ms: Option<i64>,
    /// Its Ready condition, if it has one.
    pub(super) ready: Option<Ready>,
    /// What its containers ask for; sidecars are among them.
    containers: Vec<Container>,
}

/// What a pod's Ready condition says.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// It is False, and neither True nor Unknown.
    pub(super) denied: bool,
    /// Since when, Unix milliseconds.
    pub(super) since_ms: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: CompactString,
    resources: Resources,
    restart_policy: Option<CompactString>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<CompactString, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    start_time: Option<String>,
    conditions: Vec<Condition>,
}

impl<'a> Subject<'a> {
    /// A pod, and what is known of what it uses.
    pub(super) fn new(pod: &'a Arc<Object>, samples: &'a Samples) -> Subject<'a> {
        let document = pod.document.whole();
        let spec: Spec = serde_json::from_slice(&document.spec).unwrap_or_default();
        let status: Status = serde_json::from_slice(&document.status).unwrap_or_default();
        let time = |text: &Option<String>| text.as_deref().and_then(parse_time_ms);
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let ready = ready.map(|condition| Ready {
            denied: condition.status == "False",
            since_ms: time(&condition.last_transition_time).unwrap_or(0),
        });
        let sidecars =
            spec.init_containers.into_iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        Subject {
            pod,
            sample: samples.get(&pod.meta.uid),
            started_ms: time(&status.start_time),
            ready,
            containers: spec.containers.into_iter().chain(sidecars).collect(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &'a str {
        &self.pod.key.name
    }

    /// How much of a resource its containers ask for, or one of them, in thousandths. All of these must ask for some.
    pub(super) fn request(&self, resource: &str, container: &str) -> Result<i128, String> {
        let mut sum = 0_i128;
        for it in self.containers.iter().filter(|it| container.is_empty() || it.name == container) {
            let amount =
                it.resources.requests.get(resource).and_then(quantity::wide_of).ok_or_else(|| {
                    format!("missing request for {resource} in container {} of Pod {}", it.name, self.name())
                })?;
            sum = sum.saturating_add(amount);
        }
        Ok(sum)
    }
}
