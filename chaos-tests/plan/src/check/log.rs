//! The committed log, decoded, and a replay of it that is independent of the product's state: which revision each change made,
//! and which value each key had when. Each put and each deletion of something that is there is one revision.

use std::collections::{BTreeMap, HashMap};

use kontiki_actors::{Change, Entry, ObjectKey, Turned};

use super::{Check, Evidence, Verdict};
use crate::{
    history::{Answer, Call, LoggedEntry, OpRecord},
    names,
};

/// The log, replayed.
pub struct Log {
    /// The turns of all entries that count, in order.
    pub turns: Vec<Turn>,
    /// The revision after all of it.
    pub revision: u64,
    versions: BTreeMap<String, Vec<Version>>,
    requests: HashMap<String, Vec<usize>>,
    /// By value: the keys that came to have it, and which of their versions did.
    writes: HashMap<String, Vec<(String, usize)>>,
}

/// One turn at its place.
pub struct Turn {
    /// The entry's index.
    pub index: u64,
    /// The term in which it was decided. Who commits the entry may lead in a later one.
    pub term: u64,
    /// When the entry was known to be committed; 0: nobody looked.
    pub committed_ns: u64,
    /// When it was decided, by the leader's clock, where that can be told (see [`Log::date`]).
    pub decided_ns: Option<u64>,
    /// The revision before it.
    pub before: u64,
    /// The revision after it.
    pub after: u64,
    /// The revision after the whole entry: what can be seen of it is seen at once.
    pub entry_after: u64,
    /// Whether it is the last of its entry.
    pub last: bool,
    /// What it did, for watchers.
    pub steps: Vec<Step>,
    /// The turn itself.
    pub turned: Turned,
}

/// One step of the revision.
pub struct Step {
    /// Which.
    pub revision: u64,
    /// Whose.
    pub key: String,
    /// The value after it; none: deleted.
    pub value: Option<String>,
}

/// A key from one revision to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Since.
    pub revision: u64,
    /// Which; none: it is not there.
    pub value: Option<String>,
    /// The turn that made it.
    pub turn: usize,
}

impl Turn {
    /// When it was known to be committed, or else decided; none if that cannot be told.
    pub fn at_ns(&self) -> Option<u64> {
        Some(self.committed_ns).filter(|at| *at > 0).or(self.decided_ns)
    }
}

impl Log {
    /// Decodes and replays. An error says which entry cannot be read.
    pub fn of(entries: &[LoggedEntry]) -> Result<Log, String> {
        let mut log = Log {
            turns: Vec::new(),
            revision: 0,
            versions: BTreeMap::new(),
            requests: HashMap::new(),
            writes: HashMap::new(),
        };
        let mut values: HashMap<ObjectKey, String> = HashMap::new();
        for logged in entries.iter().filter(|entry| !entry.bytes.is_empty()) {
            let entry = Entry::decode(&logged.bytes).map_err(|e| format!("entry {}: {e}", logged.index))?;
            // Decided in another term than it was committed in: every controller skips it.
            if entry.term != logged.term {
                continue;
            }
            let first = log.turns.len();
            for turned in entry.turns {
                log.take(logged, turned, &mut values);
            }
            let after = log.revision;
            log.turns[first..].iter_mut().for_each(|turn| turn.entry_after = after);
            if let Some(turn) = log.turns[first..].last_mut() {
                turn.last = true;
            }
        }
        Ok(log)
    }

