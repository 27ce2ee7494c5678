//! Where the live actors run. They are started through a spawner that is handed in, so that the same crew also runs in
//! a simulation: on one thread, on simulated time.

use actix::{Actor, Addr, Arbiter, Context};
use actix_rt::ArbiterHandle;

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

/// Starts an actor in a room. Its mailbox is there at once; the actor is, too, when the function returns its address.
pub fn start<A>(spawner: &dyn Spawner, room: Room, make: impl FnOnce(&mut Context<A>) -> A + Send + 'static) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    spawner.spawn(
        room,
        Box::new(move || {
            // The receiver waits below; if it is gone, so is whoever wanted the actor.
            let _ = sender.send(A::create(make));
        }),
    );
    receiver.recv().expect("the room's thread runs as long as the process")
}

/// One thread per room.
pub struct Threads {
    stage: ArbiterHandle,
    sessions: ArbiterHandle,
}

impl Threads {
    /// Starts the threads. They live as long as the process.
    pub fn start() -> std::io::Result<Threads> {
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
