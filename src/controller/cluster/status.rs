//! How the cluster is: every controller is asked for its own numbers, at once and briefly.

use std::time::Duration;

use futures_util::future::join_all;
use kontiki_proto::cluster::{ControllerStatus, Empty, MemberRole, StatusReply};
use kontiki_raft::{Member, Role, Status};
use tokio::time::timeout;

use super::advice::{self, Seen};
use super::{Shared, forward, pods};

/// Who does not answer within this time counts as unreachable.
const DEADLINE: Duration = Duration::from_millis(500);

/// The whole cluster's status, or only this controller's own when another controller asks.
pub(super) async fn status(shared: &Shared, own_only: bool) -> StatusReply {
    let handles = &shared.handles;
    let own = handles.node.status();
    let cluster_id = handles.cluster_id.clone();
    let mut reply =
        StatusReply { cluster_id, leader_id: own.leader, answered_by: own.id, ..StatusReply::default() };
    if own_only {
        reply.controllers = vec![own_status(shared, &own)];
        return reply;
    }
    handles.levels.links().retain(&own.members.iter().map(|m| m.info.id).collect::<Vec<_>>());
    let others = own.members.iter().filter(|member| member.info.id != own.id);
    let asked = join_all(others.map(|member| ask(shared, member)));
    let (mut controllers, pods) = tokio::join!(asked, pods::count(&*handles.local));
    reply.pods = pods;
    controllers.push(own_status(shared, &own));
    controllers.sort_by_key(|controller| controller.id);
    let leader = controllers.iter().filter(|c| c.role() == MemberRole::Leader).max_by_key(|c| c.term);
    if let Some(leader) = leader {
        let (id, end) = (leader.id, leader.last_log);
        reply.leader_id = Some(id);
        for controller in controllers.iter_mut().filter(|c| c.reachable) {
            controller.lag = end.saturating_sub(controller.last_log);
        }
    }
    reply.controllers = controllers;
    let view = handles.replica.view();
    reply.level = view.level();
    let seen = Seen { reply: &reply, own: &own, membership: handles.node.advice(), state: &view };
    reply.advice = advice::advice(&seen, super::tokens::now_ms());
    reply
}

fn own_status(shared: &Shared, own: &Status) -> ControllerStatus {
    let config = &shared.handles.config;
    let role = match own.role {
        Role::Leader => MemberRole::Leader,
        Role::Follower => MemberRole::Follower,
        Role::Candidate => MemberRole::Candidate,
        Role::Learner | Role::Stopped => MemberRole::Learner,
    };
    ControllerStatus {
        id: own.id,
        name: own.name.clone(),
        zone: config.zone.clone(),
        role: role.into(),
        term: own.term,
        applied: own.applied.unwrap_or(0),
        committed: own.committed.unwrap_or(0),
        last_log: own.last_log.unwrap_or(0),
        lag: 0,
        address: config.advertise.clone(),
        pid: std::process::id(),
        reachable: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        troubles: advice::own_troubles(own),
        level: shared.handles.levels.own(),
    }
}

/// Another controller's own words, or what is known of one that does not answer.
async fn ask(shared: &Shared, member: &Member) -> ControllerStatus {
    let mut client = shared.handles.levels.links().client(&member.info);
    let answer = timeout(DEADLINE, client.status(forward::marked(Empty {}))).await;
    let own =
        answer.ok().and_then(Result::ok).and_then(|reply| reply.into_inner().controllers.into_iter().next());
    own.filter(|status| status.id == member.info.id).unwrap_or_else(|| ControllerStatus {
        id: member.info.id,
        name: member.info.name.clone(),
        zone: member.info.zone.clone(),
        address: member.info.address.clone(),
        lag: member.lag.unwrap_or(0),
        ..ControllerStatus::default()
    })
}
