//! A tap on what a replica folds: each entry is written into the book once, whoever folds it first, and compared with what the others
//! fold at the same place.

use std::sync::Arc;

use kontiki::controller::Replica;
use kontiki_raft::{CommittedEntry, Fold, FoldError, LogPosition, Record, StoreError, Writes};

use crate::player::Book;

/// A replica that is listened to.
pub(super) struct Tap {
    pub(super) controller: u32,
    pub(super) replica: Arc<Replica>,
    pub(super) book: Arc<Book>,
}

impl Fold for Tap {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        self.replica.load(records)
    }

    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes) {
        self.book.committed(self.controller, entry);
        self.replica.fold(entry, writes);
    }

    fn folded(&self, last: LogPosition) {
        self.book.folded(self.controller, last);
        self.replica.folded(last);
    }
}
