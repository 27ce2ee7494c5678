//! The clients of a run: each does one thing after the other through the controllers that the plan names, and everything that it
//! asked and saw is written down.

mod answers;
mod book;
mod gauges;
pub(crate) mod objects;
mod ops;
mod rest;
mod watch;

use std::{collections::BTreeMap, sync::Arc};

use kontiki_chaos_plan::plan::{Client, Op};
use tokio::{runtime::Runtime, sync::mpsc, time::Instant};

pub use book::Book;
pub use gauges::{Gauges, gauges};
pub use rest::{Reply, Rest, Sent};

use crate::net::enter;

/// One thing that a client is to do, and when at the earliest.
pub struct Task {
    /// Not before.
    pub at: std::time::Instant,
    /// Through which controller.
    pub via: u32,
    /// What.
    pub op: Op,
}

/// A runtime whose tasks live in a namespace.
pub fn runtime(netns: String) -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("clients")
        .on_thread_start(move || {
            if let Err(error) = enter(&netns) {
                eprintln!("{error:#}");
            }
        })
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// The clients. They end when this is dropped.
pub struct Clients {
    queues: BTreeMap<Client, mpsc::UnboundedSender<Task>>,
    book: Arc<Book>,
}

impl Clients {
    /// Nobody yet.
    pub fn new(book: Arc<Book>) -> Clients {
        Clients { queues: BTreeMap::new(), book }
    }

    /// Gives a client something to do after what it has to do already.
    pub fn give(&mut self, runtime: &Runtime, client: Client, task: Task) {
        self.book.given();
        let queue = self.queues.entry(client).or_insert_with(|| {
            let (queue, mut tasks) = mpsc::unbounded_channel::<Task>();
            let book = self.book.clone();
            let mut hand = ops::Hand::new(client, book.clone());
            runtime.spawn(async move {
                while let Some(task) = tasks.recv().await {
                    tokio::time::sleep_until(Instant::from_std(task.at)).await;
                    if hand.stopped() {
                        return;
                    }
                    hand.play(task.via, task.op).await;
                    book.done();
                }
            });
            queue
        });
        // A client that has ended has nothing to do any more.
        let _ = queue.send(task);
    }
}
