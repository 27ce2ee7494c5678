//! Noticing at once that the leader is gone. Each follower keeps a silent stream to the leader open. When the leader's process
//! dies, its kernel breaks the stream; a follower that then cannot connect again holds the leader for lost, asks the other
//! voters, and when a majority lost it too, an election starts without waiting for the leader's lease to run out.
//!
//! This is safe: an election needs a majority of votes as ever, and reads do not rely on the lease. It does not disturb a leader that
//! lives: a follower that merely lost its own connection finds no majority. A host that vanishes without breaking its connections is
//! noticed by the missing heartbeats, as in plain Raft.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kontiki_proto::raft as proto;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Code, Request, Status, Streaming};

use super::{MemberInfo, Peers, Purpose, form};
use crate::node::{Leadership, LeadershipWatch};
use crate::types::{LogId, Raft, Vote};

/// A follower tries to connect again for this long before it holds the leader for lost.
const RECONNECT: Duration = Duration::from_millis(100);
/// The others answer within this time or are not counted.
const ASK: Duration = Duration::from_millis(100);
/// The voters try one after the other, this far apart, so that they do not split the votes.
const STAGGER: Duration = Duration::from_millis(30);
/// How often the others are asked: they may notice a little later.
const ROUNDS: u32 = 16;
/// Who agreed to another one's election holds back its own for this long.
const HOLD_BACK: Duration = Duration::from_millis(200);
/// Pause between rounds, and before a stream is opened again.
const PAUSE: Duration = Duration::from_millis(25);

/// The leader that this controller saw die, if any.
#[derive(Clone, Default)]
pub(crate) struct LostLeader(Arc<Mutex<Loss>>);

#[derive(Default)]
struct Loss {
    leader: Option<Vote>,
    hold_back_until: Option<Instant>,
}

impl LostLeader {
    /// Whether this is the leader that was lost.
    pub(super) fn is(&self, leader: &Vote) -> bool {
        leader.is_committed() && self.0.lock().leader == Some(*leader)
    }

    fn set(&self, leader: Vote) {
        *self.0.lock() = Loss { leader: Some(leader), hold_back_until: None };
    }

    fn hold_back(&self) {
        self.0.lock().hold_back_until = Some(Instant::now() + HOLD_BACK);
    }

