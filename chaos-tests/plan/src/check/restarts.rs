//! No container starts again on a node that nothing had hit which kills containers: not when its worker reconnects, not when the
//! agent comes back, not when the leader changes.

use std::collections::HashMap;

use super::{Check, Evidence, Verdict, hits};
use crate::{history::InstanceEvent, plan::FaultKind};

/// E4 over time, and goal 8: no mass restart.
pub(crate) struct Restarts;

impl Check for Restarts {
    fn name(&self) -> &'static str {
        "restarts"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E4"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        let mut events: Vec<&InstanceEvent> = run.instances.iter().collect();
        events.sort_by_key(|event| event.at_ns);
        let mut started: HashMap<(&str, &str, &str), u64> = HashMap::new();
        for event in events.iter().filter(|event| event.running) {
            let what = (event.node.as_str(), event.pod_uid.as_str(), event.container.as_str());
            let Some(before) = started.insert(what, event.at_ns) else { continue };
            if hits::on(run, |name| name == event.node, before, event.at_ns).any(kills_containers) {
                continue;
            }
            let words = format!(
                "container {} of {} ({}) started again on {} (attempt {}), which nothing had hit that kills containers",
                event.container, event.pod, event.pod_uid, event.node, event.attempt
            );
            return Verdict::violated("E4", Some(event.at_ns), words);
        }
        Verdict::Pass { examined: events.len() as u64 }
    }
}

/// Whether containers may die of it.
fn kills_containers(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Crash
            | FaultKind::PowerCut
            | FaultKind::NodeReboot
            | FaultKind::ContainersExit { .. }
            | FaultKind::RuntimeHangs
            | FaultKind::MemoryLimit { .. }
            | FaultKind::CpuLimit { .. }
            | FaultKind::FileLimit { .. }
            | FaultKind::DiskFull
            | FaultKind::DiskError
            | FaultKind::DiskLost
            | FaultKind::BitRot { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::build::{Build, fault},
        plan::Side,
    };

    #[test]
    fn a_restart_without_a_reason_is_found() {
        let mut build = Build::new();
        build.instance("worker-0", "a", "default/a", true);
        build.wait_ms(1000);
        build.instance("worker-0", "a", "default/a", false);
        build.instance("worker-1", "b", "default/b", true);
        assert!(Restarts.check(&build.run).passed());
        build.wait_ms(1000);
        build.instance("worker-0", "a", "default/a", true);
        let found = |build: &Build| !Restarts.check(&build.run).passed();
        assert!(found(&build));
        fault(&mut build.run, FaultKind::Isolate { side: Side::Both }, "worker-0", 500, 1500);
        fault(&mut build.run, FaultKind::AgentCrash, "worker-0", 500, 1500);
        assert!(found(&build), "neither a cut nor the agent's death kills containers");
        fault(&mut build.run, FaultKind::NodeReboot, "worker-1", 500, 1500);
        assert!(found(&build), "that was another node");
        fault(&mut build.run, FaultKind::NodeReboot, "worker-0", 500, 1500);
        assert!(!found(&build));
    }
}
