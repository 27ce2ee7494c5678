//! What runs, by the nodes' own account, against what the log assigned: nothing starts where it was not assigned, nothing runs twice,
//! and when all has settled exactly what is assigned runs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kontiki_actors::{Kind, State};

use super::{Check, Moment, Observer, Verdict, placement::placed};
use crate::{Run, history::InstanceEvent};

/// E2 and E4 on the nodes.
pub(crate) struct Running;

impl Check for Running {
    fn name(&self) -> &'static str {
        "running"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E2", "E4"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    /// (uid, node) that the log assigned at some time.
    assigned: HashSet<(String, String)>,
}

/// What runs: (uid, container) on a node, with its attempt.
type Live<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<(&'a str, u32)>>;

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for (pod, node) in placed(moment) {
            self.assigned.insert((pod.meta.uid.to_string(), node.to_string()));
        }
        Ok(())
    }

    fn end(&mut self, run: &Run, last: &State) -> Result<u64, Verdict> {
        let mut events: Vec<&InstanceEvent> = run.instances.iter().collect();
        events.sort_by_key(|event| event.at_ns);
        let mut live: Live<'_> = BTreeMap::new();
        for event in &events {
            self.start_or_stop(event, &mut live)?;
        }
        // A leader is there again, and had its time: whoever runs what it does not know of is not told so any more.
        let led = run.settled.leader_ns.is_some() && !run.plan.shape.beyond_budget;
        if led || run.settled.workload_ns.is_some() {
            nothing_else_runs(run, last, &live)?;
        }
        if run.settled.workload_ns.is_some() && !events.is_empty() {
            all_of_it_runs(run, last, &live)?;
        }
        Ok(events.len() as u64)
    }
}

impl Look {
    fn start_or_stop<'a>(&self, event: &'a InstanceEvent, live: &mut Live<'a>) -> Result<(), Verdict> {
        let instances = live.entry((&event.pod_uid, &event.container)).or_default();
        let this = (event.node.as_str(), event.attempt);
        if !event.running {
            instances.remove(&this);
            return Ok(());
        }
        let violated = |invariant, words| Err(Verdict::violated(invariant, Some(event.at_ns), words));
        let what = format!("{} ({}), container {}", event.pod, event.pod_uid, event.container);
        if let Some((node, attempt)) = instances.iter().find(|other| **other != this) {
            let words = format!(
                "{what}, started as attempt {} on {} while attempt {attempt} runs on {node}",
                event.attempt, event.node
            );
            return violated("E2", words);
        }
        if !self.assigned.contains(&(event.pod_uid.clone(), event.node.clone())) {
            return violated("E4", format!("{what}, started on {}, where it was never assigned", event.node));
        }
        instances.insert(this);
        Ok(())
    }
}

fn nothing_else_runs(run: &Run, last: &State, live: &Live<'_>) -> Result<(), Verdict> {
    for ((uid, container), instances) in live {
        for (node, _) in instances {
            let assigned = last.by_uid(uid).and_then(|pod| pod.pod()?.node.clone());
            if assigned.as_deref() != Some(node) {
                let words = format!(
                    "at the end container {container} of the pod {uid} still runs on {node}; it is assigned to {assigned:?}"
                );
                return Err(Verdict::violated("E4", Some(run.settled.healed_ns), words));
            }
        }
    }
    Ok(())
}

fn all_of_it_runs(run: &Run, last: &State, live: &Live<'_>) -> Result<(), Verdict> {
    let running = live.iter().filter(|(_, instances)| !instances.is_empty());
    let running: HashSet<&str> = running.map(|((uid, _), _)| *uid).collect();
    for pod in last.list(Kind::POD, None).filter(|pod| !pod.meta.deleting()) {
        let Some(digest) = pod.pod().filter(|digest| !digest.terminal()) else { continue };
        if let Some(node) = &digest.node
            && !running.contains(pod.meta.uid.as_str())
        {
            let words = format!("everything has settled, and {} does not run on {node}", pod.key);
            return Err(Verdict::violated("E4", Some(run.settled.healed_ns), words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, rolling};

    fn running() -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 3, rolling(1, 0));
        build.converge();
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 2.into());
        build.converge();
        build.run.settled.workload_ns = Some(1);
        build
    }

    fn found(build: &Build) -> String {
        match Running.check(&build.run) {
            Verdict::Violated { invariant, .. } => invariant,
            other => panic!("not found: {other:?}"),
        }
    }

    /// The first start of a pod that still runs.
    fn start(build: &Build) -> InstanceEvent {
        let pod = build.state.list(Kind::POD, None).next().unwrap();
        let mut events = build.run.instances.iter();
        events.find(|event| event.pod_uid == pod.meta.uid.as_str()).unwrap().clone()
    }

    #[test]
    fn what_is_assigned_runs() {
        assert_eq!(Running.check(&running().run), Verdict::Pass { examined: 4 });
    }

    #[test]
    fn a_pod_on_two_nodes_is_found() {
        let mut build = running();
        let twin = InstanceEvent { node: "worker-9".into(), at_ns: u64::MAX, ..start(&build) };
        build.run.instances.push(twin);
        assert_eq!(found(&build), "E2");
    }

    #[test]
    fn two_attempts_at_once_are_found() {
        let mut build = running();
        let twin = InstanceEvent { attempt: 1, at_ns: u64::MAX, ..start(&build) };
        build.run.instances.push(twin);
        assert_eq!(found(&build), "E2");
    }

    #[test]
    fn a_start_where_nothing_was_assigned_is_found() {
        let mut build = running();
        build.instance("worker-0", "nobody", "default/nobody", true);
        assert_eq!(found(&build), "E4");
    }

    #[test]
    fn what_runs_on_and_what_does_not_run_at_the_end_is_found() {
        let mut build = running();
        let stopped = build.run.instances.iter().position(|event| !event.running).unwrap();
        build.run.instances.remove(stopped);
        assert_eq!(found(&build), "E4", "the deleted one runs on");
        (build.run.settled.workload_ns, build.run.settled.leader_ns) = (None, Some(1));
        assert_eq!(found(&build), "E4", "for ever, so that nothing settles");
        let mut build = running();
        let stop = InstanceEvent { running: false, at_ns: u64::MAX, ..start(&build) };
        build.run.instances.push(stop);
        assert_eq!(found(&build), "E4", "one does not run");
        build.run.settled.workload_ns = None;
        assert!(Running.check(&build.run).passed());
    }
}
