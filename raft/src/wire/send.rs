//! Sending a snapshot: header, chunks as they are read from the image, an end that counts them.

use std::io;
use std::time::Duration;

use kontiki_proto::raft as proto;
use openraft::StorageError;
use openraft::errors::{NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use proto::snapshot_part::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{MemberInfo, Peers, Purpose, form};
use crate::disk::aside;
use crate::state::{CHUNK_FORMAT, Chunk, Chunks, SnapshotData, encode_meta};
use crate::types::{Snapshot, Types, Vote};

type Failure = StreamingError<Types>;

fn network(text: String) -> Failure {
    StreamingError::Network(NetworkError::from_string(text))
}

pub(super) async fn snapshot(
    peers: &Peers,
    peer: &MemberInfo,
    vote: Vote,
    snapshot: Snapshot,
    answer_ttl: Duration,
) -> Result<SnapshotResponse<Types>, Failure> {
    let SnapshotData::Stored(image) = snapshot.snapshot else {
        return Err(network("only a stored snapshot can be sent".into()));
    };
    let stall = peers.local.snapshot_stall;
    let (parts, outbound) = mpsc::channel(2);
    let part = |part| proto::SnapshotPart { part: Some(part) };
    let header = Part::Header(proto::SnapshotHeader {
        route: Some(peers.route(peer.id)),
        vote: Some(form::vote_out(&vote)),
        meta: encode_meta(&snapshot.meta).into(),
        format: CHUNK_FORMAT,
        tables: image.table_names(),
    });
    parts.try_send(part(header)).map_err(|_| network("the snapshot's stream is closed".into()))?;

    let (progress, mut progressed) = mpsc::unbounded_channel();
    let reading = crate::scope::spawn(async move {
        let disk = image.disk().clone();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver is gone");
        let mut chunks = aside(&disk, move || Chunks::of(image)).await??;
        loop {
            let (chunk, rest) = aside(&disk, move || (chunks.next(), chunks)).await?;
            chunks = rest;
            let Some(Chunk { sequence, crc32c, data }) = chunk? else { break };
            let chunk = proto::SnapshotChunk { sequence, crc32c, data };
            parts.send(part(Part::Chunk(chunk))).await.map_err(gone)?;
            let _ = progress.send(());
        }
        let end = proto::SnapshotEnd { chunks: chunks.chunks, records: chunks.records };
        parts.send(part(Part::End(end))).await.map_err(gone)
    });
    let mut client = peers.client(peer, Purpose::Snapshot);
    let call = client.install_snapshot(ReceiverStream::new(outbound));
    // Each chunk that the peer took starts the clock again; after the last one it installs, which may take longer.
    let watchdog = async {
        loop {
            match tokio::time::timeout(stall, progressed.recv()).await {
                Ok(Some(())) => {}
                Ok(None) => break tokio::time::sleep(answer_ttl).await,
                Err(_) => break,
            }
        }
    };
    let unreachable = |text: String| {
        StreamingError::Unreachable(Unreachable::from_string(format!("controller {}: {text}", peer.id)))
    };
    let answer = tokio::select! {
        answer = call => answer,
        () = watchdog => return Err(unreachable("the snapshot makes no progress".into())),
    };
    match answer {
        Ok(answer) => {
            let vote = form::vote_in(answer.into_inner().vote);
            Ok(SnapshotResponse::new(vote.map_err(|status| unreachable(status.message().into()))?))
        }
        Err(status) => match reading.await {
            // Our own snapshot cannot be read: no retry helps.
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(StreamingError::StorageError(StorageError::read_snapshot(None, boxed(&error))))
            }
            _ => Err(unreachable(format!("{:?}: {}", status.code(), status.message()))),
        },
    }
}

fn boxed(error: &io::Error) -> <Types as openraft::RaftTypeConfig>::ErrorSource {
    use openraft::errors::ErrorSource;
    <Types as openraft::RaftTypeConfig>::ErrorSource::from_error(error)
}
