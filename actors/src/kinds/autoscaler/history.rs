//! What an autoscaler asked for and did: what stabilization windows and policies look back on. It is an object of its own, of a kind that the
//! API does not have: clients would else see, and could take away, what decisions depend on, and each recommendation would be news of the
//! autoscaler itself. It is the autoscaler's dependent, and goes with it.
//!
//! Kubernetes keeps what was asked for at each look. Here what is asked for again and again is one record, so that an autoscaler at rest
//! writes nothing: it stands until another one follows, or until nothing was asked for.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PERIOD_MS, spec::Rules};
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// Records that are kept. The longest window that validation allows is an hour, in which there are 240 looks.
const RECORDS_MAX: usize = 256;
/// Scalings that are kept, of each direction. The longest period that validation allows is half an hour, in which there are 120 looks.
const SCALINGS_MAX: usize = 128;

/// The history of one autoscaler, the oldest first. Field names are short: it is written with each change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct History {
    asked: Vec<Record>,
    up: Vec<Scaling>,
    down: Vec<Scaling>,
}

/// So many pods were asked for, before any bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    n: i64,
    /// Since then, Unix milliseconds.
    from: i64,
    /// Nothing was asked for any more after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<i64>,
}

/// So many pods came or went, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Scaling {
    n: i64,
    at: i64,
}

impl History {
    /// That of an autoscaler, if it has one.
    pub(super) fn of(state: &State, scaler: &Object) -> Option<History> {
        let object = state.get(&key(scaler))?;
        Some(serde_json::from_slice(&object.document.whole().status).unwrap_or_default())
    }

    /// Begins with the pods that are there, so that no window begins empty.
    pub(super) fn begin(replicas: i64, now_ms: i64) -> History {
        History { asked: vec![Record { n: replicas, from: now_ms, to: None }], ..History::default() }
    }

    /// Keeps it, if it is another one than before.
    pub(super) fn keep(&self, turn: &mut Turn, scaler: &Object) {
        let (key, status) = (key(scaler), json!(self));
        match turn.state().get(&key).cloned() {
            Some(object) => drop(turn.put_status(&object, status)),
            None => {
                let metadata = json!({"name": key.name, "namespace": key.namespace,
                    "ownerReferences": [Turn::controller_reference(scaler)]});
                turn.create(key.kind, json!({"metadata": metadata, "status": status}));
            }
        }
    }

    /// So many pods are asked for now. What is older than `kept_ms` is forgotten.
    pub(super) fn ask(&mut self, replicas: i64, now_ms: i64, kept_ms: i64) {
        if self.asked.last().is_some_and(|last| last.to.is_none() && last.n == replicas) {
            return;
        }
        self.asked.push(Record { n: replicas, from: now_ms, to: None });
        let old = self.spans(now_ms).take_while(|(_, to)| *to <= now_ms.saturating_sub(kept_ms)).count();
        let too_many = self.asked.len().saturating_sub(RECORDS_MAX);
        // The last one is what is asked for now.
        self.asked.drain(..old.max(too_many).min(self.asked.len() - 1));
    }

    /// Nothing can be asked for now: what was asked for before stands no longer.
    pub(super) fn pause(&mut self, now_ms: i64) {
        if let Some(last) = self.asked.last_mut().filter(|last| last.to.is_none()) {
            last.to = Some(last_look(last.from, now_ms));
        }
    }

    /// What was asked for, with the time of the last look at which it was.
    fn spans(&self, now_ms: i64) -> impl Iterator<Item = (i64, i64)> {
        let next = self.asked.iter().skip(1).map(|next| last_look_before(next.from)).chain([now_ms]);
        self.asked.iter().zip(next).map(|(it, next)| (it.n, it.to.unwrap_or(next).max(it.from)))
    }

    /// What was asked for within a window.
    fn within(&self, window_ms: i64, now_ms: i64) -> impl Iterator<Item = i64> {
        let from = now_ms.saturating_sub(window_ms);
        self.spans(now_ms).filter(move |(_, to)| *to > from).map(|(replicas, _)| replicas)
    }

    /// The most that was asked for within a window, but `least` at least.
    pub(super) fn highest(&self, window_ms: i64, now_ms: i64, least: i64) -> i64 {
        self.within(window_ms, now_ms).fold(least, i64::max)
    }

    /// The least that was asked for within a window, but `most` at most.
    pub(super) fn lowest(&self, window_ms: i64, now_ms: i64, most: i64) -> i64 {
        self.within(window_ms, now_ms).fold(most, i64::min)
    }

