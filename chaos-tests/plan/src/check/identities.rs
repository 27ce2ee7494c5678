//! An identity of a StatefulSet has one holder: by the nodes' own account no container of a pod runs while one of a pod of the same name
//! and another uid does, anywhere. A lost node's pods keep their names until their worker says that nothing of them runs. Whoever deletes
//! a pod by force has said so himself, which is Kubernetes' own exception, and so has whoever speaks with a worker's certificate. When
//! all has settled, each ordinal that is wanted is held once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kontiki_actors::{Input, Kind, Object, ObjectKey, Request, State};

use super::{Check, Moment, Observer, Verdict, hits, placement::pods_put};
use crate::{Run, history::InstanceEvent, plan::FaultKind};

/// E3.
pub(crate) struct Identities;

impl Check for Identities {
    fn name(&self) -> &'static str {
        "identities"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E3"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

/// The StatefulSet and the ordinal that a pod's name stands for.
pub(super) fn identity(key: &ObjectKey) -> Option<(ObjectKey, i64)> {
    let (set, digits) = key.name.rsplit_once('-')?;
    let ordinal: i64 = digits.parse().ok()?;
    let plain = ordinal >= 0 && ordinal.to_string() == digits;
    plain.then(|| (ObjectKey::new(Kind::STATEFUL_SET, &key.namespace, set), ordinal))
}

/// Whether a pod is of a controller of this kind.
pub(super) fn is_of(pod: &Object, kind: &str) -> bool {
    pod.meta.controller().is_some_and(|owner| owner.kind == kind)
}

#[derive(Default)]
struct Look {
    /// The uids of all pods of StatefulSets.
    stateful: HashSet<String>,
    /// Of these, whom somebody deleted without waiting for a worker.
    forced: HashSet<String>,
}

/// Who holds an identity: (uid, node, container).
type Holders<'a> = BTreeSet<(&'a str, &'a str, &'a str)>;

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for (_, pod) in pods_put(moment).filter(|(_, pod)| is_of(pod, "StatefulSet")) {
            self.stateful.insert(pod.meta.uid.to_string());
        }
        if let Input::Api(Request::Delete { key, options, .. }) = &moment.turn.turned.input
            && options.grace_s == Some(0)
            && let Some(pod) = moment.before.get(key)
        {
            self.forced.insert(pod.meta.uid.to_string());
        }
        Ok(())
    }

    fn end(&mut self, run: &Run, last: &State) -> Result<u64, Verdict> {
        let mut events: Vec<&InstanceEvent> =
            run.instances.iter().filter(|event| self.stateful.contains(&event.pod_uid)).collect();
        events.sort_by_key(|event| event.at_ns);
        let mut held: HashMap<&str, Holders<'_>> = HashMap::new();
        for event in &events {
            let holders = held.entry(&event.pod).or_default();
            let this = (event.pod_uid.as_str(), event.node.as_str(), event.container.as_str());
            if !event.running {
                holders.remove(&this);
                continue;
            }
            let excused = |uid: &str, node: &str| self.forced.contains(uid) || is_impersonated(run, node);
            let other = holders.iter().find(|(uid, node, _)| *uid != event.pod_uid && !excused(uid, node));
            if let Some((uid, node, _)) = other {
                let words = format!(
                    "{} ({}) starts on {} while another holder of this identity ({uid}) runs on {node}",
                    event.pod, event.pod_uid, event.node
                );
                return Err(Verdict::violated("E3", Some(event.at_ns), words));
            }
            holders.insert(this);
        }
        let mut examined = events.len() as u64;
        if run.settled.workload_ns.is_some() {
            examined += each_wanted_one_once(run, last, &held)?;
        }
        Ok(examined)
    }
}

/// Somebody else speaks with this worker's certificate, and may say that anything of it is gone.
fn is_impersonated(run: &Run, node: &str) -> bool {
    hits::on(run, |name| name == node, 0, u64::MAX).any(|kind| matches!(kind, FaultKind::EvilWorker))
}

