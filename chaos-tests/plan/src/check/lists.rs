//! A list is what was there at its one revision, also over many pages, and no entry is half in it.

use super::{Check, Evidence, Verdict, linearizable::describe, watch::differs};
use crate::history::{Answer, Call};

/// C6.
pub(crate) struct Lists;

impl Check for Lists {
    fn name(&self) -> &'static str {
        "lists"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C6"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        let mut examined = 0;
        for op in &evidence.run.ops {
            let (Call::List { prefix }, Answer::Listed { revision, items }) = (&op.call, &op.answer) else {
                continue;
            };
            examined += 1;
            let mut problem = differs(items, &log.list(prefix, *revision));
            if *revision > log.revision {
                problem = Some(format!("the log ends at revision {}", log.revision));
            } else if problem.is_none() && !log.between_entries(*revision) {
                problem = Some("that is in the middle of an entry".into());
            }
            if let Some(words) = problem {
                let words = format!("the list at revision {revision}: {words}; {}", describe(op));
                return Verdict::violated("C6", op.returned_ns, words);
            }
        }
        Verdict::Pass { examined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::Build;

    #[test]
    fn a_torn_list_is_found() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.put("b", 2, "two");
        build.list();
        let old = build.items();
        build.put("c", 1, "three");
        build.put("d", 2, "four");
        build.list();
        assert_eq!(Lists.check(&build.run), Verdict::Pass { examined: 2 });
        // The first page from now, the second from before.
        let Some(Answer::Listed { items, .. }) = build.run.ops.last_mut().map(|op| &mut op.answer) else {
            panic!()
        };
        items[1] = old[1].clone();
        assert!(matches!(Lists.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "C6"));
    }
}
