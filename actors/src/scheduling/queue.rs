//! The pods that are to be tried. They wait beside the state, with whoever decides: once for all the turns of an entry they are placed,
//! in a turn of their own, so that a planner's view of all nodes is made once for many pods. A new leader tries all that have no place.

use std::{cmp::Reverse, collections::BTreeSet};

use super::PLAN_LIMIT;
use crate::{
    input::Input,
    object::{Object, ObjectKey},
    state::State,
};

/// What a turn leaves to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToPlace {
    /// These pods.
    pub pods: BTreeSet<ObjectKey>,
    /// All that wait: something changed that may let them in.
    pub all: bool,
}

/// Of those for whom room is being made, so many are tried before all others after a change: a part of a plan, so that others come to
/// their turn however often there is a change.
const NOMINATED_LIMIT: usize = PLAN_LIMIT / 5;

/// In the order in which they are tried: the greatest priority, then the oldest, then by name.
type Place = (Reverse<i32>, i64, ObjectKey);

/// The pods that are to be tried. Each is tried once, then it waits for a change; so it holds no more than there are pods without a
/// place.
#[derive(Clone, Debug, Default)]
pub struct SchedulingQueue {
    waiting: BTreeSet<Place>,
    /// When those that wait have been tried, all are tried again: none is passed over for ever, however often there is a change.
    all: bool,
    /// Something changed: those for whom room is being made are in the next plan, or whoever had to leave could come back and take it.
    nominated: bool,
}

impl SchedulingQueue {
    /// A queue that tries all pods without a place.
    pub fn of_all() -> SchedulingQueue {
        SchedulingQueue { waiting: BTreeSet::new(), all: true, nominated: true }
    }

    /// Adds what a turn left, which ended in this state.
    pub fn add(&mut self, state: &State, left: &ToPlace) {
        self.all |= left.all;
        self.nominated |= left.all;
        self.waiting.extend(left.pods.iter().filter_map(|key| state.get(key)).map(|object| place(object)));
    }

    /// How many pods are known to be tried; those that a sweep over all will find are not counted.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing is to be tried.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.all
    }

    /// The input that places the next of them; none if there is nothing to do.
    pub fn next(&mut self, state: &State) -> Option<Input> {
        if self.waiting.is_empty() && std::mem::take(&mut self.all) {
            self.waiting
                .extend(state.unplaced().filter_map(|key| state.get(key)).map(|object| place(object)));
        }
        let mut pods = Vec::new();
        if std::mem::take(&mut self.nominated) {
            let nominated: BTreeSet<Place> =
                state.nominated().filter_map(|key| state.get(key)).map(|object| place(object)).collect();
            let unplaced = nominated.into_iter().filter(|(.., key)| state.is_unplaced(key));
            for first in unplaced.take(NOMINATED_LIMIT) {
                self.waiting.remove(&first);
                pods.push(first.2);
            }
        }
        while pods.len() < PLAN_LIMIT
            && let Some((.., key)) = self.waiting.pop_first()
        {
            if state.is_unplaced(&key) {
                pods.push(key);
            }
        }
        (!pods.is_empty()).then_some(Input::Place(pods))
    }
}

