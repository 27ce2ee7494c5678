//! A worker that has accepted a leader's term heeds nobody of an older one, not after a restart either. That it had accepted a term
//! is known from the worker itself, or from the log: its reports go to a leader that it has accepted.

use kontiki_actors::Input;

use super::{Check, Evidence, Log, Verdict, hits};
use crate::{Run, history::Heeded, plan::FaultKind};

/// E6.
pub(crate) struct Fenced;

impl Check for Fenced {
    fn name(&self) -> &'static str {
        "fenced"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E6"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        if run.heeded.is_empty() {
            return Verdict::Pass { examined: 0 };
        }
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        for heeded in run.heeded.iter().filter(|heeded| !is_impersonated(run, &heeded.node)) {
            let reported = reported_in(log, heeded);
            let accepted = heeded.accepted.max(reported);
            if accepted > heeded.term {
                let Heeded { node, controller, term, .. } = heeded;
                let words = format!(
                    "{node} had accepted a leader of term {accepted}, and heeds controller {controller} in term {term}"
                );
                return Verdict::violated("E6", Some(heeded.at_ns), words);
            }
        }
        Verdict::Pass { examined: run.heeded.len() as u64 }
    }
}

/// Somebody else speaks with this worker's certificate.
fn is_impersonated(run: &Run, node: &str) -> bool {
    hits::on(run, |name| name == node, 0, u64::MAX).any(|kind| matches!(kind, FaultKind::EvilWorker))
}

/// The highest term in which this worker's reports were committed before.
fn reported_in(log: &Log, heeded: &Heeded) -> u64 {
    let before = log.turns.iter().filter(|turn| turn.committed_ns > 0 && turn.committed_ns < heeded.at_ns);
    let its = before.filter(|turn| match &turn.turned.input {
        Input::Reports(reports) => reports.iter().any(|report| report.node == heeded.node),
        _ => false,
    });
    its.map(|turn| turn.term).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, fault, rolling};

    /// Three workers whose reports were committed in term 1, and one of them heeds a leader.
    fn heeding(term: u64, accepted: u64) -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 3, rolling(1, 0));
        build.converge();
        let heeded =
            Heeded { at_ns: build.now_ns + 1, node: "worker-1".into(), controller: 0, term, accepted };
        build.run.heeded.push(heeded);
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Fenced.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E6")
    }

    #[test]
    fn a_worker_that_goes_back_to_an_older_term_is_found() {
        assert_eq!(Fenced.check(&heeding(1, 1).run), Verdict::Pass { examined: 1 });
        assert!(found(&heeding(1, 2)), "by its own account");
        assert!(found(&heeding(0, 0)), "by the log: it has forgotten the term itself");
        let mut early = heeding(0, 0);
        early.run.heeded[0].at_ns = 1;
        assert!(!found(&early), "before it had reported to anybody");
        let mut liar = heeding(0, 0);
        fault(&mut liar.run, FaultKind::EvilWorker, "worker-1", 1, 2);
        assert!(!found(&liar), "somebody else spoke in its name");
    }
}
