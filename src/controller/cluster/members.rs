//! The controllers as the consensus knows them, and changes of them.

use std::time::Duration;

use kontiki_proto::cluster::{AddMemberRequest, Member, MemberList, TransferLeaderReply};
use kontiki_raft::{ChangeError, MemberInfo, Node};
use tokio::sync::oneshot;
use tonic::{Response, Status};

use crate::controller::Handles;

/// Before the consensus is asked again whether it is past a change.
const PAUSE: Duration = Duration::from_millis(100);

/// The members.
pub(super) fn list(node: &Node) -> MemberList {
    let status = node.status();
    let member = |member: &kontiki_raft::Member| Member {
        id: member.info.id,
        name: member.info.name.clone(),
        zone: member.info.zone.clone(),
        address: member.info.address.clone(),
        voter: member.voter,
        level: 0,
    };
    MemberList { members: status.members.iter().map(member).collect(), leader_id: status.leader }
}

pub(super) async fn add(
    handles: &Handles,
    request: AddMemberRequest,
) -> Result<Response<MemberList>, Status> {
    let Some(member) = request.member else {
        return Err(Status::invalid_argument("which controller? `member` is missing"));
    };
    let Member { id, name, zone, address, level, .. } = member;
    if address.parse::<http::uri::Authority>().ok().and_then(|a| a.port_u16()).is_none() {
        return Err(Status::invalid_argument(format!(
            "address {address:?} of controller {name} must be host:port"
        )));
    }
    tracing::info!(id, name, zone, address, "a controller is added as a learner");
    let info = MemberInfo { id, name, zone, address };
    let admitted = handles.levels.admit(&info, level).await.map_err(Status::failed_precondition)?;
    let (node, (told, answer)) = (handles.node.clone(), oneshot::channel());
    holding(admitted, async move {
        let added = node.add_learner(info).await;
        let unknown = matches!(added, Err(ChangeError::Unknown(_)));
        // Who went away needs no answer.
        let _ = told.send(added);
        if unknown {
            taken_up(&node).await;
        }
    });
    let added = answer.await.map_err(|_| Status::unavailable("this controller is ending"))?;
    added.map_err(|e| status(&e))?;
    Ok(Response::new(list(&handles.node)))
}

/// Does something to its end, in a task of its own: whoever asked for it may go away, and what is held is held until it is done.
fn holding(held: impl Send + 'static, work: impl Future<Output = ()> + Send + 'static) {
    drop(kontiki_raft::spawn(async move {
        work.await;
        drop(held);
    }));
}

/// Returns when the consensus has taken up all that it was given before, since it answers in order, or when this controller leads no more.
async fn taken_up(node: &Node) {
    let leads = || node.leadership().borrow().leading;
    while leads() && node.read_index().await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn promote(node: &Node, id: u64) -> Result<Response<MemberList>, Status> {
    tracing::info!(id, "a controller is to vote");
    node.promote(id).await.map_err(|e| status(&e))?;
    Ok(Response::new(list(node)))
}

pub(super) async fn remove(node: &Node, id: u64) -> Result<Response<MemberList>, Status> {
    tracing::info!(id, "a controller is removed");
    node.remove(id).await.map_err(|e| status(&e))?;
    Ok(Response::new(list(node)))
}

pub(super) async fn transfer(node: &Node, to: Option<u64>) -> Result<Response<TransferLeaderReply>, Status> {
    let leader = node.transfer_leader(to).await.map_err(|e| status(&e))?;
    tracing::info!(leader = leader.name, "the leadership was handed over");
    Ok(Response::new(TransferLeaderReply { leader_id: leader.id }))
}

/// Whether the caller may try again, and why not.
pub(super) fn status(error: &ChangeError) -> Status {
    let text = error.to_string();
    match error {
        ChangeError::Refused(_) => Status::failed_precondition(text),
        ChangeError::NotLeader { .. } | ChangeError::InProgress | ChangeError::Unknown(_) => {
            Status::unavailable(text)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_held_to_the_end_though_the_caller_goes_away() {
        let gate = Arc::new(Mutex::new(()));
        let (end, ended) = oneshot::channel::<()>();
        let (held, (told, answer)) = (gate.clone().lock_owned().await, oneshot::channel::<()>());
        let caller = async move {
            holding(held, async move {
                ended.await.unwrap();
                drop(told);
            });
            answer.await
        };
        // It asks, waits, and is dropped.
        assert!(caller.now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!(gate.try_lock().is_err());
        end.send(()).unwrap();
        drop(gate.lock().await);
    }
}
