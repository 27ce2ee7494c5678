//! The newest part of the log in memory: everything that is not written yet, and as much before it as fits.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::entry::RaftEntry;

use crate::types::{Entry, EntryPayload, LogId};

/// What an entry costs beside its payload.
const OVERHEAD: usize = 96;

struct Kept {
    entry: Entry,
    /// The append it came with: it must stay until that append is written.
    sequence: u64,
}

/// The log's bounds and its newest entries, without a gap.
pub(super) struct Tail {
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The first entry that the log has, if it has one.
    first: Option<u64>,
    kept: VecDeque<Kept>,
    bytes: usize,
    limit: usize,
    next_sequence: u64,
    written: u64,
}

fn cost(entry: &Entry) -> usize {
    OVERHEAD
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Blank => 0,
            EntryPayload::Membership(_) => 512,
        }
}

impl Tail {
    pub(super) fn new(purged: Option<LogId>, limit: usize) -> Tail {
        Tail {
            purged,
            last: purged,
            first: None,
            kept: VecDeque::new(),
            bytes: 0,
            limit,
            next_sequence: 1,
            written: 0,
        }
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The part of a range that the log has.
    pub(super) fn clamp(&self, range: Range<u64>) -> Range<u64> {
        let first = self.first.unwrap_or(u64::MAX);
        let end = self.last.map_or(0, |id| id.index + 1);
        let start = range.start.max(first).min(end);
        start..range.end.min(end).max(start)
    }

    /// Takes an entry that is stored already.
    pub(super) fn load(&mut self, entry: Entry) {
        self.push(entry, 0);
        self.evict();
    }

    /// Takes new entries; tells their sequence number.
    pub(super) fn append(&mut self, entries: &[Entry]) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        for entry in entries {
            self.push(entry.clone(), sequence);
        }
        sequence
    }

    fn push(&mut self, entry: Entry, sequence: u64) {
        // A log restarted behind an installed snapshot leaves a gap to what is kept.
        if self.kept.back().is_some_and(|back| back.entry.index() + 1 != entry.index()) {
            self.kept.clear();
            self.bytes = 0;
        }
        self.bytes += cost(&entry);
        self.first.get_or_insert(entry.index());
        self.last = Some(entry.log_id());
        self.kept.push_back(Kept { entry, sequence });
    }

    /// Everything up to this sequence is stored.
    pub(super) fn written(&mut self, sequence: u64) {
        self.written = self.written.max(sequence);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.limit && self.kept.front().is_some_and(|kept| kept.sequence <= self.written) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.bytes -= cost(&kept.entry);
        }
    }

    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        let end = last.map_or(0, |id| id.index + 1);
        while self.kept.back().is_some_and(|kept| kept.entry.index() >= end) {
            if let Some(kept) = self.kept.pop_back() {
                self.bytes -= cost(&kept.entry);
            }
        }
        // Truncating behind the end changes nothing.
        self.last = self.last.min(last).max(self.purged);
        self.first = self.first.filter(|first| *first < end);
    }

    /// Forgets everything up to `upto`; tells where the purged range starts.
    pub(super) fn purge(&mut self, upto: LogId) -> u64 {
        let from = self.purged.map_or(0, |id| id.index + 1);
        while self.kept.front().is_some_and(|kept| kept.entry.index() <= upto.index) {
            self.drop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
        let left = self.last > Some(upto);
        self.first = self.first.filter(|_| left).map(|first| first.max(upto.index + 1));
        from
    }

    /// The entries of a clamped range that are in memory: a suffix of it. At most `budget` bytes, but at least one if the
    /// range starts in memory.
    pub(super) fn read(&self, range: &Range<u64>, budget: &mut usize) -> Vec<Entry> {
        let Some(first) = self.kept.front().map(|kept| kept.entry.index()) else { return Vec::new() };
        let skip = range.start.saturating_sub(first) as usize;
        let from_start = first <= range.start;
        let mut entries = Vec::new();
        for kept in self.kept.range(skip.min(self.kept.len())..) {
            if kept.entry.index() >= range.end {
                break;
            }
            let cost = cost(&kept.entry);
            if cost > *budget && (!entries.is_empty() || !from_start) {
                break;
            }
            *budget = budget.saturating_sub(cost);
            entries.push(kept.entry.clone());
        }
        entries
    }

    /// The first index in memory; what the log has before it must be read from the database.
    pub(super) fn first_kept(&self) -> Option<u64> {
        self.kept.front().map(|kept| kept.entry.index())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::types::{Payload, log_id};

    fn entry(term: u64, index: u64) -> Entry {
        Entry::new(log_id(term, index), EntryPayload::Normal(Payload(vec![0; 100].into())))
    }

    fn read(tail: &Tail, range: Range<u64>) -> Vec<u64> {
        let range = tail.clamp(range);
        tail.read(&range, &mut usize::MAX.clone()).iter().map(|entry| entry.index()).collect()
    }

    #[test]
    fn what_is_not_written_stays_whatever_it_costs() {
        let mut tail = Tail::new(None, 1);
        let first = tail.append(&[entry(1, 0), entry(1, 1)]);
        tail.append(&[entry(1, 2)]);
        assert_eq!(read(&tail, 0..9), [0, 1, 2]);
        tail.written(first);
        assert_eq!(read(&tail, 0..9), [2]);
        assert_eq!(tail.first_kept(), Some(2));
    }

    /// An append that is truncated and replaced while it is being written must not pass for the new one.
    #[test]
    fn a_replaced_entry_is_kept_until_it_is_written_itself() {
        let mut tail = Tail::new(None, 1);
        let old = tail.append(&[entry(1, 0), entry(1, 1)]);
        tail.truncate_after(Some(log_id(1, 0)));
        let new = tail.append(&[entry(2, 1)]);
        tail.written(old);
        assert_eq!(read(&tail, 1..2), [1]);
        tail.written(new);
        assert_eq!(tail.first_kept(), None);
        assert_eq!(tail.last(), Some(log_id(2, 1)));
    }

    #[test]
    fn a_budget_gives_less_but_never_nothing() {
        let mut tail = Tail::new(None, 1 << 20);
        tail.append(&[entry(1, 0), entry(1, 1), entry(1, 2)]);
        assert_eq!(tail.read(&(0..3), &mut 1).len(), 1);
        assert_eq!(tail.read(&(0..3), &mut 400).len(), 2);
    }
}
