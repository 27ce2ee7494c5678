//! A write that only pretends changes nothing.

use super::{Check, Evidence, Verdict, linearizable::describe};
use crate::history::Call;

/// C9.
pub(crate) struct DryRun;

impl Check for DryRun {
    fn name(&self) -> &'static str {
        "dry-run"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C9"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        let mut examined = 0;
        for op in &evidence.run.ops {
            let Call::DryRun { key, value } = &op.call else { continue };
            examined += 1;
            let turns = op.request.as_deref().map_or(&[][..], |request| log.turns_of(request));
            let by_request = turns.iter().copied().find(|turn| !log.turns[*turn].steps.is_empty());
            let version = log.versions(key).iter().find(|version| version.value.as_ref() == Some(value));
            if let Some(turn) = by_request.or(version.map(|version| version.turn)) {
                let words = format!("{} was done by entry {}", describe(op), log.turns[turn].index);
                return Verdict::violated("C9", op.returned_ns, words);
            }
        }
        Verdict::Pass { examined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::build::Build, history::Answer};

    #[test]
    fn a_pretended_write_that_was_done_is_found() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        let dry = |value: &str| Call::DryRun { key: "configmaps/default/r1".into(), value: value.into() };
        build.op(1, Some("x"), dry("pretended"), Answer::Done { revision: 1 });
        assert_eq!(DryRun.check(&build.run), Verdict::Pass { examined: 1 });
        build.run.ops[1].call = dry("one");
        assert!(!DryRun.check(&build.run).passed(), "by its value");
        (build.run.ops[1].call, build.run.ops[1].request) = (dry("other"), Some("a".into()));
        assert!(!DryRun.check(&build.run).passed(), "by its request");
    }
}
