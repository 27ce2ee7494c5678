//! Where other controllers ask the leader what nodes use.

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kontiki_pki::{Peer, Role};
use kontiki_proto::worker::{NodeUsage, UsagesAsk, usages_server};
use tonic::{Request, Response, Status};

use super::Usages;

/// The gRPC service.
pub(crate) struct UsageService(pub(crate) Usages);

#[tonic::async_trait]
impl usages_server::Usages for UsageService {
    type AskStream = BoxStream<'static, Result<NodeUsage, Status>>;

    async fn ask(&self, request: Request<UsagesAsk>) -> Result<Response<Self::AskStream>, Status> {
        match request.extensions().get::<Peer>() {
            Some(peer) if peer.role == Role::Controller => {}
            Some(peer) => {
                return Err(Status::permission_denied(format!("{peer} may not: it is no controller")));
            }
            None => return Err(Status::unauthenticated("a certificate of this cluster is needed")),
        }
        let UsagesAsk { nodes, pods } = request.into_inner();
        if !self.0.node.leadership().borrow().leading {
            return Err(Status::failed_precondition("this controller does not lead any more"));
        }
        let said = self.0.here(nodes.into_iter().collect(), pods).await;
        Ok(Response::new(stream::iter(said.into_iter().map(Ok)).boxed()))
    }
}
