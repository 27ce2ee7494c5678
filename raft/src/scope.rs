//! Where a node's tasks run. A process has no scope: its tasks are the runtime's. A simulation runs many nodes on one runtime, gives each
//! a [`Scope`], and can hold all of its tasks still, or end them at once as a crash does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

tokio::task_local! {
    static CURRENT: Scope;
}

/// The tasks of one node, and of what runs with it.
#[derive(Clone, Default)]
pub struct Scope(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tasks: Mutex<Tasks>,
    held: AtomicBool,
    dead: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    random: AtomicU64,
}

#[derive(Default)]
struct Tasks {
    all: Vec<AbortHandle>,
    sweep_at: usize,
}

impl Scope {
    /// One whose random numbers come from this seed.
    pub fn new(seed: u64) -> Scope {
        Scope(Arc::new(Inner { random: AtomicU64::new(seed), ..Inner::default() }))
    }

    /// The one that the calling task is in.
    pub fn current() -> Option<Scope> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Spawns a task in it; so are those that it spawns with [`spawn`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let gated = Gated { task: Box::pin(task), inner: self.0.clone() };
        let handle = tokio::spawn(CURRENT.scope(self.clone(), gated));
        if self.0.dead.load(Ordering::Relaxed) {
            handle.abort();
            return handle;
        }
        let mut tasks = self.0.tasks.lock();
        if tasks.all.len() >= tasks.sweep_at {
            tasks.all.retain(|task| !task.is_finished());
            tasks.sweep_at = (2 * tasks.all.len()).max(64);
        }
        tasks.all.push(handle.abort_handle());
        handle
    }

    /// From now on its tasks stand still; the clock does not.
    pub fn hold(&self) {
        self.0.held.store(true, Ordering::Relaxed);
    }

    /// They go on.
    pub fn resume(&self) {
        self.0.held.store(false, Ordering::Relaxed);
        for waker in std::mem::take(&mut *self.0.waiting.lock()) {
            waker.wake();
        }
    }

    /// Ends all of its tasks, and every one that would be spawned in it later.
    pub fn kill(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut self.0.tasks.lock().all) {
            task.abort();
        }
    }

    /// A random number of its own sequence.
    pub fn random(&self) -> u64 {
        // SplitMix64.
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let z = self.0.random.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Spawns a task in the scope of the calling task, if it has one.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match Scope::current() {
        Some(scope) => scope.spawn(task),
        None => tokio::spawn(task),
    }
}

/// A task that is not polled while its scope is held.
struct Gated<F> {
    task: Pin<Box<F>>,
    inner: Arc<Inner>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.inner.held.load(Ordering::Relaxed) {
            self.inner.waiting.lock().push(context.waker().clone());
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