    fn holds_back(&self) -> bool {
        self.0.lock().hold_back_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Whether this controller lost that leader too and would vote for somebody with that log. If it yields to who asks, it then holds
/// back, so that they do not split the votes.
pub(super) async fn agrees(
    raft: &Raft,
    lost: &LostLeader,
    leader: &Vote,
    last_log: Option<LogId>,
    yields: bool,
) -> Result<bool, Status> {
    if !lost.is(leader) {
        return Ok(false);
    }
    let own = raft.data_metrics().borrow_watched().last_log;
    let agreed = last_log >= own;
    if agreed && yields {
        lost.hold_back();
    }
    Ok(agreed)
}

/// Follows the leadership and watches whoever leads, until the node goes.
pub(crate) async fn watch_leader(peers: Peers, raft: Raft, leadership: LeadershipWatch, lost: LostLeader) {
    let mut changes = leadership.subscribe();
    loop {
        let now = changes.borrow_and_update().clone();
        let Some(leader) = now.leader.clone().filter(|leader| leader.id != peers.local.id) else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let moved = async {
            let next = changes.wait_for(|next| (next.term, &next.leader) != (now.term, &now.leader));
            next.await.is_ok()
        };
        let gone = tokio::select! {
            goes_on = moved => if goes_on { false } else { return },
            gone = stay(&peers, &leader, now.term) => gone,
        };
        if gone {
            act(&peers, &raft, &leadership, &lost, &now, &leader).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn open(
    peers: &Peers,
    leader: &MemberInfo,
    term: u64,
) -> Result<Streaming<proto::PresenceResponse>, Status> {
    let mut client = peers.client(leader, Purpose::Presence);
    let request = Request::new(proto::PresenceRequest { route: Some(peers.route(leader.id)), term });
    Ok(client.presence(request).await?.into_inner())
}

/// The connection was refused or broke, as opposed to an answer that says no.
fn is_broken(status: &Status) -> bool {
    !matches!(status.code(), Code::PermissionDenied | Code::FailedPrecondition | Code::Unauthenticated)
        && std::error::Error::source(status).is_some()
}

/// Holds a stream to the leader. True when it broke and the leader cannot be reached again; false when it ended in order.
async fn stay(peers: &Peers, leader: &MemberInfo, term: u64) -> bool {
    // The first connection: a leader that was never reached is not watched, its heartbeats are.
    let Ok(mut stream) = open(peers, leader, term).await else { return false };
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(status) if !is_broken(&status) => return false,
            Err(status) => {
                tracing::debug!(leader = leader.id, %status, "the connection to the leader broke");
                match tokio::time::timeout(RECONNECT, open(peers, leader, term)).await {
                    Ok(Ok(again)) => stream = again,
                    Ok(Err(status)) => return is_broken(&status),
                    Err(_) => return true,
                }
            }
        }
    }
}

/// The leader is lost: asks the other voters, and starts an election when a majority agrees.
async fn act(
    peers: &Peers,
    raft: &Raft,
    leadership: &LeadershipWatch,
    lost: &LostLeader,
    seen: &Leadership,
    leader: &MemberInfo,
) {
    let metrics = raft.server_metrics().borrow_watched().clone();
    let vote = metrics.vote;
    let same =
        vote.is_committed() && vote.leader_id().term == seen.term && vote.leader_id().voted_for == leader.id;
    if !same {
        return;
    }
    lost.set(vote);
    tracing::warn!(leader = leader.id, name = leader.name, term = seen.term, "the leader is gone");
    if metrics.state != ServerState::Follower || !leadership.may_lead() {
        return;
    }
    let membership = metrics.membership_config.membership().clone();
    let voters: Vec<u64> = membership.voter_ids().filter(|id| *id != leader.id).collect();
    let Some(rank) = voters.iter().position(|id| *id == peers.local.id) else { return };
    tokio::time::sleep(STAGGER * rank as u32).await;
    let still = || raft.server_metrics().borrow_watched().vote == vote;
    for _ in 0..ROUNDS {
        if !still() {
            return;
        }
        let last_log = raft.data_metrics().borrow_watched().last_log;
        let asked = membership.nodes().filter(|(id, _)| voters.contains(id) && **id != peers.local.id);
        let answers = asked.map(|(id, seat)| ask(peers, MemberInfo::new(*id, seat), &vote, last_log));
        let agreed: Vec<u64> =
            join_all(answers).await.into_iter().flatten().chain([peers.local.id]).collect();
        let majority = membership
            .get_joint_config()
            .iter()
            .all(|config| config.iter().filter(|id| agreed.contains(id)).count() * 2 > config.len());
        if majority && still() && !lost.holds_back() {
            tracing::info!(agreed = ?agreed, "a majority lost the leader: starting an election");
            let _ = raft.trigger().elect(false).await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The peer's id, if it agrees.
async fn ask(peers: &Peers, peer: MemberInfo, leader: &Vote, last_log: Option<LogId>) -> Option<u64> {
    let mut client = peers.client(&peer, Purpose::Vote);
    let mut request = Request::new(proto::LeaderLostRequest {
        route: Some(peers.route(peer.id)),
        leader: Some(form::vote_out(leader)),
        last_log: last_log.as_ref().map(form::id_out),
    });
    request.set_timeout(ASK);
    let answer = tokio::time::timeout(ASK, client.leader_lost(request)).await.ok()?.ok()?;
    answer.into_inner().agreed.then_some(peer.id)
}