    fn take(&mut self, logged: &LoggedEntry, turned: Turned, values: &mut HashMap<ObjectKey, String>) {
        let (place, before) = (self.turns.len(), self.revision);
        let mut steps = Vec::new();
        for change in &turned.changes {
            let value = match change {
                Change::Put { key, rest, .. } => {
                    let value = match rest {
                        Some(rest) => names::value_of(&kontiki_actors::Document {
                            rest: rest.clone(),
                            ..Default::default()
                        }),
                        None => values.get(key).cloned().unwrap_or_default(),
                    };
                    values.insert(key.clone(), value.clone());
                    Some(value)
                }
                // What is not there cannot go: no revision.
                Change::Delete { key } if values.remove(key).is_none() => continue,
                Change::Delete { .. } => None,
                Change::Wake { .. } | Change::Level(_) => continue,
            };
            let Some(key) = change.key().map(names::text) else { continue };
            self.revision += 1;
            let version = Version { revision: self.revision, value: value.clone(), turn: place };
            let versions = self.versions.entry(key.clone()).or_default();
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty())
                && versions.last().and_then(|last| last.value.as_ref()) != Some(value)
            {
                self.writes.entry(value.clone()).or_default().push((key.clone(), versions.len()));
            }
            versions.push(version);
            steps.push(Step { revision: self.revision, key, value });
        }
        if let Some(request) = &turned.request {
            self.requests.entry(request.to_string()).or_default().push(place);
        }
        self.turns.push(Turn {
            index: logged.index,
            term: logged.term,
            committed_ns: logged.committed_ns,
            decided_ns: None,
            before,
            after: self.revision,
            entry_after: self.revision,
            last: false,
            steps,
            turned,
        });
    }

    /// Dates the turns on the run's clock, for layers in which nobody sees commits: a turn was decided between the call and the return
    /// of its operation. Clocks that jump leave no distance that fits all of them; then nothing is dated.
    pub fn date(&mut self, ops: &[OpRecord]) {
        let (mut least, mut most) = (i128::MIN, i128::MAX);
        for op in ops {
            let (Some(returned), Answer::Done { .. }) = (op.returned_ns, &op.answer) else { continue };
            let by_request =
                op.request.as_deref().and_then(|request| self.turns_of(request).first().copied());
            let turn = by_request.or_else(|| match &op.call {
                Call::Create { key, value } | Call::Update { key, value, .. } => {
                    self.writes_of(key, value).next().map(|version| version.turn)
                }
                _ => None,
            });
            let Some(turn) = turn else { continue };
            let decided = i128::from(self.turns[turn].turned.now_ms) * 1_000_000;
            least = least.max(decided - i128::from(returned));
            most = most.min(decided + 1_000_000 - i128::from(op.invoked_ns));
        }
        if least == i128::MIN || least > most {
            return;
        }
        let distance = least.midpoint(most);
        for turn in &mut self.turns {
            turn.decided_ns = u64::try_from(i128::from(turn.turned.now_ms) * 1_000_000 - distance).ok();
        }
    }

    /// The versions of a key, the oldest first.
    pub fn versions(&self, key: &str) -> &[Version] {
        self.versions.get(key).map_or(&[], Vec::as_slice)
    }

    /// The last version of a key that a turn made.
    pub fn made_by(&self, key: &str, turn: usize) -> Option<&Version> {
        let versions = self.versions(key);
        let last = versions[..versions.partition_point(|version| version.turn <= turn)].last()?;
        (last.turn == turn).then_some(last)
    }

    /// The versions with which a key came to have a value.
    pub fn writes_of(&self, key: &str, value: &str) -> impl Iterator<Item = &Version> {
        let writes = self.writes.get(value).into_iter().flatten().filter(move |(written, _)| written == key);
        writes.filter_map(|(written, n)| self.versions(written).get(*n))
    }

    /// The first revision, not before this one, at which a key's version is such; before its first version it is not there.
    pub fn first_at(&self, key: &str, from: u64, such: impl Fn(&Version) -> bool) -> Option<u64> {
        let nothing = Version { revision: 0, value: None, turn: 0 };
        let versions = self.versions(key);
        let now = versions.partition_point(|version| version.revision <= from);
        let present = now.checked_sub(1).map_or(&nothing, |n| &versions[n]);
        if such(present) {
            return Some(from);
        }
        versions[now..].iter().find(|version| such(version)).map(|version| version.revision)
    }

    /// The keys that begin so.
    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<Version>)> {
        self.versions.range(prefix.to_string()..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The version of a key at a revision.
    pub fn at(&self, key: &str, revision: u64) -> Option<&Version> {
        let versions = self.versions(key);
        versions[..versions.partition_point(|version| version.revision <= revision)].last()
    }

    /// What was there at a revision, in order of key.
    pub fn list(&self, prefix: &str, revision: u64) -> Vec<(String, String, u64)> {
        let there = |(key, _): (&String, &Vec<Version>)| {
            let version = self.at(key, revision)?;
            Some((key.clone(), version.value.clone()?, version.revision))
        };
        self.keys(prefix).filter_map(there).collect()
    }

    /// The turns that carry this request's id.
    pub fn turns_of(&self, request: &str) -> &[usize] {
        self.requests.get(request).map_or(&[], Vec::as_slice)
    }

    /// The steps of keys that begin so, after one revision and up to another.
    pub fn steps<'a>(&'a self, prefix: &'a str, after: u64, to: u64) -> impl Iterator<Item = &'a Step> {
        let first = self.turns.partition_point(|turn| turn.after <= after);
        let turns = self.turns[first..].iter().take_while(move |turn| turn.before < to);
        turns
            .flat_map(|turn| &turn.steps)
            .filter(move |step| step.revision > after && step.revision <= to && step.key.starts_with(prefix))
    }

    /// Whether a revision is one that a reader can be at: between entries, not within one.
    pub fn between_entries(&self, revision: u64) -> bool {
        let at = self.turns.partition_point(|turn| turn.entry_after < revision);
        match self.turns.get(at) {
            Some(turn) => turn.entry_after == revision || revision == 0,
            None => revision == self.revision,
        }
    }
}

/// The committed log is one: indexes and terms only go up, and everything in it can be read.
pub(crate) struct Committed;

impl Check for Committed {
    fn name(&self) -> &'static str {
        "committed"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["A6", "A7"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        for pair in evidence.run.log.windows(2) {
            let [a, b] = pair else { continue };
            if b.index != a.index + 1 || b.term < a.term {
                let words = format!(
                    "entry {} of term {} is followed by entry {} of term {}",
                    a.index, a.term, b.index, b.term
                );
                return Verdict::violated("A6", Some(b.committed_ns), words);
            }
        }
        match evidence.log() {
            Ok(_) => Verdict::Pass { examined: evidence.run.log.len() as u64 },
            Err(Verdict::Unknown { words }) => Verdict::violated("B7", None, words),
            Err(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::Build;

    #[test]
    fn revisions_count_changes() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.put("b", 2, "two");
        build.remove("c", 1);
        let log = Log::of(&build.run.log).unwrap();
        let key = "configmaps/default/r1";
        let base = log.versions(key)[0].revision;
        assert_eq!(log.at(key, base).unwrap().value.as_deref(), Some("one"));
        assert_eq!(log.at(key, base + 2).unwrap().value, None);
        assert_eq!(log.list("configmaps/default/r", base + 1).len(), 2);
        assert_eq!(log.steps("configmaps/", base, base + 2).count(), 2);
        assert_eq!(log.turns_of("a"), [log.turns.len() - 3]);
        assert!(log.between_entries(base) && log.between_entries(log.revision));
        assert!(!log.between_entries(log.revision + 1));
    }

    #[test]
    fn a_log_with_a_hole_or_a_broken_entry_is_none() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.put("b", 1, "two");
        assert!(Committed.check(&build.run).passed());
        let mut broken = build.run.clone();
        broken.log.remove(1);
        build.run.log[1].bytes[20] ^= 1;
        for run in [broken, build.run] {
            assert!(matches!(Committed.check(&run), Verdict::Violated { .. }));
        }
    }

    #[test]
    fn turns_are_dated_by_the_operations_around_them() {
        let mut build = Build::new();
        for n in 0..20 {
            build.wait_ms(700);
            build.put(&format!("p{n}"), n, &format!("v{n}"));
        }
        let committed: Vec<u64> = build.run.log.iter().map(|logged| logged.committed_ns).collect();
        build.run.log.iter_mut().for_each(|logged| logged.committed_ns = 0);
        let dated = |run: &crate::Run| {
            let mut log = Log::of(&run.log).unwrap();
            log.date(&run.ops);
            log.turns.iter().map(Turn::at_ns).collect::<Vec<_>>()
        };
        for (at, committed) in dated(&build.run).into_iter().zip(&committed) {
            assert!(at.unwrap().abs_diff(*committed) < 5_000_000, "{at:?} for {committed}");
        }
        // A clock that jumped.
        let last = build.run.ops.last_mut().unwrap();
        (last.invoked_ns, last.returned_ns) = (1, Some(2));
        assert!(dated(&build.run).iter().all(Option::is_none));
    }

    #[test]
    fn what_was_decided_in_another_term_is_skipped() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.put("b", 1, "two");
        build.run.log[1].term += 1;
        assert_eq!(Log::of(&build.run.log).unwrap().versions("configmaps/default/r1").len(), 1);
    }
}
