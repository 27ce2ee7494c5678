//! Replicas that have folded the same entries have the same state, and the revision that the log says.

use std::collections::HashMap;

use super::{Check, Evidence, Verdict};

/// A4, B1 and B2.
pub(crate) struct Hashes;

impl Check for Hashes {
    fn name(&self) -> &'static str {
        "hashes"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["A4", "B1", "B2"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        let mut first = HashMap::new();
        for hash in &evidence.run.hashes {
            let known = first.entry(hash.index).or_insert(hash);
            if (known.hash, known.revision) != (hash.hash, hash.revision) {
                let name = |replica: u32| match replica {
                    u32::MAX => "a replay of the log".to_string(),
                    n => format!("controller {n}"),
                };
                let words = format!(
                    "after entry {} {} is at revision {} with hash {:x}, and {} at revision {} with hash {:x}",
                    hash.index,
                    name(known.replica),
                    known.revision,
                    known.hash,
                    name(hash.replica),
                    hash.revision,
                    hash.hash
                );
                let invariant =
                    if u32::MAX == known.replica || u32::MAX == hash.replica { "B2" } else { "B1" };
                return Verdict::violated(invariant, None, words);
            }
            // The revision after the last entry of the log that is not behind it.
            let past = log.turns.partition_point(|turn| turn.index <= hash.index);
            let expected = past.checked_sub(1).map_or(0, |last| log.turns[last].after);
            if expected != hash.revision {
                let words = format!(
                    "controller {} is at revision {} after entry {}, and the log at {expected}",
                    hash.replica, hash.revision, hash.index
                );
                return Verdict::violated("A4", None, words);
            }
        }
        Verdict::Pass { examined: evidence.run.hashes.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::build::Build, history::ReplicaHash};

    #[test]
    fn replicas_that_differ_are_found() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        let revision = build.state.revision();
        let hash = |replica, hash, revision| ReplicaHash { replica, index: 2, revision, hash };
        build.run.hashes = vec![hash(0, 7, revision), hash(1, 7, revision)];
        assert_eq!(Hashes.check(&build.run), Verdict::Pass { examined: 2 });
        let found = |bad: ReplicaHash| {
            let mut run = build.run.clone();
            run.hashes.push(bad);
            match Hashes.check(&run) {
                Verdict::Violated { invariant, .. } => invariant,
                other => panic!("not found: {other:?}"),
            }
        };
        assert_eq!(found(hash(2, 8, revision)), "B1");
        assert_eq!(found(hash(2, 7, revision + 1)), "B1");
        assert_eq!(found(hash(u32::MAX, 8, revision)), "B2");
        build.run.hashes = vec![hash(0, 7, revision - 1)];
        assert!(!Hashes.check(&build.run).passed(), "equal to each other, not to the log");
    }
}
