#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use openraft::StorageError;
use openraft::entry::RaftEntry;
use openraft::storage::RaftStateMachine;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::fold::{FoldError, Record, StoreError, Table};
use crate::log::tests::Closing;
use crate::log::{LogLimits, LogStore};
use crate::types::{Entry, Payload, log_id};

const LIMITS: StateLimits =
    StateLimits { tables: &["objects", "index"], write_buffer_bytes: 1 << 20, cache_bytes: 1 << 20 };

/// Keeps the last value per key; a payload is `key=value`, or `key` alone to delete it.
#[derive(Default)]
struct Memory {
    records: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    folded: Mutex<Vec<u64>>,
}

impl Fold for Memory {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        let loaded: Result<BTreeMap<_, _>, _> =
            records.map(|record| record.map(|r| (r.key, r.value))).collect();
        *self.records.lock() = loaded?;
        Ok(())
    }

    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes) {
        let text = String::from_utf8_lossy(&entry.payload).into_owned();
        match text.split_once('=') {
            Some((key, value)) => {
                self.records.lock().insert(key.into(), value.into());
                writes.put(Table(0), key, value);
            }
            None => {
                self.records.lock().remove(text.as_bytes());
                writes.delete(Table(0), text);
            }
        }
    }

    fn folded(&self, last: LogPosition) {
        self.folded.lock().push(last.index);
    }
}

impl Memory {
    fn get(&self, key: &str) -> Option<String> {
        self.records.lock().get(key.as_bytes()).map(|value| String::from_utf8(value.clone()).unwrap())
    }
}

fn try_open(root: &Path) -> Result<(StateMachine, Arc<Memory>), OpenError> {
    try_open_within(root, Space::endless())
}

fn try_open_within(root: &Path, space: Arc<Space>) -> Result<(StateMachine, Arc<Memory>), OpenError> {
    let (open, _) = mpsc::channel(1);
    let fold = Arc::new(Memory::default());
    let state = StateMachine::open(Arc::new(crate::disk::Local), root, LIMITS, space, fold.clone(), open)?;
    Ok((state, fold))
}

fn open(root: &Path) -> (StateMachine, Arc<Memory>) {
    try_open(root).unwrap()
}

