//! The controllers as the consensus knows them, and changes of them.

use kontiki_proto::cluster::{AddMemberRequest, Member, MemberList, TransferLeaderReply};
use kontiki_raft::{ChangeError, MemberInfo, Node};
use tonic::{Response, Status};

use crate::controller::Handles;

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
    let _admitted = handles.levels.admit(&info, level).await.map_err(Status::failed_precondition)?;
    handles.node.add_learner(info).await.map_err(|e| status(&e))?;
    Ok(Response::new(list(&handles.node)))
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
