//! Where workers bring streams, and where other controllers ask the leader to have them opened.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kontiki_api::streams::FromClient;
use kontiki_pki::{Peer, Role};
use kontiki_proto::worker::{
    FromStream, StreamAsk, StreamAsked, StreamEof, TerminalSize, ToStream, from_stream, streams_server,
    to_stream::What,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Line, Streams};

/// A worker names its ticket within this time.
const TICKET: Duration = Duration::from_secs(5);
/// What of a client may wait for its worker. What finds no room waits at the client.
const INPUT_MAX: usize = 2;
/// Bytes of a client in one message.
const PIECE: usize = 64 << 10;

/// The gRPC service.
pub(crate) struct StreamService(pub(crate) Streams);

fn caller<T>(request: &Request<T>, role: Role) -> Result<String, Status> {
    match request.extensions().get::<Peer>() {
        Some(peer) if peer.role == role => Ok(peer.name.clone()),
        Some(peer) => Err(Status::permission_denied(format!("{peer} may not: it is no {role:?}"))),
        None => Err(Status::unauthenticated("a certificate of this cluster is needed")),
    }
}

#[tonic::async_trait]
impl streams_server::Streams for StreamService {
    type CarryStream = BoxStream<'static, Result<ToStream, Status>>;

    async fn carry(
        &self,
        request: Request<Streaming<FromStream>>,
    ) -> Result<Response<Self::CarryStream>, Status> {
        let worker = caller(&request, Role::Worker)?;
        let mut output = request.into_inner();
        let first = timeout(TICKET, output.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no ticket within 5 s"))??;
        let Some(FromStream { what: Some(from_stream::What::Ticket(ticket)) }) = first else {
            return Err(Status::invalid_argument("a stream begins with its ticket"));
        };
        let nobody = || Status::not_found("nobody waits for this stream any more");
        let hand = self.0.redeem(&ticket, &worker).ok_or_else(nobody)?;
        let (input, said) = mpsc::channel(INPUT_MAX);
        hand.send(Line { input, output }).map_err(|_| nobody())?;
        let said = ReceiverStream::new(said).flat_map(|said| stream::iter(wire(said).map(Ok)));
        Ok(Response::new(said.boxed()))
    }

    async fn ask(&self, request: Request<StreamAsk>) -> Result<Response<StreamAsked>, Status> {
        caller(&request, Role::Controller)?;
        let StreamAsk { node, open } = request.into_inner();
        let open = open.ok_or_else(|| Status::invalid_argument("nothing is asked for"))?;
        self.0.tell_here(&node, open).await.map_err(Status::not_found)?;
        Ok(Response::new(StreamAsked {}))
    }
}

/// In messages that a worker takes, however much a client says at once.
fn wire(said: FromClient) -> impl Iterator<Item = ToStream> {
    let (data, other) = match said {
        FromClient::Data(bytes) => (bytes, None),
        FromClient::Eof => (Bytes::new(), Some(What::Eof(StreamEof {}))),
        FromClient::Resize { columns, rows } => {
            let size = TerminalSize { columns: columns.into(), rows: rows.into() };
            (Bytes::new(), Some(What::Resize(size)))
        }
    };
    let pieces = (0..data.len()).step_by(PIECE);
    let pieces = pieces.map(move |at| What::Stdin(data.slice(at..data.len().min(at + PIECE))));
    pieces.chain(other).map(|what| ToStream { what: Some(what) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_once_goes_in_pieces_and_in_order() {
        let all = Bytes::from((0..3 * PIECE + 7).map(|n| n as u8).collect::<Vec<_>>());
        let pieces: Vec<Bytes> = wire(FromClient::Data(all.clone()))
            .map(|piece| match piece.what {
                Some(What::Stdin(bytes)) => bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 7]);
        assert_eq!(pieces.concat(), all);
        assert_eq!(wire(FromClient::Eof).count(), 1);
    }
}
