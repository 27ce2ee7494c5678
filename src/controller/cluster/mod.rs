//! Joining, membership and administration: the gRPC service `Cluster` that every controller offers.
//!
//! ```text
//!   request -> access (who may) -> leader here? do it : forward it to the leader
//!              join     token -> number -> certificate        (tokens, numbers: kept as objects of kube-system)
//!              members  the consensus' own doing
//!              status   every controller asked for its own, and advice in words
//! ```
//! Not for deciding about consensus or objects: those do the consensus and the turn.

mod access;
mod advice;
mod forward;
mod join;
mod levels;
mod members;
mod numbers;
mod objects;
mod pods;
mod status;
mod tokens;
mod workers;

use std::sync::Arc;

use kontiki_proto::cluster::cluster_server::{Cluster, ClusterServer};
use kontiki_proto::cluster::{
    AddMemberRequest, CreateTokenReply, CreateTokenRequest, Empty, JoinRequest, JoinResponse, MemberList,
    PromoteRequest, RemoveRequest, StatusReply, SubmitReply, SubmitRequest, TransferLeaderReply,
    TransferLeaderRequest,
};
use tonic::{Request, Response, Status};

use super::Handles;
use access::{require_admin, require_controller, require_member};
use forward::Place;
pub(crate) use levels::Levels;
pub(crate) use workers::state_of;

/// The service of a controller.
pub(super) fn service(handles: Handles) -> ClusterServer<Service> {
    ClusterServer::new(Service { shared: Arc::new(Shared { handles, joins: join::Limit::new() }) })
}

/// Answers calls of the service.
pub(super) struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    handles: Handles,
    joins: join::Limit,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Cluster for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Answer<JoinResponse> {
        join::join(&self.shared, request).await
    }

    async fn members(&self, request: Request<Empty>) -> Answer<MemberList> {
        require_member(&request)?;
        Ok(Response::new(members::list(&self.shared.handles.node)))
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Answer<MemberList> {
        require_admin(&request)?;
        match self.shared.place(&request)? {
            Place::Here => members::add(&self.shared.handles, request.into_inner()).await,
            Place::There(mut leader) => leader.add_member(forward::marked(request.into_inner())).await,
        }
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Answer<MemberList> {
        require_admin(&request)?;
        match self.shared.place(&request)? {
            Place::Here => members::promote(&self.shared.handles.node, request.into_inner().id).await,
            Place::There(mut leader) => leader.promote(forward::marked(request.into_inner())).await,
        }
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Answer<MemberList> {
        require_admin(&request)?;
        match self.shared.place(&request)? {
            Place::Here => members::remove(&self.shared.handles.node, request.into_inner().id).await,
            Place::There(mut leader) => leader.remove(forward::marked(request.into_inner())).await,
        }
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Answer<TransferLeaderReply> {
        require_admin(&request)?;
        match self.shared.place(&request)? {
            Place::Here => members::transfer(&self.shared.handles.node, request.into_inner().id).await,
            Place::There(mut leader) => leader.transfer_leader(forward::marked(request.into_inner())).await,
        }
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenReply> {
        require_admin(&request)?;
        let Some(ca) = &self.shared.handles.ca else { return Err(join::no_ca()) };
        tokens::create(&*self.shared.handles.local, ca.fingerprint(), &request.into_inner())
            .await
            .map(Response::new)
    }

    async fn status(&self, request: Request<Empty>) -> Answer<StatusReply> {
        require_member(&request)?;
        let own_only = forward::is_marked(&request);
        Ok(Response::new(status::status(&self.shared, own_only).await))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<SubmitReply> {
        require_controller(&request)?;
        super::submit::submit(self.shared.handles.local.clone(), request.into_inner())
            .await
            .map(Response::new)
    }
}
