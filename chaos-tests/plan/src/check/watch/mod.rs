//! Watches, against the replay of the log. One walk over what each watch delivered finds everything; each check speaks of its part.

mod bookmarks;
mod events;
mod lists;

pub(super) use self::{
    bookmarks::Bookmarks,
    events::Events,
    lists::{Lists, differs},
};
use super::{Evidence, Log, Verdict};
use crate::{
    Run,
    history::{WatchRecord, WatchStep},
    plan::{Op, What},
};

/// Something that a watch did wrong.
struct Finding {
    invariant: &'static str,
    at_ns: u64,
    words: String,
}

/// The verdict on these invariants over all watches.
fn judge(evidence: &Evidence<'_>, invariants: &[&str]) -> Verdict {
    let log = match evidence.log() {
        Ok(log) => log,
        Err(verdict) => return verdict,
    };
    let mut examined = 0;
    for record in &evidence.run.watches {
        let mut walk = Walk::new(log, record, is_slow(evidence.run, record));
        record.steps.iter().for_each(|(at_ns, step)| walk.step(*at_ns, step));
        examined += record.steps.len() as u64;
        if let Some(found) = walk.found.iter().find(|found| invariants.contains(&found.invariant)) {
            let words =
                format!("the watch of client {} on {}: {}", record.client, record.prefix, found.words);
            return Verdict::violated(found.invariant, Some(found.at_ns), words);
        }
    }
    Verdict::Pass { examined }
}

/// Whether the plan has its client read slowly.
fn is_slow(run: &Run, record: &WatchRecord) -> bool {
    run.plan.events.iter().any(|event| {
        matches!(&event.what, What::Op { client, op: Op::WatchSlowly { .. }, .. } if *client == record.client)
    })
}

/// Where a watch goes on from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    List,
    Resumed,
    Stream,
}

struct Walk<'a> {
    log: &'a Log,
    prefix: &'a str,
    slow: bool,
    /// Everything up to this revision was listed or delivered.
    seen: u64,
    /// Where the stream was opened.
    from: u64,
    /// The last event of the stream.
    last: u64,
    origin: Origin,
    found: Vec<Finding>,
}

impl<'a> Walk<'a> {
    fn new(log: &'a Log, record: &'a WatchRecord, slow: bool) -> Walk<'a> {
        let prefix = &record.prefix;
        Walk { log, prefix, slow, seen: 0, from: 0, last: 0, origin: Origin::Resumed, found: Vec::new() }
    }

    fn find(&mut self, invariant: &'static str, at_ns: u64, words: String) {
        self.found.push(Finding { invariant, at_ns, words });
    }

    fn step(&mut self, at_ns: u64, step: &WatchStep) {
        match step {
            WatchStep::Listed { revision, items, .. } => {
                self.listed(at_ns, *revision, items);
                (self.seen, self.origin) = (*revision, Origin::List);
            }
            WatchStep::Opened { from, .. } => {
                if self.origin != Origin::List || *from != self.seen {
                    self.origin = Origin::Resumed;
                }
                (self.seen, self.from, self.last) = (*from, *from, *from);
            }
            WatchStep::Put { key, value, revision } => self.event(at_ns, key, Some(value), *revision),
            WatchStep::Deleted { key, revision } => self.event(at_ns, key, None, *revision),
            WatchStep::Bookmark { revision } => {
                self.bookmark(at_ns, *revision);
                self.seen = self.seen.max(*revision);
            }
            WatchStep::Closed { .. } => self.origin = Origin::Resumed,
        }
    }

    /// The first event that should have come after what was seen and up to a revision.
    fn missing(&self, to: u64) -> Option<String> {
        let step = self.log.steps(self.prefix, self.seen, to).next()?;
        let what =
            step.value.as_deref().map_or("its deletion".into(), |value| format!("the value {value:?}"));
        Some(format!("{} at revision {} ({what}) was never delivered", step.key, step.revision))
    }
}

#[cfg(test)]
mod tests;
