#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorageExt};
use tempfile::TempDir;

use super::*;
use crate::disk::Durability;
use crate::types::{EntryPayload, Payload, log_id};

pub(crate) const LIMITS: LogLimits = LogLimits { tail_bytes: 1 << 10, write_buffer_bytes: 1 << 20 };

pub(crate) fn identity(node_id: u64) -> IdentityV1 {
    IdentityV1 { cluster_id: "test".into(), node_id }
}

/// Held beside what is open, and dropped after it: waits until it is closed, since a process must not end while RocksDB is in use.
pub(crate) struct Closing(mpsc::Receiver<()>);

impl Closing {
    pub(crate) fn new() -> (OpenToken, Closing) {
        let (open, closed) = mpsc::channel(1);
        (open, Closing(closed))
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| assert!(self.0.blocking_recv().is_none()));
    }
}

/// A log in a directory; the directory is free again when this is dropped.
struct Opened {
    log: LogStore,
    _closing: Closing,
}

fn try_open(directory: &Path, identity: &IdentityV1) -> Result<Opened, OpenError> {
    try_open_within(directory, identity, Space::endless())
}

fn try_open_within(directory: &Path, identity: &IdentityV1, space: Arc<Space>) -> Result<Opened, OpenError> {
    let (open, closing) = Closing::new();
    let local = Arc::new(crate::disk::Local);
    let log = LogStore::open(local, directory, identity, false, LIMITS, space, open)?;
    Ok(Opened { log, _closing: closing })
}

fn open(directory: &Path) -> Opened {
    try_open(directory, &identity(1)).unwrap()
}

fn entry(term: u64, index: u64) -> Entry {
    Entry::new(
        log_id(term, index),
        EntryPayload::Normal(Payload(format!("{term}-{index}").into_bytes().into())),
    )
}

fn put(opened: &Opened, table: u8, key: &[u8], value: Vec<u8>) {
    let mut batch = crate::disk::Batch::default();
    batch.put(table, key, value);
    opened.log.shared.db.write(batch, Durability::Synced).unwrap();
}

async fn append(log: &mut LogStore, term: u64, indexes: std::ops::Range<u64>) {
    log.blocking_append(indexes.map(|index| entry(term, index))).await.unwrap();
}

async fn stored(log: &mut LogStore) -> Vec<(u64, u64)> {
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    let position = |entry: &Entry| (crate::types::term_of(&entry.log_id), entry.log_id.index);
    entries.iter().map(position).collect()
}

