//! The steps of a set, in this order: its pods from the first to the last, those beyond its size from the last to the first, the update
//! from the last to the first. With OrderedReady, each step waits until all before it are done; Parallel takes all at once.

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use super::{
    COMPONENT,
    claims::{self, Claims},
    crew::{Crew, available, healthy, revision as of_revision},
    identity::{in_range, labels, name, ordinal, template},
};
use crate::{
    candidates::{self, Made},
    input::DeleteOptions,
    kind::Kind,
    kinds::{
        history::{self, History},
        pod,
        scaled::scaled,
    },
    object::{Object, StatefulSetDigest},
    turn::Turn,
};

/// Pods made or deleted by one reaction. More follow in a next turn.
const BURST: usize = 250;
/// When a refused pod is tried again.
const RETRY_MS: i64 = 10_000;

/// A set on its way.
pub(super) struct Steps<'a> {
    pub me: &'a Object,
    pub spec: &'a StatefulSetDigest,
    pub history: &'a History,
    /// The revision of pods that keep the former template.
    pub former: &'a Object,
    /// When to go on.
    pub wake: Option<i64>,
    pub done: usize,
    /// A pod or a claim was refused: what comes after it is not asked for in this turn.
    pub refused: bool,
}

/// Whether the steps after this one may be taken now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Wait,
}

