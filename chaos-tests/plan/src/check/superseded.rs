//! A command that a newer one has overtaken is never carried out, in whatever order and however often it arrives: what a worker has
//! said to be gone, in a report that was committed, never begins to run there again.

use std::collections::HashMap;

use kontiki_actors::Input;

use super::{Check, Evidence, Verdict, hits};
use crate::plan::FaultKind;

/// E5.
pub(crate) struct Superseded;

impl Check for Superseded {
    fn name(&self) -> &'static str {
        "superseded"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E5"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        // Somebody who speaks with a worker's certificate may say that anything of it is gone.
        let honest = |node: &str| {
            !hits::on(run, |name| name == node, 0, u64::MAX).any(|kind| matches!(kind, FaultKind::EvilWorker))
        };
        let mut gone: HashMap<(&str, &str), u64> = HashMap::new();
        for turn in log.turns.iter().filter(|turn| turn.committed_ns > 0) {
            let Input::Reports(reports) = &turn.turned.input else { continue };
            for report in reports.iter().filter(|report| report.gone && honest(&report.node)) {
                gone.entry((&report.node, &report.uid)).or_insert(turn.committed_ns);
            }
        }
        let mut examined = 0;
        for event in run.instances.iter().filter(|event| event.running) {
            let Some(since) = gone.get(&(event.node.as_str(), event.pod_uid.as_str())) else { continue };
            examined += 1;
            if event.at_ns > *since {
                let words = format!(
                    "{} ({}) begins to run on {}, which had said that nothing of it is left: an older command was obeyed",
                    event.pod, event.pod_uid, event.node
                );
                return Verdict::violated("E5", Some(event.at_ns), words);
            }
        }
        Verdict::Pass { examined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Run,
        check::build::{Build, fault, rolling},
        names,
    };

    /// A pod that ran, was deleted and is gone, and runs again later.
    fn resurrected() -> Run {
        let mut build = Build::new();
        build.nodes(1, 9);
        build.deploy(0, 1, rolling(1, 0));
        build.converge();
        build.edit(&names::deployment(0), |value| value["spec"]["replicas"] = 0.into());
        build.converge();
        let mut event = build.run.instances[0].clone();
        (event.at_ns, event.running) = (build.now_ns + 1, true);
        build.run.instances.push(event);
        build.run
    }

    #[test]
    fn what_was_gone_stays_gone() {
        let mut run = resurrected();
        assert!(matches!(Superseded.check(&run), Verdict::Violated { invariant, .. } if invariant == "E5"));
        run.instances.pop();
        assert_eq!(Superseded.check(&run), Verdict::Pass { examined: 1 });
    }

    #[test]
    fn what_somebody_else_said_in_its_name_does_not_count() {
        let mut run = resurrected();
        let node = run.instances[0].node.clone();
        fault(&mut run, FaultKind::EvilWorker, &node, 1, 2);
        assert!(Superseded.check(&run).passed());
    }
}
