#![allow(clippy::unwrap_used)]

use std::fs;

use tempfile::TempDir;

use super::*;

fn form() -> Form {
    Form { tables: vec!["log"], purpose: Purpose::Log, write_buffer_bytes: 1 << 20, cache_bytes: 1 << 20 }
}

impl Rocks {
    /// Puts all of a table into files below the first level, from which files are dropped.
    fn compact(&self, table: u8) {
        self.flush().unwrap();
        self.db.compact_range_cf(self.existing(table).unwrap(), None::<&[u8]>, None::<&[u8]>);
    }
}

/// The same for a database that nobody has open.
pub(crate) fn compact(path: &Path, form: &Form, table: u8) {
    Rocks::open(path, form).unwrap().compact(table);
}

fn keys(rocks: &Rocks) -> Vec<u8> {
    rocks.scan(0, &[], None).map(|pair| pair.unwrap().0[0]).collect()
}

#[test]
fn both_ends_belong_to_a_reclaimed_range() {
    let place = TempDir::new().unwrap();
    let rocks = Rocks::open(place.path(), &form()).unwrap();
    let mut batch = Batch::default();
    for key in 0..10_u8 {
        batch.put(0, [key], "value");
    }
    rocks.write(batch, Durability::Synced).unwrap();
    rocks.compact(0);
    // One file holds them all: it stays while the range leaves one of them out.
    rocks.reclaim(0, &[0], &[8]).unwrap();
    assert_eq!(keys(&rocks), (0..10).collect::<Vec<_>>());
    rocks.reclaim(0, &[0], &[9]).unwrap();
    assert_eq!(keys(&rocks), [0; 0]);
}

#[test]
fn only_a_held_lock_means_another_process() {
    let io = |detail: &str| meaning(ErrorKind::IOError, &format!("IO error: {detail}"));
    let held = "While lock file: /data/raft.db/LOCK: Resource temporarily unavailable";
    assert_eq!(io(held), DiskErrorKind::InUse);
    let own = "lock hold by current process, acquire time 1 acquiring thread 2: /data/raft.db/LOCK: No locks available";
    assert_eq!(io(own), DiskErrorKind::InUse);
    let read_only = "while open a file for lock: /data/raft.db/LOCK: Read-only file system";
    assert_eq!(io(read_only), DiskErrorKind::Failed);
    let full = "No space left on device: While appending to file: /mnt/block1/raft.db/000012.log";
    assert_eq!(io(full), DiskErrorKind::Failed);
    let gone = "No such file or directory: While open a file for random read: /mnt/block1/raft.db/000012.sst";
    assert_eq!(io(gone), DiskErrorKind::Corrupt);
}

#[test]
fn a_lock_file_that_cannot_be_opened_is_not_in_use() {
    let place = TempDir::new().unwrap();
    fs::create_dir(place.path().join("LOCK")).unwrap();
    let error = Rocks::open(place.path(), &form()).err().unwrap();
    assert_eq!(error.kind, DiskErrorKind::Failed, "{error}");
}