fn each_wanted_one_once(run: &Run, last: &State, held: &HashMap<&str, Holders<'_>>) -> Result<u64, Verdict> {
    let mut examined = 0;
    for set in last.list(Kind::STATEFUL_SET, None).filter(|set| !set.meta.deleting()) {
        let Some(spec) = set.stateful_set() else { continue };
        let wanted = spec.start..spec.start + spec.replicas;
        let own = |pod: &&std::sync::Arc<Object>| pod.key.kind == Kind::POD;
        let pods: BTreeMap<i64, &std::sync::Arc<Object>> = last
            .dependents(&set.meta.uid)
            .filter(own)
            .filter_map(|pod| Some((identity(&pod.key)?.1, pod)))
            .collect();
        // One without a place has nothing to run on, and the others may wait for it.
        if pods.values().any(|pod| pod.pod().is_some_and(|digest| digest.node.is_none())) {
            continue;
        }
        examined += wanted.clone().count() as u64;
        let violated = |words: String| {
            let words = format!("everything has settled, and {}", words);
            Err(Verdict::violated("E3", Some(run.settled.healed_ns), words))
        };
        if let Some(ordinal) = wanted.clone().find(|ordinal| !pods.contains_key(ordinal)) {
            return violated(format!("{} has no pod of ordinal {ordinal}", set.key));
        }
        if let Some((ordinal, pod)) = pods.iter().find(|(ordinal, _)| !wanted.contains(ordinal)) {
            return violated(format!("{} still has {}, and wants none of {ordinal}", set.key, pod.key));
        }
        for pod in pods.values().filter(|_| !run.instances.is_empty()) {
            let name = format!("{}/{}", pod.key.namespace, pod.key.name);
            let holders: Vec<&str> =
                held.get(name.as_str()).into_iter().flatten().map(|(uid, ..)| *uid).collect();
            if holders != [pod.meta.uid.as_str()] {
                return violated(format!("{} ({}) is held by {holders:?}", pod.key, pod.meta.uid));
            }
        }
    }
    Ok(examined)
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Change, input::DeleteOptions};

    use super::*;
    use crate::{
        check::build::{Build, fault},
        history::Call,
        names,
    };

    fn running() -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.stateful_set(0, 3, false);
        build.converge();
        build.run.settled.workload_ns = Some(1);
        build
    }

    fn pod(build: &Build, ordinal: u32) -> std::sync::Arc<Object> {
        let key = ObjectKey::new(Kind::POD, names::NAMESPACE, &format!("s0-{ordinal}"));
        build.state.get(&key).unwrap().clone()
    }

    fn found(build: &Build) -> bool {
        matches!(Identities.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E3")
    }

    /// The pod of ordinal 1 is deleted and comes back, and what is left of the first runs on.
    fn replaced(options: DeleteOptions) -> Build {
        let mut build = running();
        let key = pod(&build, 1).key.clone();
        let delete = Request::Delete { key, options, dry_run: false };
        build.api("d", Call::Other { what: "delete".into() }, delete);
        build.converge();
        build
    }

    #[test]
    fn names_are_identities() {
        let of = |name: &str| {
            identity(&ObjectKey::new(Kind::POD, "a", name)).map(|(set, n)| (set.name.to_string(), n))
        };
        assert_eq!(of("web-0"), Some(("web".to_string(), 0)));
        assert_eq!(of("a-b-12"), Some(("a-b".to_string(), 12)));
        assert_eq!([of("web"), of("web-01"), of("web-x")], [None, None, None]);
    }

    #[test]
    fn each_identity_is_held_once() {
        // Three pods start, and each is looked at again at the end.
        assert_eq!(Identities.check(&running().run), Verdict::Pass { examined: 6 });
        let build = replaced(DeleteOptions::default());
        assert_eq!(Identities.check(&build.run), Verdict::Pass { examined: 8 });
    }

    #[test]
    fn two_holders_at_a_time_are_found() {
        let mut build = replaced(DeleteOptions::default());
        let stop = build.run.instances.iter().position(|event| !event.running).unwrap();
        let late = build.run.instances.remove(stop);
        assert!(found(&build), "the first one runs on for ever");
        build.run.instances.push(InstanceEvent { at_ns: u64::MAX, ..late.clone() });
        assert!(found(&build), "it ends after the second one began");
        fault(&mut build.run, FaultKind::EvilWorker, &late.node, 1, 2);
        assert!(!found(&build), "somebody else said that nothing of it runs");
    }

    #[test]
    fn who_deletes_by_force_has_been_warned() {
        let build = replaced(DeleteOptions { grace_s: Some(0), ..DeleteOptions::default() });
        let first = &build.run.instances.iter().find(|event| event.pod.ends_with("s0-1")).unwrap().pod_uid;
        assert_ne!(pod(&build, 1).meta.uid.as_str(), first);
        let mut run = build.run.clone();
        run.settled.workload_ns = None;
        assert!(Identities.check(&run).passed());
    }

    #[test]
    fn an_ordinal_that_is_missing_or_too_much_at_the_end_is_found() {
        let mut build = running();
        let last = pod(&build, 2).key.clone();
        build.forge(vec![Change::Delete { key: last }]);
        assert!(found(&build), "it is missing");
        let mut build = running();
        let set = build.state.get(&names::stateful_set(0)).unwrap().clone();
        build.forge(vec![crate::check::build::forge_spec(&set, |spec| spec["replicas"] = 2.into())]);
        assert!(found(&build), "it is too much");
        build.run.settled.workload_ns = None;
        assert!(!found(&build), "nothing has settled");
        let mut build = running();
        let uid = pod(&build, 0).meta.uid.to_string();
        let start = build.run.instances.iter().find(|event| event.pod_uid == uid).unwrap().clone();
        build.run.instances.push(InstanceEvent { running: false, at_ns: u64::MAX, ..start });
        assert!(found(&build), "it does not run");
    }
}
