//! Where the live actors run. They are started through a spawner that is handed in, so that the same crew also runs in
//! a simulation: on one thread, on simulated time.

use actix::{Actor, Addr, Arbiter, Context};
use actix_rt::ArbiterHandle;
use tokio::sync::mpsc;

/// Which thread an actor lives on: what must not wait for each other lives apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The stage: it computes.
    Stage,
    /// Sessions, liveness: they answer quickly and must not wait for the stage.
    Sessions,
}

/// Starts actors.
pub trait Spawner: Send + Sync + 'static {
    /// Runs a function on the room's thread, within its actor system.
    fn spawn(&self, room: Room, start: Box<dyn FnOnce() + Send>);
}

/// Starts an actor in a room. It is there when its address is.
pub(super) async fn start<A>(
    spawner: &dyn Spawner,
    room: Room,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    spawner.spawn(
        room,
        Box::new(move || {
            // The receiver waits below; if it is gone, so is whoever wanted the actor.
            let _ = sender.send(A::create(make));
        }),
    );
    receiver.await.expect("the room's thread runs as long as the process")
}

/// The same from within a task: it must not hold up its thread until the room has time.
pub(super) async fn start_soon<A>(
    spawner: &dyn Spawner,
    room: Room,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    spawner.spawn(
        room,
        Box::new(move || {
            A::create(make);
            // Whoever wanted the actor may be gone.
            let _ = sender.send(());
        }),
    );
    // The room is gone: the process is ending.
    let _ = receiver.await;
}

/// What an actor holds that this controller cannot lead without: when the actor is gone, by a panic or otherwise, the
/// process must not go on as a leader without hands.
pub(crate) struct Vital {
    name: &'static str,
    gone: mpsc::UnboundedSender<&'static str>,
}

/// Tells which vital actor is gone.
pub(super) struct Pulse {
    sender: mpsc::UnboundedSender<&'static str>,
    receiver: mpsc::UnboundedReceiver<&'static str>,
}

impl Pulse {
    /// Nobody is watched yet.
    pub(super) fn new() -> Pulse {
        let (sender, receiver) = mpsc::unbounded_channel();
        Pulse { sender, receiver }
    }

    /// For one actor.
    pub(super) fn vital(&self, name: &'static str) -> Vital {
        Vital { name, gone: self.sender.clone() }
    }

    /// Resolves when a vital actor is gone, with its name.
    pub(super) async fn stopped(&mut self) -> &'static str {
        match self.receiver.recv().await {
            Some(name) => name,
            // Never: this holds a sender itself.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        // Each is dropped once, so that the channel is bounded by their number.
        let _ = self.gone.send(self.name);
    }
}

/// One thread per room.
pub(super) struct Threads {
    stage: ArbiterHandle,
    sessions: ArbiterHandle,
}

impl Threads {
    /// Starts the threads. They live as long as the process.
    pub(super) fn start() -> std::io::Result<Threads> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("crew".into()).spawn(move || {
            let system = actix::System::new();
            system.block_on(async move {
                let (stage, sessions) = (Arbiter::new(), Arbiter::new());
                let _ = sender.send(Threads { stage: stage.handle(), sessions: sessions.handle() });
                std::future::pending::<()>().await;
            });
        })?;
        receiver.recv().map_err(|_| std::io::Error::other("the thread of the live actors did not start"))
    }
}

impl Spawner for Threads {
    fn spawn(&self, room: Room, start: Box<dyn FnOnce() + Send>) {
        let arbiter = match room {
            Room::Stage => &self.stage,
            Room::Sessions => &self.sessions,
        };
        if !arbiter.spawn_fn(start) {
            tracing::error!(?room, "the thread of the live actors has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix::{Handler, Message};

    use super::*;

    struct Frail(#[allow(dead_code)] Vital);

    impl Actor for Frail {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Fail;

    impl Handler<Fail> for Frail {
        type Result = ();

        fn handle(&mut self, _: Fail, _: &mut Context<Self>) {
            panic!("an actor fails");
        }
    }

    #[tokio::test]
    async fn a_vital_actor_that_fails_is_noticed() {
        let (threads, mut pulse) = (Threads::start().unwrap(), Pulse::new());
        let (well, frail) = (pulse.vital("well"), pulse.vital("frail"));
        let _well = start(&threads, Room::Sessions, move |_| Frail(well)).await;
        start(&threads, Room::Stage, move |_| Frail(frail)).await.do_send(Fail);
        assert_eq!(pulse.stopped().await, "frail");
    }
}
