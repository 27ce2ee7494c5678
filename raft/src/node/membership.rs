//! Changing the members. A newcomer learns first and votes when it has caught up; nothing is done that would leave the cluster
//! without a quorum. All of it is asked of the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use kontiki_hooks::{Defect, planted};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics, ServerState};
use tokio::time::Instant;

use super::status::is_joint;
use super::{Member, Node};
use crate::types::{Seat, Types};
use crate::wire::MemberInfo;

/// A change of members is committed within this time or its outcome is unknown.
const CHANGE: Duration = Duration::from_secs(15);
/// A learner catches up within this time or is not promoted.
const CATCH_UP: Duration = Duration::from_secs(120);
/// A learner that lacks no more entries than this has caught up.
const CAUGHT_UP: u64 = 64;
/// A transfer takes no longer.
const TRANSFER: Duration = Duration::from_secs(5);
/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Why the members are as they were; `Unknown` excepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Ask the leader.
    #[error("only the leader changes the members; it is {}", leader.as_ref().map_or("not known", |leader| &leader.name))]
    NotLeader {
        /// Who that is.
        leader: Option<MemberInfo>,
    },
    /// It would do harm, or makes no sense.
    #[error("{0}")]
    Refused(String),
    /// Another change is not finished.
    #[error("another change of members is in progress: wait for it")]
    InProgress,
    /// It took too long: it may still happen. Look at the members.
    #[error("{0}")]
    Unknown(String),
}

pub(super) type Change = ChangeMembers<u64, Seat>;
type WriteError = RaftError<Types, ClientWriteError<Types>>;

fn refused<T>(text: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::Refused(text.into()))
}

pub(super) fn failed(error: WriteError) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            let leader = forward.leader_id.zip(forward.leader_node);
            ChangeError::NotLeader { leader: leader.map(|(id, seat)| MemberInfo::new(id, &seat)) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                ChangeError::InProgress
            }
            other => ChangeError::Refused(other.to_string()),
        },
        other => ChangeError::Unknown(format!("the change of members was cut short: {other}")),
    }
}

impl Node {
    /// Adds a controller that receives the log but has no vote yet. The same again is no change; another address or zone for a known
    /// number moves it.
    pub async fn add_learner(&self, member: MemberInfo) -> Result<(), ChangeError> {
        let metrics = self.leading()?;
        if member.id == 0 || member.name.is_empty() || member.address.is_empty() {
            return refused("a controller has a number, a name and an address");
        }
        let members = self.members(&metrics);
        if let Some(other) = members.iter().find(|other| {
            other.info.id != member.id
                && (other.info.name == member.name || other.info.address == member.address)
        }) {
            let MemberInfo { id, name, address, .. } = &other.info;
            return refused(format!("controller {id} ({name}, {address}) has that name or address already"));
        }
        let known = members.iter().find(|other| other.info.id == member.id);
        let seat = BTreeMap::from([(member.id, member.seat())]);
        match known {
            Some(known) if known.info == member => Ok(()),
            Some(known) if known.info.name != member.name => refused(format!(
                "number {} belongs to {}: a new controller needs a new number",
                member.id, known.info.name
            )),
            Some(_) => self.change(Change::SetNodes(seat)).await,
            None => self.change(Change::AddNodes(seat)).await,
        }
    }

