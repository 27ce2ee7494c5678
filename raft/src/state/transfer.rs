//! A snapshot on the wire: its records in order, in compressed chunks with a checksum each. The form knows nothing of RocksDB, so
//! that controllers of different builds can send it to each other.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use kontiki_hooks::{Defect, planted};

use super::database::StateDb;
use super::image::Image;
use crate::envelope;
use crate::fold::{Record, Table};
use crate::types::SnapshotMeta;

/// The version of the form of a chunk.
pub(crate) const CHUNK_FORMAT: u32 = 1;
/// A chunk is closed when its records have this many bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// A chunk with one huge record is larger; no chunk may be larger than this.
const MAX_CHUNK_BYTES: usize = 64 << 20;
const ZSTD_LEVEL: i32 = 1;
/// Table, key length, value length.
const RECORD_HEAD: usize = 9;

/// A snapshot's position and membership, for the wire.
pub(crate) fn encode_meta(meta: &SnapshotMeta) -> Vec<u8> {
    envelope::seal_applied(meta.last_log_id.as_ref(), &meta.last_membership)
}

/// A snapshot's position and membership, from the wire.
pub(crate) fn decode_meta(bytes: Bytes) -> io::Result<SnapshotMeta> {
    let (last_log_id, last_membership) = envelope::open_applied(bytes)?;
    Ok(SnapshotMeta { last_log_id, last_membership })
}

/// The sender's tables, each with our number for it.
pub(crate) struct TableNames(Vec<Table>);

impl TableNames {
    /// Finds the sender's tables among ours by name.
    pub(crate) fn resolve(theirs: &[String], ours: &[&str]) -> io::Result<TableNames> {
        let number = |name: &String| {
            let found = ours.iter().position(|our| our == name).map(|number| Table(number as u8));
            found.ok_or_else(|| {
                let text = format!(
                    "the snapshot has a table {name:?} that this build does not know: upgrade this controller"
                );
                io::Error::new(io::ErrorKind::Unsupported, text)
            })
        };
        theirs.iter().map(number).collect::<io::Result<_>>().map(TableNames)
    }
}

/// A piece of a snapshot.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) sequence: u64,
    pub(crate) crc32c: u32,
    pub(crate) data: Bytes,
}

fn broken(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Chunk {
    fn seal(sequence: u64, raw: &[u8]) -> io::Result<Chunk> {
        let data = zstd::bulk::compress(raw, ZSTD_LEVEL)?;
        Ok(Chunk { sequence, crc32c: crc32c::crc32c(&data), data: data.into() })
    }

    /// Verifies and opens it.
    pub(super) fn records(&self, names: &TableNames) -> io::Result<Vec<Record>> {
        if crc32c::crc32c(&self.data) != self.crc32c {
            return Err(broken(format!(
                "the checksum of the snapshot's chunk {} does not match",
                self.sequence
            )));
        }
        let size = zstd::zstd_safe::get_frame_content_size(&self.data).ok().flatten().unwrap_or(u64::MAX);
        if size > MAX_CHUNK_BYTES as u64 {
            return Err(broken(format!("the snapshot's chunk {} would open to {size} bytes", self.sequence)));
        }
        let mut raw = Bytes::from(zstd::bulk::decompress(&self.data, size as usize)?);
        let mut records = Vec::new();
        while raw.has_remaining() {
            if raw.len() < RECORD_HEAD {
                return Err(broken("the snapshot's chunk ends within a record"));
            }
            let table = raw.get_u8();
            let (key, value) = (raw.get_u32_le() as usize, raw.get_u32_le() as usize);
            if raw.len() < key.saturating_add(value) {
                return Err(broken("the snapshot's chunk ends within a record"));
            }
            let table = *names
                .0
                .get(usize::from(table))
                .ok_or_else(|| broken("a record is of an unannounced table"))?;
            records.push(Record { table, key: raw.split_to(key).into(), value: raw.split_to(value).into() });
        }
        Ok(records)
    }
}

/// Reads an image piece by piece.
pub(crate) struct Chunks {
    source: StateDb,
    // Its files stay while it is read.
    _image: Arc<Image>,
    last: Option<(Table, Vec<u8>)>,
    /// Chunks so far.
    pub(crate) chunks: u64,
    /// Records in them.
    pub(crate) records: u64,
}

impl Chunks {
    /// Opens the image. Blocks.
    pub(crate) fn of(image: Arc<Image>) -> io::Result<Chunks> {
        Ok(Chunks { source: image.read()?, _image: image, last: None, chunks: 0, records: 0 })
    }

    /// The next piece, none at the end. Blocks.
    pub(crate) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut raw = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        let mut last = None;
        for record in self.source.records_after(self.last.take()) {
            let Record { table, key, value } = record.map_err(io::Error::other)?;
            let left_out = match table {
                Table(1) => planted(Defect::SnapshotWithoutTable),
                // Where whole controllers keep the revision.
                Table(3) => planted(Defect::SnapshotWithoutRevision),
                _ => false,
            };
            if left_out {
                continue;
            }
            let size = RECORD_HEAD + key.len() + value.len();
            if !raw.is_empty() && raw.len() + size > CHUNK_BYTES {
                break;
            }
            raw.put_u8(table.0);
            raw.put_u32_le(key.len() as u32);
            raw.put_u32_le(value.len() as u32);
            raw.put_slice(&key);
            raw.put_slice(&value);
            self.records += 1;
            last = Some((table, key));
        }
        if raw.is_empty() {
            return Ok(None);
        }
        self.last = last;
        let chunk = Chunk::seal(self.chunks, &raw)?;
        self.chunks += 1;
        Ok(Some(chunk))
    }
}
