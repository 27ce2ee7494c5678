//! What is to be done, and doing as much of it as a turn has room for.

use std::{collections::BTreeSet, sync::Arc};

use compact_str::CompactString;
use serde_json::Value;

use super::{COMPONENT, manage::FAILURES, template};
use crate::{
    candidates::{self, Made},
    input::DeleteOptions,
    kind::Kind,
    kinds::pod,
    object::{DaemonSetDigest, Object},
    turn::Turn,
};

/// Pods made or deleted by one reaction. More follow in a next turn.
const BURST: usize = 250;
/// Events about pods in one reaction: more of the same tell people nothing new.
const EVENTS: usize = 10;
/// When a refused pod is tried again.
const RETRY_MS: i64 = 10_000;

/// What is to be done.
#[derive(Default)]
pub(super) struct Steps {
    /// Nodes that get a pod.
    pub create: Vec<CompactString>,
    /// Pods that go.
    pub delete: Vec<Arc<Object>>,
    /// Pods that have ended and make way for another one on their node, after so many failures in a row.
    pub replace: Vec<(Arc<Object>, CompactString, i64)>,
    /// What people are told.
    pub said: Vec<(&'static str, &'static str, String)>,
    /// When to look again.
    pub wake: Option<i64>,
}

/// How it went.
#[derive(Default)]
pub(super) struct Done {
    /// Something was changed.
    pub changed: bool,
    /// Not all of it was done.
    pub more: bool,
    /// Pods were refused: trying again at once would get the same answer.
    pub refused: bool,
    /// When to look again.
    pub wake: Option<i64>,
}

impl Steps {
    /// Does it.
    /// `waiting`: nodes whose pods wait to be admitted.
    pub(super) fn take(
        mut self,
        turn: &mut Turn,
        me: &Object,
        spec: &DaemonSetDigest,
        hash: &str,
        waiting: &BTreeSet<CompactString>,
    ) -> Done {
        self.tell(turn, me, EVENTS);
        let mut work =
            Work { waiting, made: 0, deleted: 0, done: Done { wake: self.wake, ..Done::default() } };
        let base = template::of(me, spec, hash);
        for pod in &self.delete {
            if !work.delete(turn, me, pod) {
                return work.later();
            }
        }
        for (pod, node, failures) in &self.replace {
            if !work.delete(turn, me, pod) {
                return work.later();
            }
            // A finalizer may hold it: then its node's next pod waits, too.
            if turn.state().get(&pod.key).is_none() && !work.create(turn, me, &base, node, *failures) {
                return work.later();
            }
        }
        let refusals = candidates::leave(turn, me, Kind::POD, self.create.len()).refusals;
        let first = refusals.checked_rem(self.create.len()).unwrap_or(0);
        self.create.rotate_left(first);
        for node in &self.create {
            if !work.create(turn, me, &base, node, 0) {
                return work.later();
            }
        }
        work.done
    }
}

struct Work<'w> {
    waiting: &'w BTreeSet<CompactString>,
    made: usize,
    deleted: usize,
    done: Done,
}

impl Work<'_> {
    fn has_room(&self, turn: &Turn) -> bool {
        !turn.full() && self.made + self.deleted < BURST
    }

    fn delete(&mut self, turn: &mut Turn, me: &Object, pod: &Object) -> bool {
        if !self.has_room(turn) {
            return false;
        }
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() && self.deleted < EVENTS {
            turn.event(me, "Normal", "SuccessfulDelete", format!("Deleted pod: {}", pod.key.name), COMPONENT);
        }
        self.deleted += 1;
        self.done.changed = true;
        true
    }

    /// False when there is no room for it, or when it is refused: then the others would be, too.
    fn create(&mut self, turn: &mut Turn, me: &Object, base: &Value, node: &str, failures: i64) -> bool {
        if self.waiting.contains(node) {
            return true;
        }
        if !self.has_room(turn) {
            return false;
        }
        let leave = candidates::leave(turn, me, Kind::POD, 1);
        if leave.most == 0 {
            self.done.wake = self.done.wake.into_iter().chain(leave.wake).min();
            self.done.refused = true;
            return false;
        }
        let mut template = template::on_node(base, node);
        if failures > 0 {
            template["metadata"]["annotations"][FAILURES] = failures.to_string().into();
        }
        let pod = match pod::new_from_template(turn, me, &template) {
            Ok(pod) => match candidates::make(turn, me, Kind::POD, pod) {
                Made::There(pod) => Some(pod),
                Made::Waits | Made::Taken => None,
            },
            Err(why) => {
                turn.event(me, "Warning", "FailedCreate", format!("Error creating: {why}"), COMPONENT);
                let at = turn.now_ms() + RETRY_MS;
                self.done.wake = self.done.wake.into_iter().chain(Some(at)).min();
                self.done.refused = true;
                return false;
            }
        };
        if let Some(pod) = pod.filter(|_| self.made < EVENTS) {
            turn.event(me, "Normal", "SuccessfulCreate", format!("Created pod: {}", pod.key.name), COMPONENT);
        }
        self.made += 1;
        self.done.changed = true;
        true
    }

    fn later(mut self) -> Done {
        self.done.more = true;
        self.done
    }
}
