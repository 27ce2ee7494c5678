//! Writes that other controllers forward to the leader.

use std::sync::Arc;

use kontiki_actors::{Request, codec};
use kontiki_proto::cluster::{SubmitReply, SubmitRequest};
use tonic::Status;
use tracing::Instrument;

use super::backend::Local;

/// Decides a forwarded write, if this controller leads; its answer says so if not.
pub(super) async fn submit(local: Arc<Local>, message: SubmitRequest) -> Result<SubmitReply, Status> {
    let request: Request = codec::decode(&message.request)
        .map_err(|e| Status::invalid_argument(format!("the forwarded request: {e}")))?;
    if message.request_id.is_empty() || message.request_id.len() > 64 {
        return Err(Status::invalid_argument("a forwarded request needs an id of at most 64 bytes"));
    }
    let trace = Some(message.traceparent).filter(|t| !t.is_empty());
    let span = kontiki_proto::trace::follow(tracing::info_span!("forwarded"), trace.as_deref());
    let term = Some(message.term).filter(|term| *term > 0);
    let answer = local.decide(request, message.request_id.into(), term, trace).instrument(span).await;
    let outcome = codec::encode(&answer).map_err(|e| Status::internal(format!("the answer: {e}")))?;
    Ok(SubmitReply { outcome: outcome.into() })
}