async fn apply(state: &mut StateMachine, entries: impl IntoIterator<Item = (u64, &str)>) {
    let entry = |(index, text): (u64, &str)| {
        let payload = EntryPayload::Normal(Payload(text.as_bytes().to_vec().into()));
        Ok((Entry::new(log_id(1, index), payload), None))
    };
    let entries: Vec<_> = entries.into_iter().map(entry).collect();
    state.apply(futures_util::stream::iter(entries)).await.unwrap();
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy_tree(&file.path(), &target),
            false => drop(std::fs::copy(file.path(), target).unwrap()),
        }
    }
}

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, (Closing, TempDir)> for Builder {
    async fn build(&self) -> Result<((Closing, TempDir), LogStore, StateMachine), StorageError<Types>> {
        let place = TempDir::new().unwrap();
        let (open, closing) = Closing::new();
        let identity = crate::envelope::IdentityV1 { cluster_id: "suite".into(), node_id: 1 };
        let limits = LogLimits { tail_bytes: 1 << 20, write_buffer_bytes: 1 << 20 };
        let log = LogStore::open(
            Arc::new(crate::disk::Local),
            &place.path().join("raft.db"),
            &identity,
            false,
            limits,
            Space::endless(),
            open,
        )
        .unwrap();
        let (state, _) = super::tests::open(&place.path().join("state"));
        Ok(((closing, place), log, state))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_pass_the_suite_of_openraft() {
    Suite::<Types, LogStore, StateMachine, Builder, (Closing, TempDir)>::test_all(Builder).await.unwrap();
}

/// A crash loses what was not flushed, all tables at the same position; the log still has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_the_state_of_the_last_flush() {
    let place = TempDir::new().unwrap();
    let root = place.path().join("state");
    let (mut state, fold) = open(&root);
    apply(&mut state, [(1, "a=1"), (2, "b=1")]).await;
    state.flush().unwrap();
    assert_eq!(state.progress().durable(), Some(2));
    apply(&mut state, [(3, "a=2"), (4, "b")]).await;
    assert_eq!((state.progress().durable(), fold.get("a"), fold.get("b")), (Some(2), Some("2".into()), None));

    let killed = place.path().join("killed");
    copy_tree(&root, &killed);
    let (mut again, fold) = open(&killed);
    assert_eq!(again.applied_state().await.unwrap().0, Some(log_id(1, 2)));
    assert_eq!((fold.get("a"), fold.get("b")), (Some("1".into()), Some("1".into())));
    // Folding the same entries again gives what was there before the crash.
    apply(&mut again, [(3, "a=2"), (4, "b")]).await;
    assert_eq!((fold.get("a"), fold.get("b")), (Some("2".into()), None));
}

/// Of a key that is written again and again one record is stored; one that comes and goes is only deleted.
#[test]
fn the_last_write_of_a_key_is_stored() {
    let mut writes = Writes::default();
    writes.put_later(Table(0), "a", 1, || unreachable!("it was replaced"));
    writes.put(Table(0), "b", "1");
    writes.put(Table(0), "a", "2");
    writes.put_later(Table(1), "a", 1, || b"3".to_vec());
    writes.delete(Table(0), "b");
    let put = |table, value: &str| crate::disk::Change::Put { table, key: "a".into(), value: value.into() };
    let gone = crate::disk::Change::Delete { table: 0, key: "b".into() };
    assert_eq!(writes.into_batch().changes, [put(0, "2"), gone, put(1, "3")]);
}

/// What is held back goes into a snapshot, and is stored when it is much.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_held_back_are_stored_in_time() {
    let place = TempDir::new().unwrap();
    let (mut state, _) = open(place.path());
    let stored = |state: &StateMachine| state.database.records().map(Result::unwrap).collect::<Vec<_>>();
    apply(&mut state, [(1, "a=1")]).await;
    assert_eq!((stored(&state).len(), state.database.applied().unwrap().0), (0, None));
    state.get_snapshot_builder().await.build_snapshot().await.unwrap();
    assert_eq!((stored(&state).len(), state.database.applied().unwrap().0), (1, Some(log_id(1, 1))));

    let large = "x".repeat(HELD_BYTES / 2);
    apply(&mut state, [(2, format!("b={large}").as_str())]).await;
    assert_eq!(stored(&state).len(), 1);
    apply(&mut state, [(3, format!("c={large}").as_str())]).await;
    assert_eq!((stored(&state).len(), state.database.applied().unwrap().0), (3, Some(log_id(1, 3))));
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_released_before_the_records_are_stored() {
    let place = TempDir::new().unwrap();
    let (mut state, fold) = open(place.path());
    let progress = state.progress();
    apply(&mut state, [(1, "a=1"), (2, "a=2")]).await;
    assert_eq!(*fold.folded.lock(), [2]);
    assert_eq!(*progress.applied.borrow(), Some(LogPosition { term: 1, index: 2 }));
}

/// Sends a snapshot of `from` into `to` as the wire does.
async fn send(from: &mut StateMachine, to: &mut StateMachine) {
    let snapshot = from.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let SnapshotData::Stored(image) = snapshot.snapshot else { panic!("one of our own") };
    let names = TableNames::resolve(&image.table_names(), LIMITS.tables).unwrap();
    let mut incoming = Incoming::begin(&to.directory()).unwrap();
    let mut chunks = Chunks::of(image.clone()).unwrap();
    while let Some(chunk) = chunks.next().unwrap() {
        incoming.chunk(&chunk, &names).unwrap();
    }
    let received = incoming.finish(chunks.chunks, chunks.records, &snapshot.meta).unwrap();
    to.install_snapshot(&snapshot.meta, SnapshotData::Received(received)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_snapshot_is_durable_and_replaces_everything() {
    let place = TempDir::new().unwrap();
    let (mut leader, _) = open(&place.path().join("leader"));
    let big = format!("big={}", "x".repeat(3 << 20));
    apply(&mut leader, [(1, "a=1"), (2, big.as_str()), (3, "c=3")]).await;

    let root = place.path().join("follower");
    let (mut follower, fold) = open(&root);
    apply(&mut follower, [(1, "old=1")]).await;
    send(&mut leader, &mut follower).await;
    assert_eq!(
        (fold.get("old"), fold.get("c"), fold.get("big").unwrap().len()),
        (None, Some("3".into()), 3 << 20)
    );
    assert_eq!(follower.progress().durable(), Some(3));
    let snapshot = follower.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 3)));
    drop(snapshot);

    // A crash right after it: the new state, whole.
    let killed = place.path().join("killed");
    copy_tree(&root, &killed);
    let (mut again, fold) = open(&killed);
    assert_eq!(again.applied_state().await.unwrap().0, Some(log_id(1, 3)));
    assert_eq!((fold.get("old"), fold.get("a")), (None, Some("1".into())));
    assert!(again.get_current_snapshot().await.unwrap().is_some());
}

