//! A read that may be old is old, not wrong: it shows some committed state, never one that was not yet asked for, and a client at one
//! server never sees that server go back, unless it restarted or lost its disk in between. (Kubernetes promises no more: two servers
//! may be at different places.)

use std::collections::HashMap;

use super::{Check, Evidence, Log, Verdict, Version, hits, linearizable::describe};
use crate::{
    Run,
    history::{Answer, Call, OpRecord},
    names,
    plan::FaultKind,
};

/// C5.
pub(crate) struct Stale;

impl Check for Stale {
    fn name(&self) -> &'static str {
        "stale"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C5"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        match evidence.log() {
            Ok(log) => judge(evidence.run, log).unwrap_or_else(|verdict| verdict),
            Err(verdict) => verdict,
        }
    }
}

fn judge(run: &Run, log: &Log) -> Result<Verdict, Verdict> {
    let mut asked: HashMap<&str, u64> = HashMap::new();
    for op in &run.ops {
        if let Call::Create { value, .. } | Call::Update { value, .. } = &op.call {
            asked.insert(value, op.invoked_ns);
        }
    }
    // (client, server): the revision reached, and when.
    let mut reached: HashMap<(u32, u32), (u64, u64)> = HashMap::new();
    let mut examined = 0;
    let mut reads: Vec<&OpRecord> = run.ops.iter().filter(|op| matches!(op.call, Call::Get { .. })).collect();
    reads.sort_by_key(|op| op.invoked_ns);
    for op in reads {
        let (Call::Get { key, stale }, Answer::Value { value }) = (&op.call, &op.answer) else { continue };
        let such = |version: &Version| match value {
            Some((value, revision)) => version.revision == *revision && version.value.as_ref() == Some(value),
            None => version.value.is_none(),
        };
        let returned = op.returned_ns.unwrap_or(u64::MAX);
        if *stale {
            examined += 1;
            let violated = |words: &str| {
                Err(Verdict::violated("C5", op.returned_ns, format!("{}: {words}", describe(op))))
            };
            if log.first_at(key, 0, such).is_none() {
                return violated("no committed state has that");
            }
            let early = |value: &str| asked.get(value).is_some_and(|asked| *asked > returned);
            if value.as_ref().is_some_and(|(value, _)| early(value)) {
                return violated("nobody had asked for that yet");
            }
        }
        let session = (op.client, op.server);
        let (floor, since) = reached.get(&session).copied().unwrap_or_default();
        let floor = if restarted(run, op.server, since, returned) { 0 } else { floor };
        match log.first_at(key, floor, such) {
            Some(revision) => {
                reached.insert(session, (revision, op.invoked_ns));
            }
            None if *stale => {
                let words = format!("{}: this server had reached revision {floor} before", describe(op));
                return Err(Verdict::violated("C5", op.returned_ns, words));
            }
            // A linearizable read that is wrong is the other checker's.
            None => {}
        }
    }
    Ok(Verdict::Pass { examined })
}

fn restarted(run: &Run, server: u32, from_ns: u64, until_ns: u64) -> bool {
    let name = names::controller(server);
    hits::on(run, move |hit| hit == name, from_ns, until_ns).any(|kind| {
        !matches!(
            kind,
            FaultKind::Pause
                | FaultKind::Isolate { .. }
                | FaultKind::Cut { .. }
                | FaultKind::Delay { .. }
                | FaultKind::Loss { .. }
                | FaultKind::Flap { .. }
                | FaultKind::Reset
                | FaultKind::ClockJump { .. }
                | FaultKind::LeaderTransfer
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, fault};

    fn history() -> Build {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.get(1, true);
        build.put("b", 1, "two");
        build.get(1, true);
        build.remove("c", 1);
        build.get(1, true);
        build
    }

    fn found(run: &Run) -> bool {
        matches!(Stale.check(run), Verdict::Violated { invariant, .. } if invariant == "C5")
    }

    #[test]
    fn old_reads_pass() {
        let mut run = history().run;
        assert_eq!(Stale.check(&run), Verdict::Pass { examined: 3 });
        run.ops[3].answer = run.ops[1].answer.clone();
        run.ops[5].answer = run.ops[1].answer.clone();
        assert_eq!(Stale.check(&run), Verdict::Pass { examined: 3 });
    }

    #[test]
    fn a_server_that_goes_back_is_found() {
        let mut run = history().run;
        run.ops[5].answer = run.ops[1].answer.clone();
        assert!(found(&run));
        run.ops[5].server = 1;
        assert!(!found(&run), "another server may be behind");
        run.ops[5].server = 0;
        fault(&mut run, FaultKind::Pause, "controller-0", 0, 1000);
        assert!(found(&run), "a pause explains nothing");
        fault(&mut run, FaultKind::Crash, "controller-0", 0, 1000);
        assert!(!found(&run), "it restarted");
    }

    #[test]
    fn a_state_that_never_was_is_found() {
        let mut run = history().run;
        run.ops[3].answer = Answer::Value { value: Some(("two".into(), 1)) };
        assert!(found(&run));
        let mut run = history().run;
        run.ops[1].answer = run.ops[3].answer.clone();
        assert!(found(&run), "it was not yet written");
    }
}