fn place(object: &Object) -> Place {
    (Reverse(object.pod().map_or(0, |pod| pod.priority)), object.meta.created_ms, object.key.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scheduling::fixture::{Cluster, asks};

    fn names(input: Option<Input>) -> Vec<String> {
        let Some(Input::Place(pods)) = input else { return Vec::new() };
        pods.iter().map(|key| key.name.to_string()).collect()
    }

    fn some(cluster: &Cluster, name: &str) -> ToPlace {
        let pods = cluster.pods.iter().filter(|key| key.name == name).cloned().collect();
        ToPlace { pods, all: false }
    }

    #[test]
    fn the_most_important_come_first_and_each_once() {
        let mut cluster = Cluster::nodes(1, 1);
        cluster.pod("a", "", asks("1"));
        let mut urgent = asks("1");
        urgent["priority"] = 7.into();
        cluster.pod("z", "", urgent);
        let mut queue = SchedulingQueue::default();
        assert!(queue.is_empty());
        for name in ["a", "z", "a"] {
            queue.add(&cluster.state, &some(&cluster, name));
        }
        assert_eq!(names(queue.next(&cluster.state)), ["z", "a"]);
        assert!(queue.is_empty() && queue.next(&cluster.state).is_none());
    }

    #[test]
    fn who_has_a_place_or_is_gone_is_left_out() {
        let mut cluster = Cluster::nodes(1, 1);
        for name in ["a", "b", "c"] {
            cluster.pod(name, "", asks("1"));
        }
        let mut queue = SchedulingQueue::default();
        for name in ["a", "b", "c"] {
            queue.add(&cluster.state, &some(&cluster, name));
        }
        let key = |name: &str| cluster.pods.iter().find(|key| key.name == name).unwrap().clone();
        let (b, c) = (key("b"), key("c"));
        cluster.state.apply(&crate::change::Change::Delete { key: b });
        cluster.assign(&[super::super::Placement { pod: c, node: Ok("n0000".into()), preemption: None }]);
        assert_eq!(names(queue.next(&cluster.state)), ["a"]);
    }

    fn nominate(cluster: &mut Cluster, name: &str) {
        let key = cluster.pods.iter().find(|key| key.name == name).unwrap().clone();
        let old = cluster.state.get(&key).unwrap().document.whole();
        let new = old.with_status(serde_json::json!({"phase": "Pending", "nominatedNodeName": "n0000"}));
        cluster.state.apply(&crate::change::Change::between(key, Some(&old), &new).unwrap());
    }

    /// After a change they are in the plan with whoever came by it, not in one after that; without a change they only wait.
    #[test]
    fn those_for_whom_room_is_made_are_tried_with_the_first_after_a_change() {
        let mut cluster = Cluster::nodes(1, 1);
        let mut urgent = asks("1");
        urgent["priority"] = 7.into();
        cluster.pod("urgent", "", urgent);
        cluster.pod("back", "", asks("1"));
        nominate(&mut cluster, "urgent");
        let mut queue = SchedulingQueue::default();
        let mut left = some(&cluster, "back");
        queue.add(&cluster.state, &left);
        assert_eq!(names(queue.next(&cluster.state)), ["back"]);
        left.all = true;
        queue.add(&cluster.state, &left);
        assert_eq!(names(queue.next(&cluster.state)), ["urgent", "back"]);
    }

    /// However many they are and however often something changes, others are tried, too.
    #[test]
    fn those_for_whom_room_is_made_leave_others_their_turn() {
        let mut cluster = Cluster::nodes(1, 1);
        let mut urgent = asks("1");
        urgent["priority"] = 7.into();
        cluster.replicas("urgent", PLAN_LIMIT, &urgent);
        for name in names(Some(Input::Place(cluster.pods.clone()))) {
            nominate(&mut cluster, &name);
        }
        cluster.pod("other", "", asks("1"));
        let mut queue = SchedulingQueue::of_all();
        let again = ToPlace { pods: BTreeSet::new(), all: true };
        let mut tried = BTreeSet::new();
        for _ in 0..2 {
            queue.add(&cluster.state, &again);
            tried.extend(names(queue.next(&cluster.state)));
        }
        assert!(tried.contains("other"));
    }

    /// Many that find no place do not keep the others from being tried, whatever goes on meanwhile.
    #[test]
    fn all_are_tried_before_any_is_tried_again() {
        let mut cluster = Cluster::nodes(1, 1);
        cluster.replicas("web", PLAN_LIMIT + 10, &asks("1"));
        let mut queue = SchedulingQueue::of_all();
        let again = ToPlace { pods: BTreeSet::new(), all: true };
        let first = names(queue.next(&cluster.state));
        queue.add(&cluster.state, &again);
        let second = names(queue.next(&cluster.state));
        assert_eq!((first.len(), second.len()), (PLAN_LIMIT, 10));
        assert!(second.iter().all(|name| !first.contains(name)));
        assert_eq!(names(queue.next(&cluster.state)), first);
    }
}