/// A crash between receiving a snapshot and pointing to it leaves the old state and no rubbish.
#[tokio::test(flavor = "multi_thread")]
async fn half_an_installation_leaves_the_old_state() {
    let place = TempDir::new().unwrap();
    let root = place.path().join("state");
    let (mut state, _) = open(&root);
    apply(&mut state, [(1, "a=1")]).await;
    state.flush().unwrap();
    let incoming = Incoming::begin(&state.directory()).unwrap();
    let killed = place.path().join("killed");
    copy_tree(&root, &killed);
    // Renamed already, but not yet pointed to.
    copy_tree(&killed.join("state-1"), &killed.join("state-2"));
    let (again, fold) = open(&killed);
    assert_eq!(fold.get("a"), Some("1".into()));
    drop(again);
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&killed).unwrap().map(|file| file.unwrap().file_name().into()).collect();
    names.sort();
    assert_eq!(names, ["CURRENT", "snapshots", "state-1"].map(PathBuf::from));
    drop(incoming);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_incomplete_snapshot_is_refused() {
    let place = TempDir::new().unwrap();
    let (mut leader, _) = open(&place.path().join("leader"));
    apply(&mut leader, [(1, "a=1")]).await;
    let snapshot = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let SnapshotData::Stored(image) = snapshot.snapshot else { panic!("one of our own") };
    let mut chunks = Chunks::of(image.clone()).unwrap();
    let sent = [chunks.next().unwrap().unwrap()];
    let (follower, _) = open(&place.path().join("follower"));
    let names = TableNames::resolve(&image.table_names(), LIMITS.tables).unwrap();

    let mut damaged = sent[0].data.to_vec();
    damaged[5] ^= 1;
    let damaged = Chunk { sequence: 0, crc32c: sent[0].crc32c, data: damaged.into() };
    let mut incoming = Incoming::begin(&follower.directory()).unwrap();
    assert!(incoming.chunk(&damaged, &names).unwrap_err().to_string().contains("checksum"));
    let late = Chunk { sequence: 1, crc32c: sent[0].crc32c, data: sent[0].data.clone() };
    assert!(incoming.chunk(&late, &names).is_err());
    incoming.chunk(&sent[0], &names).unwrap();
    assert!(incoming.finish(2, 1, &snapshot.meta).is_err());
    let error = TableNames::resolve(&["new".into()], LIMITS.tables).err().unwrap();
    assert!(error.to_string().contains("upgrade this controller"), "{error}");
}

/// What is left of the disk is the log's: it could not even note a vote without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_comes_in_stops_at_the_reserve() {
    let place = TempDir::new().unwrap();
    let (mut leader, _) = open(&place.path().join("leader"));
    apply(&mut leader, [(1, "a=1")]).await;
    let snapshot = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let SnapshotData::Stored(image) = snapshot.snapshot else { panic!("one of our own") };
    let chunk = Chunks::of(image.clone()).unwrap().next().unwrap().unwrap();
    let names = TableNames::resolve(&image.table_names(), LIMITS.tables).unwrap();

    let free = Arc::new(AtomicU64::new(100));
    let read = free.clone();
    let space = Space::new(place.path(), 100, Arc::new(move |_| Ok(read.load(Ordering::Relaxed))));
    let root = place.path().join("follower");
    let (follower, _) = try_open_within(&root, space).unwrap();
    let mut incoming = Incoming::begin(&follower.directory()).unwrap();
    free.store(99, Ordering::Relaxed);
    let error = incoming.chunk(&chunk, &names).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    drop(incoming);
    let error = Incoming::begin(&follower.directory()).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert!(!root.join("incoming-0").exists() && !root.join("incoming-1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_without_its_pointer_is_no_rubbish() {
    let place = TempDir::new().unwrap();
    let root = place.path().join("state");
    let (mut state, _) = open(&root);
    apply(&mut state, [(1, "a=1")]).await;
    state.flush().unwrap();
    drop(state);
    std::fs::rename(root.join("state-1"), root.join("state-2")).unwrap();
    std::fs::remove_file(root.join("CURRENT")).unwrap();
    let error = try_open(&root).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("CURRENT is missing"), "{error}");
    assert!(root.join("state-2").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_may_read_the_state() {
    use std::os::unix::fs::PermissionsExt;
    let place = TempDir::new().unwrap();
    let root = place.path().join("state");
    // As earlier builds left it.
    std::fs::create_dir_all(root.join("snapshots")).unwrap();
    for path in [root.clone(), root.join("snapshots")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (state, _) = open(&root);
    for path in [root.clone(), root.join("snapshots"), root.join("state-1")] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{path:?}");
    }
    drop(state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_a_newer_build_is_left_alone() {
    let place = TempDir::new().unwrap();
    let newer = StateLimits { tables: &["objects", "index", "leases"], ..LIMITS };
    let (open, _) = mpsc::channel(1);
    let fold = Arc::new(Memory::default());
    drop(
        StateMachine::open(Arc::new(crate::disk::Local), place.path(), newer, Space::endless(), fold, open)
            .unwrap(),
    );
    let error = try_open(place.path()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { .. }), "{error}");
    assert!(error.to_string().contains("leases"), "{error}");
}
