//! What the stage stands on: what is committed, how to get something committed, and whether this controller still leads. A trait, so that the stage's
//! decisions can be tested without controllers.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use kontiki_actors::{Foreseen, State};
use kontiki_raft::{Node, ProposeError};

use crate::controller::replica::Replica;

/// A leader that begins again waits this long for the state, then tries again.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Pause before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an entry is committed and folded.
pub(super) type Settled = BoxFuture<'static, Result<(), ProposeError>>;

/// What the stage stands on.
pub(crate) trait Consensus: Send + Sync + 'static {
    /// The committed state as it is folded here.
    fn view(&self) -> State;

    /// Proposes an entry as the leader of a term, of which this is foreseen. An error: it was not taken and never will be. Entries that are
    /// taken enter the log in the order of the calls, and after one that was not taken none is until `catch_up` has come true.
    fn propose(&self, entry: Vec<u8>, foreseen: Foreseen, term: u64) -> Result<Settled, ProposeError>;

    /// What was foreseen will not come, or nobody knows.
    fn forget(&self);

    /// Whether this controller leads that very term, which a majority says after this call.
    fn confirm(&self, term: u64) -> Settled;

    /// Waits until the view holds everything that is committed. False when that did not work out in time.
    fn catch_up(&self, term: u64) -> BoxFuture<'static, bool>;
}

/// The live one.
pub(crate) struct Live {
    node: Node,
    replica: Arc<Replica>,
}

impl Live {
    /// This controller's.
    pub(crate) fn new(node: Node, replica: Arc<Replica>) -> Live {
        Live { node, replica }
    }
}

impl Consensus for Live {
    fn view(&self) -> State {
        State::clone(&self.replica.view())
    }

    fn propose(&self, entry: Vec<u8>, foreseen: Foreseen, term: u64) -> Result<Settled, ProposeError> {
        // Before it can be committed.
        self.replica.foresee(foreseen);
        let mut proposal = self.node.propose_next(entry.into(), term);
        // What is refused is refused at once.
        match (&mut proposal).now_or_never() {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Ok(std::future::ready(Ok(())).boxed()),
            None => Ok(proposal.map(|result| result.map(|_| ())).boxed()),
        }
    }

    fn forget(&self) {
        self.replica.forget();
    }

    fn confirm(&self, term: u64) -> Settled {
        let node = self.node.clone();
        async move {
            match node.confirm(term).await {
                Ok(_) => Ok(()),
                Err(_) => Err(ProposeError::NotLeader { leader: None }),
            }
        }
        .boxed()
    }

    fn catch_up(&self, term: u64) -> BoxFuture<'static, bool> {
        let node = self.node.clone();
        async move {
            let caught_up = match node.confirm(term).await {
                Ok(index) => node.wait_applied(index, CATCH_UP).await.is_ok(),
                Err(_) => false,
            };
            if caught_up {
                node.begin_again();
            } else {
                tokio::time::sleep(PAUSE).await;
            }
            caught_up
        }
        .boxed()
    }
}
