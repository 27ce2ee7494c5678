//! Reading the log: from memory where it can be, else from the database on a thread that may block.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogReader;

use super::{Shared, database};
use crate::disk::aside;
use crate::types::{Entry, Types, Vote};

/// A replication request carries no more than this, unless one entry alone is larger.
const REQUEST_BYTES: usize = 2 << 20;

/// Reads what the log holds; cheap to make.
#[derive(Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> LogReader {
        LogReader { shared }
    }

    /// Entries from the start of the range, without a gap, up to `budget` bytes.
    async fn read(&self, range: Range<u64>, mut budget: usize) -> io::Result<Vec<Entry>> {
        let (range, kept, stored) = {
            let tail = self.shared.tail.read();
            let range = tail.clamp(range);
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let stored = range.start..tail.first_kept().unwrap_or(u64::MAX).clamp(range.start, range.end);
            // When the start must come from the database, the budget belongs to that part first.
            let kept = match stored.is_empty() {
                true => tail.read(&range, &mut budget),
                false if budget == usize::MAX => tail.read(&range, &mut budget),
                false => Vec::new(),
            };
            (range, kept, stored)
        };
        if stored.is_empty() {
            return Ok(kept);
        }
        let shared = self.shared.clone();
        let wanted = stored.clone();
        let disk = shared.disk.clone();
        let mut entries = aside(&disk, move || database::read(&*shared.db, wanted, budget)).await??;
        let complete = entries.last().is_some_and(|entry| entry.index() + 1 == stored.end);
        if entries.is_empty() {
            // It was purged or truncated meanwhile; anything else is a hole.
            let still = self.shared.tail.read().clamp(range.clone());
            if still.contains(&range.start) && self.shared.tail.read().first_kept() > Some(range.start) {
                let text = format!("the log has no entry {} although its neighbours are there", range.start);
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            return Ok(entries);
        }
        if complete {
            entries.extend(kept);
        }
        Ok(entries)
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(bounds(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(*self.shared.vote.read())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, REQUEST_BYTES).await
    }

    /// For folding: read piece by piece, so that a long way to catch up does not need memory for all of it.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let state = (self.clone(), bounds(&range), Vec::new().into_iter());
        stream::try_unfold(state, |(reader, mut range, mut piece)| async move {
            if let Some(entry) = piece.next() {
                return Ok(Some((entry, (reader, range, piece))));
            }
            let entries = reader.read(range.clone(), REQUEST_BYTES).await?;
            let Some(last) = entries.last() else { return Ok(None) };
            range.start = last.index() + 1;
            piece = entries.into_iter();
            Ok(piece.next().map(|entry| (entry, (reader, range, piece))))
        })
    }
}
