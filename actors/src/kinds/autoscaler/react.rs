//! What comes of a measurement: the turn decides.

use std::sync::Arc;

use super::{
    METRICS_MAX, Measured, Measurement, bounds, failure,
    history::History,
    spec::Spec,
    status::Status,
    target::{self, NoSelector, Target},
};
use crate::{kind::Kind, object::Object, turn::Turn};

const COMPONENT: &str = "horizontal-pod-autoscaler";
const WARNING: &str = "Warning";
const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// A look at an autoscaler, on its way.
struct Look<'a> {
    me: &'a Object,
    spec: &'a Spec,
    history: Option<History>,
    status: Status,
    /// Warnings: reasons and messages. Told only if the status changes, too: what stays as it is is said once, and not at each look.
    warnings: Vec<(String, String)>,
    now_ms: i64,
}

/// What is to be done.
struct Verdict {
    /// So many pods.
    replicas: i64,
    /// Why, if that is another number than now.
    why: String,
}

/// Does what follows from measurements, in their order. What does not fit into the turn is measured again soon.
pub(crate) fn measured(turn: &mut Turn, measurements: &[Measurement]) {
    for measurement in measurements {
        if turn.full() || !turn.knows(Kind::AUTOSCALER_HISTORY) {
            return;
        }
        one(turn, measurement);
    }
}

fn one(turn: &mut Turn, measurement: &Measurement) {
    let is_meant = |object: &&Arc<Object>| {
        object.key.kind == Kind::HORIZONTAL_POD_AUTOSCALER
            && object.revision == measurement.revision
            && !object.meta.deleting()
    };
    let Some(me) = turn.state().get(&measurement.scaler).filter(is_meant).cloned() else { return };
    let spec = Spec::of(&me);
    let target = target::find(turn.state(), &me.key.namespace, &spec.scale_target_ref);
    if target.as_ref().is_ok_and(|target| target.replicas != measurement.replicas) {
        // It was scaled meanwhile.
        return;
    }
    let by_number = || target.as_ref().is_ok_and(|target| !spec.goes_by_metrics(target.replicas));
    let unselected = || target.as_ref().is_ok_and(|target| target.selector.is_err());
    let complete =
        !spec.metrics.is_empty() && measurement.metrics.len() == spec.metrics.len().min(METRICS_MAX);
    if target.is_ok() && !complete && !by_number() && !unselected() && measurement.ambiguous.is_none() {
        return;
    }
    let history = History::of(turn.state(), &me);
    let status = Status::new(me.document.status_value(), turn.now());
    let mut look =
        Look { me: &me, spec: &spec, history, status, warnings: Vec::new(), now_ms: turn.now_ms() };
    match target {
        Ok(target) => look.scale(turn, &target, measurement),
        Err(why) => {
            look.status.set(
                ABLE,
                false,
                "FailedGetScale",
                &format!("the HPA controller was unable to get the target's current scale: {why}"),
            );
            look.warn("FailedGetScale", why);
            look.pause();
        }
    }
    look.finish(turn);
}

