//! Receiving a snapshot: chunks go straight into a directory of their own; only a complete one reaches the consensus.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver;
use proto::snapshot_part::Part;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::form;
use super::service::{Service, stopped};
use crate::disk::aside;
use crate::state::{
    CHUNK_FORMAT, Chunk, Incoming, Received, SnapshotData, StateDirectory, TableNames, decode_meta,
};
use crate::types::{Snapshot, SnapshotMeta};

enum Step {
    Chunk(Chunk),
    End { chunks: u64, records: u64 },
}

fn garbled(error: io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::InvalidData => Status::data_loss(error.to_string()),
        io::ErrorKind::StorageFull => Status::resource_exhausted(error.to_string()),
        io::ErrorKind::Unsupported => Status::failed_precondition(error.to_string()),
        _ => Status::internal(format!("storing the snapshot: {error}")),
    }
}

/// Stores what comes over the channel.
async fn store(
    directory: Arc<StateDirectory>,
    names: TableNames,
    meta: SnapshotMeta,
    mut steps: mpsc::Receiver<Step>,
) -> io::Result<Received> {
    let disk = directory.disk().clone();
    let names = Arc::new(names);
    let mut incoming = aside(&disk, move || Incoming::begin(&directory)).await??;
    while let Some(step) = steps.recv().await {
        match step {
            Step::Chunk(chunk) => {
                let names = names.clone();
                let stored = move || incoming.chunk(&chunk, &names).map(|()| incoming);
                incoming = aside(&disk, stored).await??;
            }
            Step::End { chunks, records } => {
                return aside(&disk, move || incoming.finish(chunks, records, &meta)).await?;
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot ended before its end"))
}

async fn next(parts: &mut Streaming<proto::SnapshotPart>, stall: Duration) -> Result<Part, Status> {
    let part = tokio::time::timeout(stall, parts.message()).await;
    let part = part.map_err(|_| Status::deadline_exceeded("the snapshot makes no progress"))??;
    part.and_then(|part| part.part).ok_or_else(|| form::missing("end"))
}

pub(super) async fn snapshot(
    service: &Service,
    extensions: &http::Extensions,
    mut parts: Streaming<proto::SnapshotPart>,
) -> Result<proto::SnapshotResponse, Status> {
    let stall = service.local.snapshot_stall;
    let Part::Header(header) = next(&mut parts, stall).await? else { return Err(form::missing("header")) };
    let from = service.admit(extensions, header.route.as_ref())?;
    let vote = form::vote_in(header.vote)?;
    let current = service.raft.server_metrics().borrow_watched().vote;
    if current > vote {
        // A leader of the past: no need to take its snapshot.
        return Ok(proto::SnapshotResponse { vote: Some(form::vote_out(&current)) });
    }
    if header.format != CHUNK_FORMAT {
        let text = format!(
            "the snapshot has format {}, this build reads {CHUNK_FORMAT}: upgrade the older of both controllers",
            header.format
        );
        return Err(Status::failed_precondition(text));
    }
    let meta = decode_meta(header.meta).map_err(garbled)?;
    let directory = service.directory.clone();
    let names = TableNames::resolve(&header.tables, directory.limits().tables).map_err(garbled)?;
    let _one = service.receiving.clone().try_acquire_owned();
    let _one = _one.map_err(|_| Status::unavailable("another snapshot is being received"))?;
    tracing::info!(from, last = ?meta.last_log_id, "receiving a snapshot");

    let (steps, received) = mpsc::channel(2);
    let wanted = meta.clone();
    let mut storing = service.spawn(store(directory, names, wanted, received));
    let feeding = async {
        loop {
            let step = match next(&mut parts, stall).await? {
                Part::Header(_) => return Err(Status::invalid_argument("a second header")),
                Part::Chunk(chunk) => {
                    let proto::SnapshotChunk { sequence, crc32c, data } = chunk;
                    Step::Chunk(Chunk { sequence, crc32c, data })
                }
                Part::End(proto::SnapshotEnd { chunks, records }) => Step::End { chunks, records },
            };
            let last = matches!(step, Step::End { .. });
            // A closed channel: the storing side failed and says why itself.
            if steps.send(step).await.is_err() || last {
                return Ok(());
            }
        }
    };
    feeding.await?;
    drop(steps);
    let received = (&mut storing).await.map_err(stopped)?.map_err(garbled)?;
    let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(received) };
    let answer = service.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
    tracing::info!(from, "the snapshot is installed");
    Ok(proto::SnapshotResponse { vote: Some(form::vote_out(&answer.vote)) })
}