impl Steps<'_> {
    /// Takes what steps there are to be taken.
    pub(super) fn take(&mut self, turn: &mut Turn, crew: &Crew) {
        for candidate in candidates::of(turn, self.me, Kind::POD) {
            // Of a set that was larger.
            if !ordinal(self.me, &candidate).is_some_and(|ordinal| in_range(self.spec, ordinal)) {
                turn.remove(&candidate.key);
            }
        }
        claims::keep_candidates(turn, self.me, self.spec);
        if self.members(turn, crew) == Next::Wait {
            return;
        }
        for (ordinal, pod) in &crew.condemned {
            claims::hold(turn, self.me, self.spec, *ordinal, pod);
        }
        // Who was just made is not well yet: that is seen in the next reaction.
        let goes = self.condemned(turn, crew) == Next::Wait;
        if goes
            || self.spec.on_delete
            || self.done > 0
            || !candidates::of(turn, self.me, Kind::POD).is_empty()
        {
            return;
        }
        self.update(turn, crew);
    }

    /// The turn is full: the rest is a next one's.
    fn is_full(&mut self, turn: &Turn) -> bool {
        let full = turn.full() || self.done >= BURST;
        if full {
            self.wake_by(turn.now_ms());
        }
        full
    }

    fn wake_by(&mut self, at: i64) {
        self.wake = self.wake.into_iter().chain(Some(at)).min();
    }

    fn members(&mut self, turn: &mut Turn, crew: &Crew) -> Next {
        let mut next = Next::Go;
        let replicas = self.spec.replicas.max(0);
        // Where the order is free, another one is tried first after each refusal.
        let of = |kind| candidates::leave(turn, self.me, kind, 1).refusals;
        let refusals = match self.spec.parallel {
            true => of(Kind::POD).saturating_add(of(Kind::PERSISTENT_VOLUME_CLAIM)),
            false => 0,
        };
        let first = i64::try_from(refusals).unwrap_or(0).checked_rem(replicas).unwrap_or(0);
        let from = |n: i64| self.spec.start.saturating_add(n);
        for ordinal in (from(first)..from(replicas)).chain(from(0)..from(first)) {
            if self.is_full(turn) {
                return Next::Wait;
            }
            let one = match crew.members.get(&ordinal) {
                Some(pod) => self.member(turn, ordinal, pod),
                None => self.missing(turn, ordinal),
            };
            // The next ones would be refused as well, and a turn full of refusals would be followed by the same at once.
            if self.refused {
                return Next::Wait;
            }
            if one == Next::Wait {
                next = Next::Wait;
                if !self.spec.parallel && !planted(Defect::OrdinalsAtOnce) {
                    return next;
                }
            }
        }
        next
    }

    /// Says that something could not be made; it is tried again later.
    fn refuse(&mut self, turn: &mut Turn, why: String) {
        turn.event(self.me, "Warning", "FailedCreate", why, COMPONENT);
        self.wake_by(turn.now_ms() + RETRY_MS);
        self.refused = true;
    }

    /// Makes the claims of a pod that are missing. Tells whether it has them all; the rest is tried again.
    fn claims(&mut self, turn: &mut Turn, ordinal: i64) -> Claims {
        let claims = claims::make(turn, self.me, self.spec, ordinal).unwrap_or_else(|why| {
            self.refuse(turn, why);
            Claims::Refused(None)
        });
        if let Claims::Refused(Some(at)) = claims {
            self.wake_by(at);
        }
        claims
    }

    fn missing(&mut self, turn: &mut Turn, ordinal: i64) -> Next {
        if claims::are_stale(turn, self.me, ordinal) {
            self.wake_by(turn.now_ms() + RETRY_MS);
            return Next::Wait;
        }
        match self.claims(turn, ordinal) {
            Claims::There => {}
            Claims::Asked if self.spec.parallel => return Next::Go,
            Claims::Asked | Claims::Refused(_) => return Next::Wait,
        }
        let (set, pod) = (&self.me.key.name, name(self.me, ordinal));
        // Pods below the partition keep the former template.
        let former = !self.spec.on_delete && ordinal < self.spec.start + self.spec.partition;
        let revision = if former { self.former } else { &*self.history.current };
        let next = if self.spec.parallel { Next::Go } else { Next::Wait };
        if let Some(candidate) = candidates::named(turn, self.me, Kind::POD, &pod) {
            if of_revision(&candidate) == revision.key.name {
                return next;
            }
            turn.remove(&candidate.key);
        }
        let leave = candidates::leave(turn, self.me, Kind::POD, 1);
        if leave.most == 0 {
            leave.wake.into_iter().for_each(|at| self.wake_by(at));
            return Next::Wait;
        }
        let base = history::template(revision);
        let template = template(self.me, base, ordinal, &revision.key.name);
        let made = pod::new_named(turn, self.me, &template, &pod).and_then(|value| {
            match candidates::make(turn, self.me, Kind::POD, value) {
                Made::Taken => Err(format!("pods {pod:?} already exists")),
                made => Ok(made),
            }
        });
        self.done += 1;
        match made {
            Ok(Made::Waits) => next,
            Ok(_) => {
                let message = format!("create Pod {pod} in StatefulSet {set} successful");
                turn.event(self.me, "Normal", "SuccessfulCreate", message, COMPONENT);
                next
            }
            Err(why) => {
                let message = format!("create Pod {pod} in StatefulSet {set} failed error: {why}");
                self.refuse(turn, message);
                Next::Wait
            }
        }
    }

    fn member(&mut self, turn: &mut Turn, ordinal: i64, pod: &Arc<Object>) -> Next {
        let phase = pod.pod().map_or("", |digest| digest.phase.as_str());
        if matches!(phase, "Failed" | "Succeeded") {
            if let Some(due) = pod::rejected_until(pod, turn.now_ms()) {
                self.wake_by(due);
            } else if !pod.meta.deleting() {
                let (r#type, reason, how) = match phase {
                    "Failed" => ("Warning", "RecreatingFailedPod", "failed"),
                    _ => ("Normal", "RecreatingTerminatedPod", "terminated"),
                };
                let me = self.me;
                let message = format!(
                    "StatefulSet {}/{} is recreating {how} Pod {}",
                    me.key.namespace, me.key.name, pod.key.name
                );
                turn.event(me, r#type, reason, message, COMPONENT);
                self.delete(turn, pod);
            }
            return Next::Wait;
        }
        if phase == "Pending" && !pod.meta.deleting() {
            self.claims(turn, ordinal);
        }
        if !self.spec.parallel {
            if !healthy(pod, self.spec, turn.now_ms()) {
                return Next::Wait;
            }
        } else if pod.meta.deleting() {
            return Next::Go;
        }
        claims::hold(turn, self.me, self.spec, ordinal, pod);
        self.identify(turn, ordinal, pod);
        Next::Go
    }

    /// An adopted pod gets the labels of its identity.
    fn identify(&self, turn: &mut Turn, ordinal: i64, pod: &Object) {
        let labels = labels(self.me, ordinal);
        if labels.iter().all(|(label, value)| pod.meta.labels.get(*label).is_some_and(|own| own == value)) {
            return;
        }
        turn.edit_metadata(&pod.key, |meta| {
            let map = meta.entry("labels").or_insert_with(|| Value::Object(Default::default()));
            for (label, value) in labels {
                map[label] = value.into();
            }
        });
    }

    /// Whoever is too many goes, the highest ordinal first; in order, one when the one before it is gone and all others are well. One that has
    /// ended is never well again, and holds up nobody: a lost worker's pods end here, where Kubernetes deletes them.
    fn condemned(&mut self, turn: &mut Turn, crew: &Crew) -> Next {
        let now = turn.now_ms();
        // The first that is not well may go whatever the others are: nobody can wait for it.
        let mut by_ordinal: Vec<(i64, &Arc<Object>)> =
            crew.members.iter().map(|(ordinal, pod)| (*ordinal, pod)).collect();
        by_ordinal.extend(crew.condemned.iter().map(|(ordinal, pod)| (*ordinal, pod)));
        by_ordinal.sort_by_key(|(ordinal, _)| *ordinal);
        let first_ill =
            by_ordinal.iter().find(|(_, pod)| !healthy(pod, self.spec, now)).map(|(_, pod)| pod.key.clone());
        let mut next = Next::Go;
        for (_, pod) in &crew.condemned {
            if self.is_full(turn) {
                return Next::Wait;
            }
            if pod.meta.deleting() {
                if self.spec.parallel {
                    continue;
                }
                return Next::Wait;
            }
            let may_go = pod.pod().is_some_and(|digest| digest.terminal())
                || available(pod, self.spec, now)
                || first_ill.as_ref() == Some(&pod.key);
            if !self.spec.parallel && !may_go {
                return Next::Wait;
            }
            self.delete(turn, pod);
            next = Next::Wait;
            if !self.spec.parallel {
                return next;
            }
        }
        next
    }

    /// Pods of a former template go, the highest ordinal first, and come back with the present one.
    fn update(&mut self, turn: &mut Turn, crew: &Crew) {
        let now = turn.now_ms();
        let is_old = |pod: &Object| of_revision(pod) != self.history.current.key.name && !pod.meta.deleting();
        let least = self.spec.start + self.spec.partition;
        let Some(most) = &self.spec.max_unavailable else {
            for (_, pod) in crew.members.iter().rev().take_while(|(ordinal, _)| **ordinal >= least) {
                if is_old(pod) {
                    self.delete(turn, pod);
                    return;
                }
                if !healthy(pod, self.spec, now) {
                    return;
                }
            }
            return;
        };
        let most = scaled(most, self.spec.replicas, false).max(1);
        let well = crew.members.values().filter(|pod| healthy(pod, self.spec, now)).count();
        let ill = self.spec.replicas - i64::try_from(well).unwrap_or(0);
        let may_go = usize::try_from((most - ill).max(0)).unwrap_or(0);
        let old: Vec<Arc<Object>> = crew
            .members
            .iter()
            .rev()
            .filter(|(ordinal, pod)| **ordinal >= least && is_old(pod))
            .map(|(_, pod)| pod.clone())
            .take(may_go)
            .collect();
        for pod in old {
            if self.is_full(turn) {
                return;
            }
            self.delete(turn, &pod);
        }
    }

    fn delete(&mut self, turn: &mut Turn, pod: &Object) {
        self.done += 1;
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() {
            let message =
                format!("delete Pod {} in StatefulSet {} successful", pod.key.name, self.me.key.name);
            turn.event(self.me, "Normal", "SuccessfulDelete", message, COMPONENT);
        }
    }
}
