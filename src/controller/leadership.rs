//! Becoming the leader and ceasing to be it, in one place: which live actors are told, in which order.

use std::sync::Arc;

use actix::Addr;
use futures_util::{FutureExt, future};
use kontiki_actors::Input;
use kontiki_api::{
    Gate,
    feed::{Batch, Feed},
};
use kontiki_raft::{Leadership, Node};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    autoscaling::Autoscaling,
    bootstrap,
    cluster::Levels,
    endpoints,
    replica::Replica,
    sessions::{Lead, Resync, Sessions, Step},
    stage::{Enter, Leave, Stage},
};

/// Events that are handed on at once.
const STEP: usize = 1024;

/// The live crew that only a leader has.
#[derive(Clone)]
pub(super) struct Crew {
    /// Decides.
    pub stage: Addr<Stage>,
    /// Speaks with workers.
    pub sessions: Addr<Sessions>,
}

/// Follows the leadership of the consensus as long as that lives.
pub(super) async fn follow(
    mut leadership: watch::Receiver<Leadership>,
    crew: Crew,
    levels: Arc<Levels>,
    (node, replica): (Node, Arc<Replica>),
    gate: Gate,
    autoscaling: Autoscaling,
    ca_pem: Arc<str>,
) {
    let mut leads: Option<u64> = None;
    let mut raising = future::pending().boxed();
    let mut keeping = future::pending().boxed();
    let mut duties: Vec<Duty> = Vec::new();
    loop {
        let now = leadership.borrow_and_update().clone();
        let wanted = now.leading.then_some(now.term);
        if wanted != leads {
            if leads.is_some() {
                cease(&crew);
                raising = future::pending().boxed();
                keeping = future::pending().boxed();
                duties.clear();
            }
            if let Some(term) = wanted {
                become_leader(&crew, term, &ca_pem);
                let objects = bootstrap::objects(&ca_pem);
                raising = levels.clone().raise(term, crew.stage.clone(), objects).boxed();
                keeping = endpoints::keep(term, node.clone(), replica.clone(), crew.stage.clone()).boxed();
                let scales = autoscaling.clone().run(term, crew.stage.clone());
                duties.push(Duty(kontiki_raft::spawn(gate.clone().run())));
                duties.push(Duty(kontiki_raft::spawn(scales)));
            }
            leads = wanted;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = &mut raising => raising = future::pending().boxed(),
            () = &mut keeping => keeping = future::pending().boxed(),
        }
    }
}

/// A task that only a leader has: who asks about pods that actors want, and who looks after autoscalers.
struct Duty(JoinHandle<()>);

impl Drop for Duty {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The state is folded up to this term already: nothing is loaded. The stage first, so that sessions find it.
fn become_leader(crew: &Crew, term: u64, ca_pem: &str) {
    let first = Input::Bootstrap(bootstrap::objects(ca_pem));
    crew.stage.do_send(Enter { term, first });
    crew.sessions.do_send(Lead(Some(term)));
}

/// Workers are sent away first, then nothing is decided any more.
fn cease(crew: &Crew) {
    crew.sessions.do_send(Lead(None));
    crew.stage.do_send(Leave);
}

/// Hands committed events to the sessions, in order. One that fell behind the feed lets every worker resync.
pub(super) async fn feed_sessions(feed: Arc<Feed>, sessions: Addr<Sessions>) {
    let mut after = feed.revision();
    loop {
        feed.changed(after).await;
        match feed.read(after, STEP) {
            Ok(Batch { events, revision }) => {
                after = revision;
                if !events.is_empty() && sessions.send(Step(events)).await.is_err() {
                    return;
                }
            }
            Err(expired) => {
                tracing::warn!(%expired, "the sessions fell behind the feed: every worker resyncs");
                after = feed.revision();
                if sessions.send(Resync).await.is_err() {
                    return;
                }
            }
        }
    }
}
