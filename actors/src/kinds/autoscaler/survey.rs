//! What the leader finds out about all autoscalers at once, on its view and outside of any turn: going through the pods of all targets takes
//! time that the stage has not. What it found out counts in a turn only if it still holds there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    MESSAGE_MAX, METRICS_MAX, Measured, Measurement, Proposal, Samples,
    calculate::{Aim, calculate},
    failure,
    group::group,
    spec::{Metric, Sort, Source, Spec},
    subject::Subject,
    target::{self, Target},
};
use crate::{
    input::Input,
    kind::Kind,
    object::{Object, ObjectKey},
    quantity,
    state::State,
    turn::{Context, decide},
};

/// All autoscalers of a state, their targets and the pods of these.
pub struct Survey {
    state: State,
    cases: Vec<Case>,
    /// The autoscalers of each pod.
    of_pod: BTreeMap<ObjectKey, Vec<ObjectKey>>,
}

/// One autoscaler.
struct Case {
    scaler: Arc<Object>,
    spec: Spec,
    /// None: there is nothing to scale.
    target: Option<Target>,
    pods: Vec<Arc<Object>>,
}

impl Survey {
    /// Looks at all of them; at none while the cluster's level does not allow them to be looked after.
    pub fn of(state: &State) -> Survey {
        let known = Kind::AUTOSCALER_HISTORY.level() <= state.level();
        let scalers = state.list(Kind::HORIZONTAL_POD_AUTOSCALER, None).filter(|_| known);
        let cases: Vec<Case> =
            scalers.filter(|it| !it.meta.deleting()).map(|it| Case::of(state, it)).collect();
        let mut of_pod: BTreeMap<ObjectKey, Vec<ObjectKey>> = BTreeMap::new();
        for case in &cases {
            for pod in &case.pods {
                of_pod.entry(pod.key.clone()).or_default().push(case.scaler.key.clone());
            }
        }
        Survey { state: state.clone(), cases, of_pod }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The nodes that can tell of the pods.
    pub fn nodes(&self) -> BTreeSet<String> {
        let pods = self.cases.iter().flat_map(|case| &case.pods).filter_map(|pod| pod.pod());
        pods.filter(|pod| !pod.terminal()).filter_map(|pod| Some(pod.node.as_ref()?.to_string())).collect()
    }

    /// What there is to say of one of them, by its number; nothing if nothing would come of it.
    pub fn news(&self, at: usize, samples: &Samples, now_ms: i64) -> Option<Measurement> {
        let measurement = self.measure(at, samples, now_ms)?;
        let input = Input::Measured(vec![measurement.clone()]);
        let changes = decide(&self.state, &input, Context::new(now_ms, 0)).changes;
        (!changes.is_empty()).then_some(measurement)
    }

    /// The same, whether anything would come of it or not.
    pub fn measure(&self, at: usize, samples: &Samples, now_ms: i64) -> Option<Measurement> {
        let case = self.cases.get(at)?;
        let mut measurement = Measurement {
            scaler: case.scaler.key.clone(),
            revision: case.scaler.revision,
            replicas: case.target.as_ref().map_or(0, |target| target.replicas),
            metrics: Vec::new(),
            ambiguous: None,
        };
        let Some(target) = &case.target else { return Some(measurement) };
        let Ok(selector) = &target.selector else { return Some(measurement) };
        if !case.spec.goes_by_metrics(target.replicas) {
            return Some(measurement);
        }
        let rivals = self.rivals(case);
        if rivals.len() > 1 {
            let each: Vec<String> =
                rivals.iter().map(|key| format!("{{{} {}}}", key.namespace, key.name)).collect();
            measurement.ambiguous = Some(short(format!(
                "pods by selector {} are controlled by multiple HPAs: [{}]",
                target::text(selector),
                each.join(" ")
            )));
            return Some(measurement);
        }
        let subjects: Vec<Subject<'_>> = case.pods.iter().map(|pod| Subject::new(pod, samples)).collect();
        let namespace = &case.scaler.key.namespace;
        let of = |metric| match value(metric, target.replicas, &subjects, namespace, now_ms) {
            Ok(proposal) => Measured::Value(proposal),
            Err(why) => Measured::Failed(short(why)),
        };
        measurement.metrics = case.spec.metrics.iter().take(METRICS_MAX).map(of).collect();
        Some(measurement)
    }

    /// All autoscalers that scale some of the pods of one, itself among them.
    fn rivals(&self, case: &Case) -> BTreeSet<&ObjectKey> {
        case.pods.iter().filter_map(|pod| self.of_pod.get(&pod.key)).flatten().collect()
    }
}

impl Case {
    fn of(state: &State, scaler: &Arc<Object>) -> Case {
        let spec = Spec::of(scaler);
        let namespace = &scaler.key.namespace;
        let target = target::find(state, namespace, &spec.scale_target_ref).ok();
        let selector = target.as_ref().and_then(|target| target.selector.as_ref().ok());
        let pods = selector
            .map(|selector| state.pods_matching(namespace, selector).cloned().collect())
            .unwrap_or_default();
        Case { scaler: scaler.clone(), spec, target, pods }
    }
}

/// The beginning of a message that is long.
fn short(mut text: String) -> String {
    let mut end = text.len().min(MESSAGE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// What a metric asks for, where there are so many pods now.
fn value(
    metric: &Metric,
    replicas: i64,
    pods: &[Subject<'_>],
    namespace: &str,
    now_ms: i64,
) -> Result<Proposal, String> {
    let (sort, source) = metric.source().ok_or_else(|| failure::unknown(metric))?;
    match sort {
        Sort::Resource => resource(source, "", replicas, pods, now_ms),
        Sort::ContainerResource => resource(source, &source.container, replicas, pods, now_ms),
        Sort::Pods | Sort::Object | Sort::External => Err(failure::no_source(sort, source, namespace)),
    }
}

fn resource(
    source: &Source,
    container: &str,
    replicas: i64,
    pods: &[Subject<'_>],
    now_ms: i64,
) -> Result<Proposal, String> {
    let (name, aimed) = (source.name.as_str(), &source.target);
    let average = aimed.average_value.as_ref().and_then(quantity::wide_of);
    let what = if average.is_some() { "usage" } else { "utilization" };
    let failed = |why: String| format!("failed to get {name} {what}: {why}");
    if !pods.iter().any(|pod| pod.sample.is_some()) {
        return Err(failed(format!(
            "unable to get metrics for resource {name}: no metrics returned from resource metrics API"
        )));
    }
    let groups = group(pods, name, container, now_ms);
    let aim = match (average, aimed.average_utilization) {
        (Some(amount), _) => Aim::Average(amount),
        // What pods ask for is not looked at before any of them is known to use something.
        (None, Some(percent)) if groups.used.is_empty() => {
            Aim::Utilization { percent, requests: BTreeMap::new() }
        }
        (None, Some(percent)) => {
            let each = pods.iter().map(|pod| pod.request(name, container).map(|amount| (pod.name(), amount)));
            Aim::Utilization { percent, requests: each.collect::<Result<_, String>>().map_err(failed)? }
        }
        (None, None) => {
            return Err(
                "invalid resource metric source: neither an average utilization target nor an average value \
                        (usage) target was set"
                    .to_owned(),
            );
        }
    };
    calculate(replicas, groups, &aim).map_err(failed)
}
