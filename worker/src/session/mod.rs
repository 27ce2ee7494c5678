//! The session with the leader: find it, greet it, obey it, notice when it is gone, and find the next one.
//!
//! ```text
//!   roster (who might lead) ─> dial ─> stream (one session) ─> crew
//!                                        │  fence (which terms count)
//!                                        └─ outbox ─> leader
//! ```
//!
//! Not for what an assignment means: that is the crew's. Nothing here stops a pod, except that a lease which ran out is
//! told to the crew.

mod backoff;
mod dial;
mod fence;
mod lease;
mod roster;
mod stream;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::{Hello, NodeInfo};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::agent::api::ApiAddress;
use crate::agent::crew::Command;
use crate::agent::layout::Layout;
use crate::agent::meter::Meter;
use crate::agent::outbox::Outbox;
use crate::agent::tokens::Tokens;
use crate::agent::{AgentError, disk};
use crate::streams::Streams;
use backoff::Backoff;
pub use dial::{ControllerDial, Dial};
use fence::Fence;
use lease::Lease;
use roster::Roster;
pub use thread::session_thread;

/// Hints that are followed in a row without a pause: two controllers may each believe that the other leads.
const HOPS_MAX: u32 = 3;
/// A session that ends so soon is not begun again without a pause.
const BRIEF: Duration = Duration::from_secs(1);

/// The worker's end of the session, through all its reconnects.
pub struct Session {
    hello: Hello,
    dial: Arc<dyn Dial>,
    agent: Ends,
    fence: Fence,
    roster: Roster,
    lease: Lease,
    /// Where the leader is whose session broke, until another welcomes this worker: whoever still believes in it is to look again.
    lost: Option<String>,
}

/// What of the agent a session speaks for, and to.
pub struct Ends {
    /// Takes what the leader wants.
    pub crew: mpsc::Sender<Command>,
    /// What the leader is to hear.
    pub outbox: Arc<Outbox>,
    /// How the node is now.
    pub node: watch::Receiver<NodeInfo>,
    /// Opens streams into pods.
    pub streams: Streams,
    /// What the node uses.
    pub meter: Arc<Meter>,
    /// Who wants tokens for pods.
    pub tokens: Arc<Tokens>,
    /// Is told where the API is.
    pub api: Arc<ApiAddress>,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody else leads, or nobody is known to.
    Redirected(Option<String>),
    /// The leader was there, and is gone.
    Lost(String),
    /// The leader was there, and is not heard any more.
    Silent(String),
    /// Nobody answered, or nobody to be heeded.
    Failed(String),
}

impl Session {
    /// Takes up what an earlier life remembers: the controllers, and the highest term.
    pub fn open(
        controllers: &[String],
        layout: &Layout,
        hello: Hello,
        dial: Arc<dyn Dial>,
        agent: Ends,
    ) -> Result<Session, AgentError> {
        let folder = layout.agent();
        disk::private_folder(&folder).map_err(AgentError::disk(folder.clone()))?;
        let fence = Fence::open(folder.join("term")).map_err(AgentError::disk(folder.join("term")))?;
        let roster = Roster::open(folder.join("controllers.json"), controllers)
            .map_err(AgentError::disk(folder.join("controllers.json")))?;
        let lease = Lease::new(roster.lease());
        Ok(Session { hello, dial, agent, fence, roster, lease, lost: None })
    }

    /// Stays in touch with whoever leads, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let lease = self.lease.watch(self.agent.crew.clone());
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = lease => {}
            () = self.stay_in_touch() => {}
        }
    }

    async fn stay_in_touch(&mut self) {
        let mut backoff = Backoff::of(&self.hello.node);
        let mut hops = 0;
        let mut tried = 0;
        let mut hint: Option<String> = None;
        loop {
            let address = match hint.take() {
                Some(address) => address,
                None => self.roster.next(),
            };
            let begun = Instant::now();
            let ending = self.once(&address, backoff.patience(), backoff.leniency()).await;
            debug!(%address, ?ending, "a session ended");
            if let Ending::Lost(_) | Ending::Silent(_) = &ending {
                backoff.lasted(begun.elapsed(), matches!(ending, Ending::Silent(_)));
            }
            match ending {
                Ending::Redirected(Some(leader)) => {
                    hops += 1;
                    if hops > HOPS_MAX {
                        hops = 0;
                        tokio::time::sleep(backoff.election()).await;
                    }
                    hint = Some(leader);
                }
                Ending::Redirected(None) => {
                    // An election is going on: it takes less than a second, and so must finding its winner.
                    (hops, tried) = (0, 0);
                    tokio::time::sleep(backoff.election()).await;
                }
                Ending::Lost(why) | Ending::Silent(why) => {
                    info!(%address, %why, "the leader was lost: looking for the next");
                    (hops, tried) = (0, 0);
                    self.lost = Some(address);
                    if begun.elapsed() < BRIEF {
                        tokio::time::sleep(backoff.election()).await;
                    } else {
                        backoff.reset();
                        tokio::time::sleep(backoff.dispersal()).await;
                    }
                }
                Ending::Failed(why) => {
                    tried += 1;
                    if tried >= self.roster.len() {
                        tried = 0;
                        let pause = backoff.round();
                        info!(%address, %why, ?pause, "no controller leads this worker: trying again");
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }
}
