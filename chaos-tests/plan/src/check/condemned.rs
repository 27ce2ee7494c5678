//! No node is given up while nothing keeps it from its leader, and not all nodes at once when it is the controllers that hear nobody.

use kontiki_actors::{Input, Kind, Object, State, input::Life};

use super::{Check, Moment, Observer, Verdict, hits};
use crate::{Run, history::FaultRecord, plan::FaultKind};

/// E12.
pub(crate) struct Condemned;

/// After a fault ended, silence that it caused may still be noticed for this long besides the grace.
const SLACK_NS: u64 = 5_000_000_000;
/// Below so many nodes, all of them is not a mass.
const MASS: usize = 3;

impl Check for Condemned {
    fn name(&self) -> &'static str {
        "condemned"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E12"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
}

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        let Input::Verdicts(verdicts) = &moment.turn.turned.input else { return Ok(()) };
        let down: Vec<&str> = verdicts
            .iter()
            .filter(|verdict| verdict.life == Life::Down)
            .map(|verdict| &*verdict.node)
            .collect();
        let Some(at) = moment.at_ns().filter(|_| !down.is_empty()) else { return Ok(()) };
        self.examined += down.len() as u64;
        let grace = moment.run.plan.shape.node_grace_ms * 1_000_000;
        let from = at.saturating_sub(grace * 2 + SLACK_NS);
        if let Some(since) = reign_began(moment.run, moment.turn.term)
            && at.saturating_sub(since) < grace * 4 / 5
        {
            let led = at.saturating_sub(since) / 1_000_000;
            let words =
                format!("{} was given up by a leader that had led for {led} ms only", down.join(", "));
            return Err(moment.violated("E12", words));
        }
        // Whatever hits a controller may keep it from all its workers.
        let controllers =
            hits::on(moment.run, |name| name.starts_with("controller-"), from, at).next().is_some();
        for node in &down {
            let excused =
                controllers || hits::on(moment.run, |name| name == *node, from, at).next().is_some();
            if !excused {
                return Err(moment.violated("E12", format!("{node} was given up, and nothing had hit it")));
            }
        }
        if !controllers
            && let Some(node) = down.iter().find(|node| in_mass_silence(moment.run, node, at, grace))
        {
            let words = format!(
                "{node} was given up although all workers had been out of contact at once, and had no time to come back"
            );
            return Err(moment.violated("E12", words));
        }
        let nodes = moment.after.list(Kind::NODE, None);
        let (lost, held): (Vec<&Object>, Vec<&Object>) =
            nodes.map(|node| &**node).partition(|node| given_up(node));
        if held.is_empty() && lost.len() >= MASS {
            let dead =
                |node: &&Object| hits::on(moment.run, |name| name == node.key.name, from, at).any(kills);
            if let Some(alive) = lost.iter().find(|node| !dead(node)) {
                let words = format!(
                    "all {} nodes are given up at once; {} for one was only not heard",
                    lost.len(),
                    alive.key.name
                );
                return Err(moment.violated("E12", words));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

/// When the reign of this term began, by whoever says so first: that of the leader who decided, whoever commits it.
fn reign_began(run: &Run, term: u64) -> Option<u64> {
    run.reigns.iter().filter(|reign| reign.term == term).map(|reign| reign.from_ns).min()
}

/// Whether all workers together are out of contact at this time, or were within the grace before, and nothing else had hit this one.
fn in_mass_silence(run: &Run, node: &str, at_ns: u64, grace_ns: u64) -> bool {
    let workers = run.plan.shape.workers as usize;
    let cut_off = |record: &FaultRecord| {
        let all = record.hit.iter().filter(|name| name.starts_with("worker-")).count() >= workers.max(MASS);
        all && matches!(hits::kind(run, record), Some(FaultKind::Isolate { .. }))
    };
    let mass = |record: &&FaultRecord| {
        cut_off(record) && (record.from_ns..=record.until_ns.saturating_add(grace_ns)).contains(&at_ns)
    };
    let Some(mass) = run.faults.iter().find(mass) else { return false };
    let from = mass.from_ns.saturating_sub(grace_ns * 2 + SLACK_NS);
    let other = |record: &&FaultRecord| {
        *record != mass
            && hits::kind(run, record).is_some()
            && record.hit.iter().any(|name| name == node)
            && record.from_ns <= at_ns
            && record.until_ns >= from
    };
    !run.faults.iter().any(|record| other(&record))
}

fn given_up(node: &Object) -> bool {
    node.node().is_some_and(|node| {
        node.taints
            .iter()
            .any(|taint| taint.key == "node.kubernetes.io/unreachable" && taint.effect == "NoExecute")
    })
}

/// Whether a worker stands still or is dead under this fault.
fn kills(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Crash
            | FaultKind::PowerCut
            | FaultKind::Pause
            | FaultKind::AgentCrash
            | FaultKind::NodeReboot
            | FaultKind::MemoryLimit { .. }
            | FaultKind::CpuLimit { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::build::{Build, fault},
        history::Reign,
        plan::Side,
    };

    fn found(build: &Build) -> bool {
        matches!(Condemned.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E12")
    }

    #[test]
    fn a_node_that_nothing_had_hit_is_found() {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.wait_ms(60_000);
        build.verdict(1, Life::Suspect);
        assert!(Condemned.check(&build.run).passed());
        build.verdict(1, Life::Down);
        assert!(found(&build));
        fault(&mut build.run, FaultKind::Crash, "worker-2", 50_000, 70_000);
        assert!(found(&build), "another one was hit");
        fault(&mut build.run, FaultKind::Crash, "worker-1", 1_000, 2_000);
        assert!(found(&build), "long before");
        fault(&mut build.run, FaultKind::Crash, "worker-1", 50_000, 70_000);
        assert_eq!(Condemned.check(&build.run), Verdict::Pass { examined: 1 });
    }

    #[test]
    fn a_new_leader_that_gives_up_nodes_at_once_is_found() {
        let mut build = Build::new();
        build.nodes(3, 9);
        fault(&mut build.run, FaultKind::Crash, "controller-0", 58_000, 70_000);
        fault(&mut build.run, FaultKind::PowerCut, "worker-1", 50_000, 70_000);
        build.wait_ms(60_000);
        build.term = 2;
        build.verdict(1, Life::Down);
        let reign = |controller, term, from_ms: u64, until_ns| Reign {
            controller,
            term,
            from_ns: from_ms * 1_000_000,
            until_ns,
        };
        build.run.reigns = vec![reign(0, 1, 0, Some(58_000_000_000)), reign(1, 2, 59_000, None)];
        assert!(found(&build), "even one that is dead gets its grace from every leader");
        build.run.reigns.push(reign(2, 3, 59_900, None));
        build.run.reigns[1].from_ns = 56_000_000_000;
        assert!(!found(&build), "it was decided in the term before, by a leader that had waited");
    }

    #[test]
    fn workers_that_were_all_cut_off_get_time_to_come_back() {
        let silence = |condemned_at_ms: u64| {
            let mut build = Build::new();
            build.run.plan.shape.workers = 3;
            build.nodes(3, 9);
            fault(&mut build.run, FaultKind::Isolate { side: Side::Both }, "worker-0", 20_000, 60_000);
            build.run.faults[0].hit.extend(["worker-1".into(), "worker-2".into()]);
            build.wait_ms(condemned_at_ms);
            build.verdict(1, Life::Down);
            build
        };
        assert!(found(&silence(50_000)), "in the middle of it");
        assert!(found(&silence(60_500)), "another one was heard a moment before");
        assert!(!found(&silence(65_000)), "it had its time");
        let mut build = silence(60_500);
        fault(&mut build.run, FaultKind::PowerCut, "worker-1", 30_000, 70_000);
        assert!(!found(&build), "it was dead besides");
    }

    #[test]
    fn mass_condemnation_is_found() {
        let build = |kind: FaultKind| {
            let mut build = Build::new();
            build.nodes(3, 9);
            build.wait_ms(60_000);
            for n in 0..3 {
                fault(&mut build.run, kind.clone(), &crate::names::worker(n), 50_000, 70_000);
                build.verdict(n, Life::Down);
            }
            build
        };
        assert!(found(&build(FaultKind::Isolate { side: Side::Both })), "they were only not heard");
        assert!(!found(&build(FaultKind::PowerCut)), "they were dead");
    }
}