    /// The pods became as many more or fewer now. What no rule of that direction looks back on is forgotten.
    pub(super) fn scaled(&mut self, by: i64, now_ms: i64, rules: &Rules) {
        let list = if by > 0 { &mut self.up } else { &mut self.down };
        let from = now_ms.saturating_sub(rules.longest_period_ms());
        list.retain(|scaling| scaling.at > from);
        list.push(Scaling { n: by.saturating_abs(), at: now_ms });
        let too_many = list.len().saturating_sub(SCALINGS_MAX);
        list.drain(..too_many);
    }

    /// How many pods there were before what was done within a period, with these now.
    pub(super) fn before(&self, replicas: i64, period_s: i64, now_ms: i64) -> i64 {
        let from = now_ms.saturating_sub(period_s.saturating_mul(1000));
        let sum = |list: &[Scaling]| {
            list.iter().filter(|scaling| scaling.at > from).fold(0_i64, |sum, it| sum.saturating_add(it.n))
        };
        replicas.saturating_sub(sum(&self.up)).saturating_add(sum(&self.down))
    }
}

/// The last look before another one at this time.
fn last_look_before(now_ms: i64) -> i64 {
    now_ms.saturating_sub(PERIOD_MS)
}

/// The same, for what was first seen at another time.
fn last_look(from: i64, now_ms: i64) -> i64 {
    last_look_before(now_ms).max(from)
}

fn key(scaler: &Object) -> ObjectKey {
    ObjectKey::new(Kind::AUTOSCALER_HISTORY, &scaler.key.namespace, &scaler.meta.uid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINUTE: i64 = 60_000;

    fn a_minute() -> Rules {
        let policies = json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]});
        serde_json::from_value(policies).unwrap()
    }

    #[test]
    fn what_is_asked_for_again_is_no_news() {
        let mut history = History::begin(3, 0);
        for look in 0..1000 {
            history.ask(3, look * PERIOD_MS, 5 * MINUTE);
        }
        assert_eq!(history, History::begin(3, 0));
        // Until the look before the next it stood.
        let now = 1000 * PERIOD_MS;
        history.ask(1, now, 5 * MINUTE);
        let highest = |at| history.highest(5 * MINUTE, at, 1);
        assert_eq!((highest(now), highest(now + 5 * MINUTE - PERIOD_MS - 1)), (3, 3));
        assert_eq!(highest(now + 5 * MINUTE - PERIOD_MS), 1);
        assert_eq!((history.lowest(MINUTE, now, 9), history.lowest(0, now, 9)), (1, 9));
    }

    #[test]
    fn after_a_pause_nothing_stands_any_more() {
        let mut history = History::begin(9, 0);
        history.pause(MINUTE);
        let paused = history.clone();
        history.pause(2 * MINUTE);
        assert_eq!(history, paused, "once");
        assert_eq!(history.highest(5 * MINUTE, 5 * MINUTE, 0), 9);
        assert_eq!(history.highest(5 * MINUTE, 6 * MINUTE - PERIOD_MS, 0), 0);
        // The same again begins anew.
        history.ask(9, 7 * MINUTE, 5 * MINUTE);
        assert_eq!(history, History::begin(9, 7 * MINUTE));
    }

    #[test]
    fn it_is_bounded() {
        let mut history = History::default();
        for look in 0..2000 {
            history.ask(look % 7, look * PERIOD_MS, i64::MAX);
            history.scaled(if look % 2 == 0 { 1 } else { -1 }, look, &a_minute());
        }
        assert_eq!(history.asked.len(), RECORDS_MAX);
        assert_eq!((history.up.len(), history.down.len()), (SCALINGS_MAX, SCALINGS_MAX));
        // Nothing but what is asked for now is needed without a window.
        history.ask(9, 2000 * PERIOD_MS, 0);
        assert_eq!(history.asked.len(), 1);
    }

    #[test]
    fn what_was_done_within_a_period_is_told_from_what_was_there() {
        let rules = a_minute();
        let mut history = History::default();
        history.scaled(4, 0, &rules);
        history.scaled(-1, 30_000, &rules);
        assert_eq!(history.before(10, 60, 59_999), 10 - 4 + 1);
        assert_eq!(history.before(10, 60, 60_000), 10 + 1);
        assert_eq!(history.before(10, 15, 60_000), 10);
        history.scaled(2, 61_000, &rules);
        assert_eq!(history.up.len(), 1, "what nobody looks back on is forgotten");
    }
}
