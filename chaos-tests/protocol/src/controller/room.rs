//! Where a simulated controller's live actors run: a local task set of its own, which can be held still and dropped as a whole.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use kontiki::controller::{Room, Spawner};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, LocalSet},
};

type Start = Box<dyn FnOnce() + Send>;

/// The actors of one controller. To be opened within a `LocalSet`.
pub(super) struct Stalls {
    gate: Arc<Gate>,
    task: JoinHandle<()>,
    door: Arc<Door>,
}

/// Starts actors there.
struct Door(mpsc::UnboundedSender<Start>);

impl Spawner for Door {
    fn spawn(&self, _: Room, start: Start) {
        // Nobody listens when the controller is dead; then nobody waits for the actor either.
        let _ = self.0.send(start);
    }
}

impl Stalls {
    pub(super) fn open() -> Stalls {
        let (sender, mut starts) = mpsc::unbounded_channel::<Start>();
        let gate = Arc::new(Gate::default());
        let set = LocalSet::new();
        set.spawn_local(async move {
            while let Some(start) = starts.recv().await {
                start();
            }
        });
        let task = tokio::task::spawn_local(Gated { gate: gate.clone(), set });
        Stalls { gate, task, door: Arc::new(Door(sender)) }
    }

    pub(super) fn spawner(&self) -> Arc<dyn Spawner> {
        self.door.clone()
    }

    pub(super) fn hold(&self, held: bool) {
        self.gate.hold(held);
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Gate {
    fn hold(&self, held: bool) {
        let mut state = self.state.lock();
        state.0 = held;
        if held {
            // Whoever waits since an earlier hold waits on.
            return;
        }
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

/// A task set that is not polled while its gate is closed.
struct Gated {
    gate: Arc<Gate>,
    set: LocalSet,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.gate.state.lock();
            if state.0 {
                state.1 = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.set).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Bell(std::sync::atomic::AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn two_holds_that_overlap_lose_nobody_who_waits() {
        let (gate, bell) = (Arc::new(Gate::default()), Arc::new(Bell::default()));
        let set = LocalSet::new();
        set.spawn_local(async {});
        let (mut room, waker) = (Gated { gate: gate.clone(), set }, Waker::from(bell.clone()));
        gate.hold(true);
        assert!(Pin::new(&mut room).poll(&mut Context::from_waker(&waker)).is_pending());
        gate.hold(true);
        gate.hold(false);
        assert_eq!(bell.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        room.await;
    }
}
