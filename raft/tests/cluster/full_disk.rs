//! A disk that fills up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kontiki_raft::{
    Database, Disk, DiskError, DiskErrorKind, Form, Job, Limits, Local, Node, ProposeError, Room,
};

use crate::harness::{Cluster, Memory, PATIENCE, run};

#[test]
fn a_full_leader_hands_over_and_loses_nothing() {
    run(async {
        let cluster = Cluster::of(3, Limits::default()).await;
        let before = cluster.write("before").await;
        let (full, term) = cluster.leader().await;
        let reserve = cluster.limits.reserve_bytes;

        // Below the reserve: it says so and gives the leadership away; what the others write still reaches it.
        cluster.nodes[&full].free.store(reserve * 3 / 4, Ordering::Relaxed);
        let mut leadership = cluster.node(full).leadership();
        let handed = leadership.wait_for(|now| !now.leading && now.leader.is_some());
        tokio::time::timeout(PATIENCE, handed).await.unwrap().unwrap();
        let refused = cluster.node(full).propose(b"refused"[..].into(), term).await;
        assert_eq!(refused, Err(ProposeError::StorageFull));
        assert_eq!(cluster.node(full).status().room, Room::Low);
        let during = cluster.write("while it is low").await;
        cluster.settled(during).await;

        // Nothing left: it stores nothing more, the others go on.
        cluster.nodes[&full].free.store(0, Ordering::Relaxed);
        while cluster.node(full).status().room != Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (leader, _) = cluster.leader().await;
        assert_ne!(leader, full);
        let missed = cluster.write("while it is full").await;
        assert!(cluster.node(full).wait_applied(missed.index, Duration::from_millis(300)).await.is_err());

        // Space returns.
        cluster.nodes[&full].free.store(u64::MAX, Ordering::Relaxed);
        // Before it noticed, waiting for it would be refused.
        while cluster.node(full).status().room == Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.settled(missed).await;
        assert!(before < missed);
        let member = cluster.node(leader).transfer_leader(Some(full)).await.unwrap();
        assert_eq!(member.id, full);
        cluster.leader_is(full).await;
        let last = cluster.write("after").await;
        cluster.settled(last).await;
        assert_eq!(cluster.fold(full).values().len(), 4);
    });
}

/// Alone, it cannot hand over: it keeps serving reads and refuses writes until there is room.
#[test]
fn a_full_single_controller_refuses_and_recovers() {
    run(async {
        let cluster = Cluster::of(1, Limits::default()).await;
        cluster.write("before").await;
        let (_, term) = cluster.leader().await;
        cluster.nodes[&1].free.store(0, Ordering::Relaxed);
        while cluster.node(1).status().room != Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cluster.node(1).propose(b"no"[..].into(), term).await, Err(ProposeError::StorageFull));
        assert!(cluster.node(1).read_index().await.is_ok());
        cluster.nodes[&1].free.store(u64::MAX, Ordering::Relaxed);
        while cluster.node(1).status().room != Room::Ample {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.write("after").await;
        assert_eq!(cluster.fold(1).values().len(), 2);
    });
}

/// The consensus waits for its storage, in which a vote is queued behind an entry that has no room.
#[test]
fn a_full_follower_can_be_stopped() {
    run(async {
        let cluster = Cluster::of(3, Limits::default()).await;
        let (leader, term) = cluster.leader().await;
        let full = (1..=3).find(|id| *id != leader).unwrap();
        cluster.nodes[&full].free.store(0, Ordering::Relaxed);
        while cluster.node(full).status().room != Room::None {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let missed = cluster.write("while it is full").await;
        while cluster.node(full).status().last_log < Some(missed.index) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let next = (1..=3).find(|id| ![leader, full].contains(id));
        while cluster.leader().await.1 == term {
            let _ = cluster.node(leader).transfer_leader(next).await;
        }
        cluster.node(full).shutdown().await;
    });
}

/// A disk that has no room for a log as long as half a snapshot lies on it.
struct Cramped(PathBuf);

impl Disk for Cramped {
    fn open(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        if path.ends_with("raft.db") && self.0.exists() {
            let detail = "IO error: No space left on device: While appending to file".into();
            return Err(DiskError { kind: DiskErrorKind::Failed, detail });
        }
        Local.open(path, form)
    }

    fn open_read_only(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        Local.open_read_only(path, form)
    }

    fn tables(&self, path: &Path, form: &Form) -> Result<Option<Vec<String>>, DiskError> {
        Local.tables(path, form)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Local.exists(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Local.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Local.list(path)
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        Local.rename_dir(from, to)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Local.remove_dir(path)
    }

    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        Local.read(path)
    }

    fn replace(&self, path: &Path, content: &str) -> io::Result<()> {
        Local.replace(path, content)
    }

    fn run(&self, job: Job) -> BoxFuture<'static, io::Result<()>> {
        Local.run(job)
    }

    fn start(&self, name: &str, task: BoxFuture<'static, ()>) -> io::Result<()> {
        Local.start(name, task)
    }

    fn block(&self, job: Job) -> BoxFuture<'static, ()> {
        Local.block(job)
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        Local.pause(time)
    }
}

/// Half of a snapshot that filled the disk is removed before the log needs room.
#[test]
fn half_a_snapshot_does_not_keep_a_full_disk_full() {
    run(async {
        let cluster = Cluster::new(Limits::default());
        let options = cluster.options(1, &Arc::new(AtomicU64::new(u64::MAX)));
        let half = options.data_dir.join("state/incoming-0");
        fs::create_dir_all(&half).unwrap();
        let disk = Arc::new(Cramped(half.clone()));
        let node = Node::open_on(disk, options, Arc::new(Memory::default())).await.unwrap();
        assert!(!half.exists());
        node.shutdown().await;
    });
}
