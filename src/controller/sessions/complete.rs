//! What a worker is to run when its session begins, by what it knows already: all workers greet a new leader at the same moment, and what
//! does not travel then is neither written, sent, read, nor applied anew.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kontiki_actors::{Object, ObjectKey, State};
use kontiki_proto::worker::PodDigest;

use super::assignment::{dependencies, digest};

/// The pods of a node.
pub(super) struct Complete {
    /// Of these it was not told everything.
    pub(super) put: Vec<Arc<Object>>,
    /// Of these it was, and of the objects that each refers to.
    pub(super) keep: Vec<(Arc<Object>, BTreeSet<ObjectKey>)>,
}

impl Complete {
    /// By the state, of a worker that has been told so much.
    pub(super) fn of(state: &State, node: &str, told: &[PodDigest]) -> Complete {
        let told: HashMap<&str, &PodDigest> = told.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        let mut complete = Complete { put: Vec::new(), keep: Vec::new() };
        for pod in state.pods_on(node) {
            let have = told.get(pod.meta.uid.as_str());
            // A pod that has ended is of no more interest, unless the worker still has something of it.
            if pod.pod().is_some_and(|p| p.terminal()) && have.is_none() && !pod.meta.deleting() {
                continue;
            }
            let needed = dependencies(state, pod);
            let knows = have.is_some_and(|have| match have.digest.as_str() {
                // It was told by a leader of an earlier build. What the pod refers to may have changed meanwhile.
                "" => have.revision == pod.revision && needed.is_empty(),
                digest_told => digest_told == digest(state, pod, &needed),
            });
            if knows {
                complete.keep.push((pod.clone(), needed));
            } else {
                complete.put.push(pod.clone());
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Document, Kind};
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::sessions::assignment::assignment;

    fn state(objects: &[(Kind, u64, Value)]) -> State {
        let mut state = State::default();
        for (kind, revision, value) in objects {
            let key = ObjectKey::new(*kind, "ns", value["metadata"]["name"].as_str().unwrap());
            state.restore(Object::new(key, *revision, Document::from_value(value.clone())));
        }
        state
    }

    fn pod(status: &str, image: &str) -> Value {
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "status": {"phase": status},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": image,
                "envFrom": [{"configMapRef": {"name": "m"}}]}]}})
    }

    fn map(key: &str) -> Value {
        json!({"metadata": {"name": "m", "namespace": "ns", "uid": "v"}, "data": {"key": key}})
    }

    /// What a worker says later that was told of the pod by this state.
    fn told(state: &State) -> Vec<PodDigest> {
        let pod = state.pods_on("n1").next().unwrap();
        let assignment = assignment(state, pod, &dependencies(state, pod), None);
        vec![PodDigest { uid: assignment.uid, revision: assignment.revision, digest: assignment.digest }]
    }

    /// How many travel and how many do not.
    fn counts(state: &State, told: &[PodDigest]) -> (usize, usize) {
        let complete = Complete::of(state, "n1", told);
        (complete.put.len(), complete.keep.len())
    }

    #[test]
    fn a_pod_does_not_travel_again_for_what_its_worker_reported() {
        let first = state(&[(Kind::POD, 3, pod("Pending", "web:1")), (Kind::CONFIG_MAP, 2, map("a"))]);
        let told = told(&first);
        assert_eq!(counts(&first, &told), (0, 1));
        let reported = state(&[(Kind::POD, 9, pod("Running", "web:1")), (Kind::CONFIG_MAP, 2, map("a"))]);
        assert_eq!(counts(&reported, &told), (0, 1));
        let complete = Complete::of(&reported, "n1", &told);
        let needed: Vec<String> = complete.keep[0].1.iter().map(|key| key.name.to_string()).collect();
        assert_eq!(needed, ["m"], "its changes must be followed all the same");
    }

    #[test]
    fn whatever_is_new_travels() {
        let told = told(&state(&[(Kind::POD, 3, pod("Pending", "web:1")), (Kind::CONFIG_MAP, 2, map("a"))]));
        let other = state(&[(Kind::POD, 9, pod("Pending", "web:2")), (Kind::CONFIG_MAP, 2, map("a"))]);
        assert_eq!(counts(&other, &told), (1, 0), "the pod");
        let changed = state(&[(Kind::POD, 3, pod("Pending", "web:1")), (Kind::CONFIG_MAP, 8, map("b"))]);
        assert_eq!(counts(&changed, &told), (1, 0), "what it refers to");
        let gone = state(&[(Kind::POD, 3, pod("Pending", "web:1"))]);
        assert_eq!(counts(&gone, &told), (1, 0), "what it refers to is gone");
        let mut again = pod("Pending", "web:1");
        again["metadata"]["uid"] = "w".into();
        let again = state(&[(Kind::POD, 11, again), (Kind::CONFIG_MAP, 2, map("a"))]);
        assert_eq!(counts(&again, &told), (1, 0), "another pod of that name");
    }

    #[test]
    fn a_worker_without_digests_is_told_of_each_new_revision() {
        let plain =
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"nodeName": "n1"}});
        let now = state(&[(Kind::POD, 3, plain)]);
        let old = |revision| vec![PodDigest { uid: "u".into(), revision, digest: String::new() }];
        assert_eq!(counts(&now, &old(3)), (0, 1));
        assert_eq!(counts(&now, &old(2)), (1, 0));
        let refers = state(&[(Kind::POD, 3, pod("Pending", "web:1"))]);
        assert_eq!(counts(&refers, &old(3)), (1, 0), "it does not say what it knows of the map");
    }

    #[test]
    fn what_has_ended_travels_only_to_who_has_something_of_it() {
        let ended = state(&[(Kind::POD, 3, pod("Succeeded", "web:1"))]);
        assert_eq!(counts(&ended, &[]), (0, 0));
        let has = PodDigest { uid: "u".into(), revision: 2, digest: String::new() };
        assert_eq!(counts(&ended, &[has]), (1, 0));
    }
}