impl Look<'_> {
    fn warn(&mut self, reason: impl Into<String>, message: String) {
        self.warnings.push((reason.into(), message));
    }

    fn pause(&mut self) {
        if let Some(history) = &mut self.history {
            history.pause(self.now_ms);
        }
    }

    fn scale(&mut self, turn: &mut Turn, target: &Target, measurement: &Measurement) {
        let message = "the HPA controller was able to get the target's current scale";
        self.status.set(ABLE, true, "SucceededGetScale", message);
        let current = target.replicas;
        self.history.get_or_insert_with(|| History::begin(current, self.now_ms));
        let measured = self.spec.goes_by_metrics(current);
        let verdict =
            if measured { self.by_metrics(target, measurement) } else { Some(self.by_number(current)) };
        let metrics = if measured { &measurement.metrics[..] } else { &[] };
        self.status.measured(&self.spec.metrics, metrics);
        let Some(Verdict { replicas, why }) = verdict else {
            let desired = self.status.desired();
            self.status.count(current, desired);
            self.pause();
            return;
        };
        if !measured {
            self.pause();
        }
        self.status.count(current, replicas);
        if replicas == current {
            return;
        }
        target.rescale(turn, replicas);
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        self.status.set(ABLE, true, "SucceededRescale", &message);
        self.status.scaled();
        let message = format!("New size: {replicas}; reason: {why}");
        turn.event(self.me, "Normal", "SuccessfulRescale", message, COMPONENT);
        if let (Some(behavior), Some(history)) = (&self.spec.behavior, &mut self.history) {
            let rules = if replicas > current { behavior.up() } else { behavior.down() };
            history.scaled(replicas - current, self.now_ms, &rules);
        }
    }

    /// What the number of pods alone decides: that of a target that is off, or out of bounds.
    fn by_number(&mut self, current: i64) -> Verdict {
        let (least, most) = (self.spec.least(), self.spec.max_replicas);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.status.set(ACTIVE, false, "ScalingDisabled", message);
            Verdict { replicas: 0, why: String::new() }
        } else if current > most {
            Verdict { replicas: most, why: "Current number of replicas above Spec.MaxReplicas".into() }
        } else {
            Verdict { replicas: least, why: "Current number of replicas below Spec.MinReplicas".into() }
        }
    }

    /// What metrics ask for, within bounds; nothing if they do not say.
    fn by_metrics(&mut self, target: &Target, measurement: &Measurement) -> Option<Verdict> {
        let current = target.replicas;
        let (asked, metric) = match self.selects(target, measurement) {
            Ok(()) => self.asked(current, &measurement.metrics),
            Err(why) => Err(why),
        }
        .map_err(|why| self.warn("FailedComputeMetricsReplicas", why))
        .ok()?;
        let why = match asked {
            asked if asked > current => format!("{metric} above target"),
            asked if asked < current => "All metrics below target".to_owned(),
            // What was asked for before decides; Kubernetes has no words for it.
            _ => String::new(),
        };
        let history = self.history.get_or_insert_with(|| History::begin(current, self.now_ms));
        let bounded = bounds::bounded(self.spec, history, current, asked, self.now_ms);
        self.status.set(ABLE, true, bounded.able.0, bounded.able.1);
        self.status.set(LIMITED, bounded.limited, bounded.limit.0, bounded.limit.1);
        Some(Verdict { replicas: bounded.replicas, why })
    }

    /// Whether it is clear which pods are meant.
    fn selects(&mut self, target: &Target, measurement: &Measurement) -> Result<(), String> {
        let (reason, event, message, why) = match (&target.selector, &measurement.ambiguous) {
            (Ok(_), None) => return Ok(()),
            (Ok(_), Some(why)) => ("AmbiguousSelector", "AmbiguousSelector", why.as_str(), why.clone()),
            (Err(NoSelector::Unreadable(why)), _) => {
                ("InvalidSelector", "InvalidSelector", why.as_str(), why.clone())
            }
            (Err(NoSelector::Missing), _) => (
                "InvalidSelector",
                "SelectorRequired",
                "the HPA target's scale is missing a selector",
                "selector is required".to_owned(),
            ),
        };
        self.status.set(ACTIVE, false, reason, message);
        self.warn(event, why.clone());
        Err(why)
    }

    /// The most that a metric asks for, and which it is. Where some have no value, fewer pods than now would be a guess.
    fn asked(&mut self, current: i64, measured: &[Measured]) -> Result<(i64, String), String> {
        let (mut asked, mut metric) = (0, String::new());
        let spec = self.spec;
        let mut first: Option<(String, String, String)> = None;
        let mut failed = 0;
        for (each, now) in spec.metrics.iter().zip(measured) {
            match now {
                Measured::Value(proposal) => {
                    if asked == 0 || proposal.replicas > asked {
                        (asked, metric) = (proposal.replicas, each.in_words(proposal.utilization.is_some()));
                    }
                }
                Measured::Failed(why) => {
                    failed += 1;
                    let (reason, told) = match each.source() {
                        Some((sort, source)) => {
                            (failure::reason(sort), failure::as_reason(sort, source, why))
                        }
                        None => ("InvalidMetricSourceType".to_owned(), why.clone()),
                    };
                    self.warn(reason.clone(), why.clone());
                    first.get_or_insert((reason, why.clone(), told));
                }
            }
        }
        let all = spec.metrics.len();
        if all > measured.len() {
            failed += all - measured.len();
            let why = format!(
                "the autoscaler has {all} metrics, and only the first {METRICS_MAX} are looked at: take some away"
            );
            self.warn("TooManyMetrics", why.clone());
            first.get_or_insert(("TooManyMetrics".to_owned(), why.clone(), why));
        }
        if let Some((reason, why, told)) = first.filter(|_| failed >= all || asked < current) {
            let message = format!("the HPA was unable to compute the replica count: {why}");
            self.status.set(ACTIVE, false, &reason, &message);
            return Err(format!("invalid metrics ({failed} invalid out of {all}), first error is: {told}"));
        }
        let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
        self.status.set(ACTIVE, true, "ValidMetricFound", &message);
        Ok((asked, metric))
    }

    fn finish(self, turn: &mut Turn) {
        let Look { me, history, status, warnings, .. } = self;
        if let Some(history) = history {
            history.keep(turn, me);
        }
        let status = status.into_value();
        if status != me.document.status_value() {
            turn.put_status(me, status);
            for (reason, message) in warnings {
                turn.event(me, WARNING, &reason, message, COMPONENT);
            }
        }
    }
}