    /// Gives a learner its vote, once it has caught up.
    pub async fn promote(&self, id: u64) -> Result<(), ChangeError> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let metrics = self.leading()?;
            let members = self.members(&metrics);
            let Some(member) = members.iter().find(|member| member.info.id == id) else {
                return refused(format!("there is no controller {id}: add it as a learner first"));
            };
            // A change that was cut short has given it its vote, but the old voters still have a say of their own.
            if member.voter && (!is_joint(&metrics) || planted(Defect::JointLeft)) {
                return Ok(());
            }
            if member.matched.is_some() && member.lag.is_some_and(|lag| lag <= CAUGHT_UP) {
                let voters = members.iter().filter(|other| other.voter || other.info.id == id);
                check_quorum(voters, &format!("promoting {}", member.info.name))?;
                return self.change(Change::AddVoterIds(BTreeSet::from([id]))).await;
            }
            if Instant::now() > deadline {
                let lag = member.lag.unwrap_or_default();
                return refused(format!(
                    "controller {} lacks {lag} entries after {} s: is {} reachable, and its disk fast enough?",
                    member.info.name,
                    CATCH_UP.as_secs(),
                    member.info.address
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes a controller for good; its number is not used again. A leader that removes itself hands over.
    pub async fn remove(&self, id: u64) -> Result<(), ChangeError> {
        let metrics = self.leading()?;
        let members = self.members(&metrics);
        let Some(member) = members.iter().find(|member| member.info.id == id) else {
            return Ok(());
        };
        if !member.voter {
            return self.change(Change::RemoveNodes(BTreeSet::from([id]))).await;
        }
        let rest: Vec<&Member> = members.iter().filter(|other| other.voter && other.info.id != id).collect();
        if rest.is_empty() {
            return refused(format!(
                "{} is the last voting controller: add another one first",
                member.info.name
            ));
        }
        check_quorum(rest.into_iter(), &format!("removing {}", member.info.name))?;
        self.change(Change::RemoveVoters(BTreeSet::from([id]))).await
    }

    /// Hands the leadership to the given voter, or to the one that is furthest; returns when somebody else leads.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<MemberInfo, ChangeError> {
        let metrics = self.leading()?;
        let members = self.members(&metrics);
        let target = match to {
            Some(id) if id == self.inner.member.id => return Ok(self.inner.member.clone()),
            Some(id) => match members.iter().find(|member| member.info.id == id) {
                None => return refused(format!("there is no controller {id}")),
                Some(member) if !member.voter => {
                    return refused(format!("{} has no vote: promote it first", member.info.name));
                }
                Some(member) if member.reachable == Some(false) => {
                    return refused(format!("{} does not answer", member.info.name));
                }
                Some(_) => id,
            },
            None => match self.successor(&metrics) {
                Some(id) => id,
                None => return refused("no other voting controller answers"),
            },
        };
        let mut leadership = self.leadership();
        let told = self.hand_over(target).await;
        told.map_err(|error| ChangeError::Unknown(format!("the transfer was cut short: {error}")))?;
        let own = self.inner.member.id;
        let moved = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != own));
        let moved = tokio::time::timeout(TRANSFER, moved).await.ok().and_then(Result::ok);
        let leader = moved.and_then(|now| now.leader.clone());
        leader.ok_or_else(|| ChangeError::Unknown("nobody took the leadership over in time".into()))
    }

    /// The voter that has most of the log, of those that answer.
    pub(super) fn successor(&self, metrics: &RaftMetrics<Types>) -> Option<u64> {
        let members = self.members(metrics);
        let others = members.iter().filter(|member| {
            member.voter && member.info.id != self.inner.member.id && member.reachable == Some(true)
        });
        others.max_by_key(|member| member.matched).map(|member| member.info.id)
    }

    fn leading(&self) -> Result<RaftMetrics<Types>, ChangeError> {
        let metrics = self.metrics();
        if metrics.state != ServerState::Leader {
            return Err(ChangeError::NotLeader { leader: self.inner.leadership.now().leader });
        }
        Ok(metrics)
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let retain = !matches!(change, Change::RemoveVoters(_));
        let raft = self.inner.raft.clone();
        let change = async move { raft.change_membership(change, retain).await.map(drop).map_err(failed) };
        bounded(change).await
    }
}

pub(super) async fn bounded(
    change: impl Future<Output = Result<(), ChangeError>>,
) -> Result<(), ChangeError> {
    match tokio::time::timeout(CHANGE, change).await {
        Ok(done) => done,
        Err(_) => Err(ChangeError::Unknown(format!(
            "the change of members is not committed after {} s: look whether a majority is reachable",
            CHANGE.as_secs()
        ))),
    }
}

/// Refuses a set of voters of which no majority answers.
fn check_quorum<'a>(voters: impl Iterator<Item = &'a Member>, action: &str) -> Result<(), ChangeError> {
    let (mut count, mut silent) = (0, Vec::new());
    for voter in voters {
        count += 1;
        if voter.reachable != Some(true) {
            silent.push(voter.info.name.as_str());
        }
    }
    if (count - silent.len()) * 2 > count {
        return Ok(());
    }
    refused(format!(
        "{action} would leave {count} voting controllers of which {} answer, too few for a majority; silent: {}",
        count - silent.len(),
        silent.join(", ")
    ))
}
