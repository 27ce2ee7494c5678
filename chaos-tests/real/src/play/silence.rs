//! What a silence of all workers did to the pods, by the containers' own account: nothing may be restarted, evicted or doubled while
//! the controllers hear no worker, nor when they hear them again.

use kontiki_chaos_plan::{
    Run, Verdict,
    plan::{Event, FaultKind, Op, What},
};

/// A silence that nothing else disturbed.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// How long it lasted, milliseconds.
    pub lasted_ms: u64,
    /// Containers that ran when it began.
    pub running: usize,
    /// Containers that ended from then to the end of the run.
    pub ended: Vec<String>,
    /// Containers that began from then to the end of the run.
    pub began: Vec<String>,
}

impl Silence {
    /// As a judgement: goal 8, no pod is touched by mass silence (E12).
    pub fn verdict(&self, run: &Run) -> Verdict {
        if self.running == 0 {
            return Verdict::Unknown { words: "no container ran when all workers fell silent".into() };
        }
        if self.ended.is_empty() && self.began.is_empty() {
            return Verdict::Pass { examined: self.running as u64 };
        }
        let words = format!(
            "all workers were silent for {} ms; ended: {:?}; began: {:?}",
            self.lasted_ms, self.ended, self.began
        );
        Verdict::violated("E12", Some(run.settled.healed_ns), words)
    }
}

/// The silence of a run: all workers, and no one else, were cut off; nothing else broke in the run, and nobody changed the workload.
/// After an earlier fault containers may begin at any time, as late as they are restarted. Where more breaks, the check of E12 judges
/// whom the controllers gave up.
pub fn silence(run: &Run) -> Option<Silence> {
    let workers = run.plan.shape.workers as usize;
    let of_all = |event: usize, hit: &[String]| {
        let kind = match &run.plan.events.get(event).map(|event| &event.what) {
            Some(What::Fault(fault)) => Some(&fault.kind),
            _ => None,
        };
        let only_workers = hit.len() == workers && hit.iter().all(|name| name.starts_with("worker-"));
        only_workers && matches!(kind, Some(FaultKind::Isolate { .. }))
    };
    let fault = run.faults.iter().find(|fault| fault.bit && of_all(fault.event, &fault.hit))?;
    let others = run.faults.iter().any(|other| other != fault && other.skipped.is_none());
    let from_ms = fault.from_ns / 1_000_000;
    let changes = |event: &Event| match &event.what {
        What::Op { op, .. } => event.at_ms >= from_ms && !is_harmless(op),
        What::Fault(_) => false,
    };
    if others || run.plan.events.iter().any(changes) {
        return None;
    }
    let before = run.instances.iter().filter(|event| event.at_ns < fault.from_ns);
    let running = before.fold(0_usize, |count, event| match event.running {
        true => count + 1,
        false => count.saturating_sub(1),
    });
    let after = |running: bool| {
        let events = run.instances.iter().filter(|event| event.at_ns >= fault.from_ns);
        let events = events.filter(|event| event.running == running);
        events.map(|event| format!("{} on {}", event.pod, event.node)).collect()
    };
    Some(Silence {
        lasted_ms: (fault.until_ns - fault.from_ns) / 1_000_000,
        running,
        ended: after(false),
        began: after(true),
    })
}

/// Whether an operation touches no pod.
fn is_harmless(op: &Op) -> bool {
    matches!(
        op,
        Op::Put { .. }
            | Op::Cas { .. }
            | Op::Remove { .. }
            | Op::Get { .. }
            | Op::GetStale { .. }
            | Op::List { .. }
            | Op::DryRun { .. }
            | Op::Watch { .. }
            | Op::WatchSlowly { .. }
    )
}

#[cfg(test)]
mod tests {
    use kontiki_chaos_plan::{
        Layer, Plan,
        history::{FaultRecord, InstanceEvent},
        plan::{Fault, Shape, Side, Target},
    };

    use super::*;

    fn run() -> Run {
        let fault =
            Fault { on: Target::Workers, for_ms: 5000, kind: FaultKind::Isolate { side: Side::Both } };
        let shape = Shape { workers: 2, ..Shape::default() };
        let events = vec![Event { at_ms: 5000, what: What::Fault(fault) }];
        let mut run = Run::new(Plan { seed: 1, shape, events }, Layer::L3);
        run.faults.push(FaultRecord {
            event: 0,
            number: 5,
            hit: vec!["worker-0".into(), "worker-1".into()],
            from_ns: 5_000_000_000,
            until_ns: 10_000_000_000,
            bit: true,
            skipped: None,
        });
        run.instances.push(instance(1_000_000_000, true));
        run
    }

    fn instance(at_ns: u64, running: bool) -> InstanceEvent {
        InstanceEvent {
            at_ns,
            node: "worker-0".into(),
            pod_uid: "u".into(),
            pod: "default/p".into(),
            container: "main".into(),
            attempt: 0,
            running,
            exit: None,
        }
    }

    #[test]
    fn a_pod_that_is_touched_is_found() {
        let mut run = run();
        assert_eq!(silence(&run).unwrap().verdict(&run), Verdict::Pass { examined: 1 });
        run.instances.push(instance(11_000_000_000, false));
        assert!(!silence(&run).unwrap().verdict(&run).passed());
    }

    #[test]
    fn after_another_fault_containers_may_begin() {
        let mut run = run();
        let (from_ns, until_ns) = (2_000_000_000, 2_000_000_001);
        run.faults.push(FaultRecord { from_ns, until_ns, number: 31, event: 7, ..run.faults[0].clone() });
        assert_eq!(silence(&run), None);
        run.faults[1].skipped = Some("no container runs there".into());
        assert!(silence(&run).is_some());
    }

    #[test]
    fn what_people_did_is_no_silence() {
        let mut run = run();
        let op = Op::Scale { name: 0, replicas: 1 };
        run.plan.events.push(Event { at_ms: 6000, what: What::Op { client: 0, via: 0, op } });
        assert_eq!(silence(&run), None);
    }
}