/// The directory as a process that is killed now leaves it.
fn as_killed(directory: &Path, into: &TempDir) -> PathBuf {
    let copy = into.path().join("killed");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    copy
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_keeps_vote_log_and_commit_position() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    let mut opened = open(&directory);
    let log = &mut opened.log;
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    append(log, 3, 0..10).await;
    log.save_committed(Some(log_id(3, 7))).await.unwrap();
    // Queued behind the commit position, and durable when it returns.
    append(log, 3, 10..12).await;

    let copy = as_killed(&directory, &place);
    let mut again = open(&copy);
    let log = &mut again.log;
    assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(3, 7)));
    assert_eq!(stored(log).await, (0..12).map(|index| (3, index)).collect::<Vec<_>>());
    drop(again);
    drop(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_record_goes_and_damage_before_it_refuses() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    let mut opened = open(&directory);
    for index in 0..20 {
        append(&mut opened.log, 1, index..index + 1).await;
    }
    let torn = as_killed(&directory, &place);
    let wal = files(&torn, "log").pop().unwrap();
    let whole = fs::read(&wal).unwrap();

    // The machine died while the last record was on its way to the disk.
    fs::write(&wal, &whole[..whole.len() - 7]).unwrap();
    let mut again = open(&torn);
    assert_eq!(stored(&mut again.log).await.len(), 19);
    drop(again);

    // A bit rots in the middle of what was acknowledged.
    let rotten_place = TempDir::new().unwrap();
    let rotten = as_killed(&directory, &rotten_place);
    let wal = files(&rotten, "log").pop().unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&wal, damaged).unwrap();
    let error =
        try_open(&rotten, &identity(1)).err().expect("acknowledged entries are lost: it must not open");
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("data directory away"), "{error}");
    drop(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_does_not_verify_refuses() {
    let place = TempDir::new().unwrap();
    let mut opened = open(place.path());
    append(&mut opened.log, 1, 0..5).await;
    let mut sealed = crate::envelope::seal_entry(&entry(1, 3));
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    put(&opened, database::LOG, &database::key(3), sealed);
    drop(opened);
    let error = try_open(place.path(), &identity(1)).err().unwrap().to_string();
    assert!(error.contains("log entry 3") && error.contains("checksum"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_refuses() {
    let place = TempDir::new().unwrap();
    let mut opened = open(place.path());
    append(&mut opened.log, 1, 0..5).await;
    let mut batch = crate::disk::Batch::default();
    batch.delete(database::LOG, database::key(2));
    opened.log.shared.db.write(batch, Durability::Synced).unwrap();
    drop(opened);
    let error = try_open(place.path(), &identity(1)).err().unwrap().to_string();
    assert!(error.contains("entry 2 is missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_truncated_and_replaced_stays_replaced() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    let mut opened = open(&directory);
    append(&mut opened.log, 1, 0..10).await;
    opened.log.truncate_after(Some(log_id(1, 4))).await.unwrap();
    append(&mut opened.log, 2, 5..7).await;
    let expected: Vec<(u64, u64)> = (0..5).map(|index| (1, index)).chain([(2, 5), (2, 6)]).collect();
    assert_eq!(stored(&mut opened.log).await, expected);
    let mut again = open(&as_killed(&directory, &place));
    assert_eq!(stored(&mut again.log).await, expected);
    drop(again);
    drop(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_that_the_state_does_not_hold() {
    let place = TempDir::new().unwrap();
    let opened = open(place.path());
    let durable = Arc::new(AtomicU64::new(3));
    let read = durable.clone();
    let mut log = opened.log.clone().keep_behind(Arc::new(move || Some(read.load(Ordering::Relaxed))));
    append(&mut log, 1, 0..10).await;
    log.purge(log_id(1, 3)).await.unwrap();
    let error = log.purge(log_id(1, 4)).await.unwrap_err().to_string();
    assert!(error.contains("durable up to Some(3) only"), "{error}");
    assert_eq!(stored(&mut log).await[0], (1, 4));
    durable.store(6, Ordering::Relaxed);
    log.purge(log_id(1, 6)).await.unwrap();
    append(&mut log, 1, 10..11).await;
    drop(log);
    drop(opened);

    let mut again = open(place.path());
    let state = again.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 6)), Some(log_id(1, 10))));
    assert_eq!(stored(&mut again.log).await, [(1, 7), (1, 8), (1, 9), (1, 10)]);
    drop(again);
}

/// A log that was closed, with entries up to here in one file of those that a purge drops.
async fn in_one_file(directory: &Path, entries: u64) {
    let mut opened = open(directory);
    append(&mut opened.log, 1, 0..entries).await;
    drop(opened);
    crate::disk::compact(directory, &form(LIMITS), database::LOG);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entry_behind_a_purge_stays_when_it_ends_a_file() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    in_one_file(&directory, 10).await;
    let mut opened = open(&directory);
    opened.log.purge(log_id(1, 8)).await.unwrap();
    drop(opened);
    let mut again = open(&directory);
    assert_eq!(stored(&mut again.log).await, [(1, 9)]);
    drop(again);
}

/// Files are dropped for good, so the position that says so must not be lost behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_after_a_purge_leaves_no_hole() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    in_one_file(&directory, 10).await;
    let mut opened = open(&directory);
    append(&mut opened.log, 1, 10..12).await;
    let wal = files(&directory, "log").pop().unwrap();
    let synced = fs::metadata(&wal).unwrap().len();
    let (counters, tables) = (opened.log.counters(), files(&directory, "sst").len());
    let syncs = counters.syncs.load(Ordering::Relaxed);
    opened.log.purge(log_id(1, 9)).await.unwrap();
    drop(opened);
    assert!(files(&directory, "sst").len() < tables, "no file was dropped");
    if counters.syncs.load(Ordering::Relaxed) == syncs {
        // What was written behind the last fdatasync is what a power cut takes.
        fs::OpenOptions::new().write(true).open(&wal).unwrap().set_len(synced).unwrap();
    }
    let mut again = open(&directory);
    assert_eq!(again.log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 9)));
    assert_eq!(stored(&mut again.log).await, [(1, 10), (1, 11)]);
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_is_on_the_disk_before_what_follows() {
    let place = TempDir::new().unwrap();
    let mut opened = open(place.path());
    append(&mut opened.log, 1, 0..10).await;
    let counters = opened.log.counters();
    let syncs = counters.syncs.load(Ordering::Relaxed);
    opened.log.truncate_after(Some(log_id(1, 4))).await.unwrap();
    drop(opened);
    assert_eq!(counters.syncs.load(Ordering::Relaxed), syncs + 1);
}

/// Nobody may be left waiting for it: the consensus would not see that it is to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_room_refuses_when_the_node_ends() {
    let place = TempDir::new().unwrap();
    let space = Space::new(place.path(), 100, Arc::new(|_| Ok(0)));
    let mut opened = try_open_within(place.path(), &identity(1), space.clone()).unwrap();
    let (tx, appended) = <crate::types::Types as openraft::type_config::TypeConfigExt>::oneshot();
    opened.log.append([entry(1, 0)], IOFlushed::signal(tx)).await.unwrap();
    space.end();
    let error = appended.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("disk is full"), "{error}");
    assert!(opened.log.save_vote(&Vote::new_committed(3, 1)).await.is_err());
    assert!(space.until_room().await.is_err());
    drop(opened);

    let mut again = open(place.path());
    assert_eq!(stored(&mut again.log).await, [(0, 0); 0]);
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_its_owner_only() {
    let place = TempDir::new().unwrap();
    let opened = open(place.path());
    let error = try_open(place.path(), &identity(1)).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(opened);
    let error = try_open(place.path(), &identity(2)).err().unwrap();
    assert!(matches!(error, OpenError::ForeignIdentity { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("controller 1 of cluster \"test\"") && text.contains("controller 2"), "{text}");
    let stranger = IdentityV1 { cluster_id: "other".into(), node_id: 1 };
    assert!(matches!(try_open(place.path(), &stranger), Err(OpenError::ForeignIdentity { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_left_alone() {
    let place = TempDir::new().unwrap();
    let opened = open(place.path());
    let mut newer = crate::envelope::seal_identity(&identity(1));
    newer[2] = crate::envelope::FORMAT + 1;
    put(&opened, database::META, b"identity", newer);
    drop(opened);
    let error = try_open(place.path(), &identity(1)).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { .. }), "{error}");
    assert!(error.to_string().contains("start that build again, or a newer one"), "{error}");
}

/// Many appends in flight share fdatasyncs, and are answered in order.
#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_share_one_sync() {
    let place = TempDir::new().unwrap();
    let mut opened = open(place.path());
    let mut done = Vec::new();
    for index in 0..500 {
        let (tx, rx) = <crate::types::Types as openraft::type_config::TypeConfigExt>::oneshot();
        opened.log.append([entry(1, index)], IOFlushed::signal(tx)).await.unwrap();
        done.push(rx);
    }
    for done in done {
        done.await.unwrap().unwrap();
    }
    let counters = opened.log.counters();
    assert_eq!(counters.entries.load(Ordering::Relaxed), 500);
    assert!(counters.syncs.load(Ordering::Relaxed) < 500);
    // Older entries have left the small memory and come from the database.
    let mut reader = opened.log.get_log_reader().await;
    let read = reader.limited_get_log_entries(3, 9).await.unwrap();
    assert_eq!(read.iter().map(RaftEntry::index).collect::<Vec<_>>(), (3..9).collect::<Vec<_>>());
    drop(reader);
    drop(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_manifest_tracks_earlier_files_can_be_looked_at() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("raft.db");
    let mut opened = open(&directory);
    let large =
        |index| Entry::new(log_id(1, index), EntryPayload::Normal(Payload(vec![7; 100 << 10].into())));
    // Two write buffers, while the vote beside them keeps the first file needed.
    opened.log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    for index in 0..20 {
        opened.log.blocking_append([large(index)]).await.unwrap();
    }
    opened.log.save_committed(Some(log_id(1, 19))).await.unwrap();
    append(&mut opened.log, 1, 20..21).await;
    assert!(files(&directory, "log").len() > 1, "the write buffer was never changed");
    drop(opened);

    let log = look(&crate::disk::Local, &directory).unwrap();
    assert_eq!((log.purged, log.committed), (None, Some(log_id(1, 19))));
    let indexes: Vec<u64> = log.entries.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indexes, (0..21).collect::<Vec<_>>());
}
