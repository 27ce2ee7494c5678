//! Clients of a consensus-only cluster. They write unique values and read linearizably, through any node, and tell the observer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kontiki_raft::{Node, ProposeError};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::fold::Write;
use super::{Observer, Running};

/// A client gives up after this time: nobody knows then what became of its write.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before it tries again.
const AGAIN: Duration = Duration::from_millis(15);

/// Who runs in each slot now.
pub type Handles = Arc<Mutex<Vec<Option<(u64, Running)>>>>;

/// Makes operations. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    handles: Handles,
    observer: Observer,
    next: Arc<AtomicU64>,
}

/// The node that says it leads, of the highest term if there are several.
pub fn leader(handles: &Handles) -> Option<(usize, u64, Node, u64)> {
    let handles = handles.lock();
    let leading = handles.iter().enumerate().filter_map(|(slot, running)| {
        let (id, running) = running.as_ref()?;
        let now = running.node.leadership().borrow().clone();
        now.leading.then(|| (slot, *id, running.node.clone(), now.term))
    });
    leading.max_by_key(|(_, _, _, term)| *term)
}

impl Clients {
    /// Clients of these nodes.
    pub fn new(handles: Handles, observer: Observer) -> Clients {
        Clients { handles, observer, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Writes a new value; true if it was acknowledged.
    pub async fn put(&self, via: usize, register: u32) -> bool {
        let write = Write { register, value: self.next.fetch_add(1, Ordering::Relaxed) };
        let until = Instant::now() + PATIENCE;
        let mut asked = Some(via);
        while Instant::now() < until {
            // First the one that was named, if it believes that it leads: it may be wrong.
            let named = asked.take().and_then(|slot| self.leading(slot));
            let Some((node, term)) = named.or_else(|| leader(&self.handles).map(|found| (found.2, found.3)))
            else {
                sleep(AGAIN).await;
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, node.propose(write.encode().into(), term)).await {
                Ok(Ok(at)) => {
                    self.observer.acknowledged(write, at);
                    return true;
                }
                // It may be done or not; the value is not used again.
                Ok(Err(ProposeError::Unknown)) | Err(_) => return false,
                Ok(Err(_)) => sleep(AGAIN).await,
            }
        }
        false
    }

    fn leading(&self, slot: usize) -> Option<(Node, u64)> {
        let handles = self.handles.lock();
        let (_, running) = handles.get(slot % handles.len().max(1))?.as_ref()?;
        let now = running.node.leadership().borrow().clone();
        now.leading.then(|| (running.node.clone(), now.term))
    }

    /// Reads linearizably through a slot's node; true if it was answered.
    pub async fn get(&self, via: usize, register: u32) -> bool {
        let running = {
            let handles = self.handles.lock();
            handles.get(via % handles.len().max(1)).cloned().flatten()
        };
        let Some((id, running)) = running else { return false };
        let floor = self.observer.floor(register);
        let read = async {
            let index = running.node.read_index().await.ok()?;
            running.node.wait_applied(index, PATIENCE).await.ok()?;
            Some(running.fold.get(register))
        };
        match timeout(PATIENCE, read).await {
            Ok(Some(found)) => {
                self.observer.read(id, register, floor, found);
                true
            }
            _ => false,
        }
    }
}
