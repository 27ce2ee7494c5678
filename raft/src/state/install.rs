//! A snapshot on its way in: records go into a directory of their own as they arrive; only a complete, verified and synced one
//! becomes the state.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::SnapshotData;
use super::database::StateDb;
use super::directory::StateDirectory;
use super::image::Image;
use super::transfer::{Chunk, TableNames};
use crate::fold::Record;
use crate::types::SnapshotMeta;

/// Records of one batch while an image is copied.
const BATCH: usize = 1024;

/// A directory that is removed unless it is adopted.
struct Place {
    path: PathBuf,
    directory: Arc<StateDirectory>,
    adopted: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.adopted && self.directory.disk().exists(&self.path).unwrap_or(true) {
            self.directory.remove(&self.path);
        }
    }
}

/// A snapshot that is being received.
pub(crate) struct Incoming {
    // Closed before the place is removed.
    database: StateDb,
    place: Place,
    chunks: u64,
    records: u64,
}

/// A snapshot that arrived whole.
pub(crate) struct Received {
    place: Place,
}

fn broken(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Incoming {
    /// One that is sent. It leaves the log the room that the log needs.
    pub(crate) fn begin(directory: &Arc<StateDirectory>) -> io::Result<Incoming> {
        directory.room_for_snapshot()?;
        Incoming::create(directory)
    }

    fn create(directory: &Arc<StateDirectory>) -> io::Result<Incoming> {
        let path = directory.new_incoming();
        let place = Place { path, directory: directory.clone(), adopted: false };
        let disk = &**directory.disk();
        if disk.exists(&place.path)? {
            disk.remove_dir(&place.path)?;
        }
        let database = StateDb::open(disk, &place.path, directory.limits()).map_err(io::Error::other)?;
        Ok(Incoming { database, place, chunks: 0, records: 0 })
    }

    /// Verifies and stores the next chunk.
    pub(crate) fn chunk(&mut self, chunk: &Chunk, names: &TableNames) -> io::Result<()> {
        if chunk.sequence != self.chunks {
            let text = format!("the snapshot's chunk {} came where {} was due", chunk.sequence, self.chunks);
            return Err(broken(text));
        }
        let records = chunk.records(names)?;
        self.place.directory.room_for_snapshot()?;
        self.chunks += 1;
        self.records += records.len() as u64;
        self.database.write_records(records)
    }

    /// All chunks are here: verifies their number, and makes the snapshot durable.
    pub(crate) fn finish(self, chunks: u64, records: u64, meta: &SnapshotMeta) -> io::Result<Received> {
        if (chunks, records) != (self.chunks, self.records) {
            return Err(broken(format!(
                "the snapshot has {chunks} chunks and {records} records, but {} and {} arrived",
                self.chunks, self.records
            )));
        }
        self.seal(meta)
    }

    fn seal(self, meta: &SnapshotMeta) -> io::Result<Received> {
        self.database.write_position(meta.last_log_id.as_ref(), &meta.last_membership)?;
        self.database.flush()?;
        Ok(Received { place: self.place })
    }

    fn copy(directory: &Arc<StateDirectory>, image: &Image) -> io::Result<Received> {
        let incoming = Incoming::create(directory)?;
        let source = image.read()?;
        let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
        for record in source.records() {
            batch.push(record.map_err(io::Error::other)?);
            if batch.len() == BATCH {
                incoming.database.write_records(std::mem::take(&mut batch))?;
            }
        }
        incoming.database.write_records(batch)?;
        incoming.seal(image.meta())
    }
}

/// Makes the snapshot the state, and takes the picture of it that others may be sent.
pub(super) fn install(
    directory: &Arc<StateDirectory>,
    meta: &SnapshotMeta,
    snapshot: SnapshotData,
) -> io::Result<(StateDb, Image)> {
    let mut received = match snapshot {
        SnapshotData::Received(received) => received,
        SnapshotData::Stored(image) => Incoming::copy(directory, &image)?,
    };
    let path = directory.adopt(&received.place.path)?;
    received.place.adopted = true;
    let database = StateDb::open(&**directory.disk(), &path, directory.limits()).map_err(io::Error::other)?;
    let (applied, _) = database.applied().map_err(io::Error::other)?;
    if applied != meta.last_log_id {
        let text = format!("the snapshot is at {applied:?}, announced was {:?}", meta.last_log_id);
        return Err(broken(text));
    }
    let image = Image::take(&database, directory, meta.clone())?;
    Ok((database, image))
}
