//! The form in which this crate stores and sends its own records: a versioned, length-limited, checksummed envelope.
//! It is ours, not openraft's, so that a new version of openraft can never strand stored data.
//!
//! ```text
//! magic "KR" | format u8 | kind u8 | length of the body u32 | crc32c of kind and body u32 | body
//! ```
//! All numbers are little-endian.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kontiki_hooks::{Defect, planted};
use openraft::entry::RaftEntry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{
    Entry, EntryPayload, LogId, Membership, Payload, Seat, StoredMembership, Vote, log_id, term_of,
};

/// The format this build writes, and the newest it reads.
pub(crate) const FORMAT: u8 = 1;
/// No envelope's body is larger.
pub(crate) const MAX_BODY: usize = 12 << 20;

const MAGIC: [u8; 2] = *b"KR";
const HEADER: usize = 12;
/// Term and index before an entry's payload.
const ENTRY_HEAD: usize = 16;

/// What an envelope holds. Numbers are stored: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A new leader's first entry.
    Blank = 1,
    /// An entry for the fold.
    Normal = 2,
    /// An entry that changes the membership.
    Membership = 3,
    /// A vote.
    Vote = 4,
    /// A position in the log.
    Position = 5,
    /// Whose data directory this is.
    Identity = 6,
    /// How far the state is folded, and the membership it knows.
    Applied = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Blank,
            2 => Kind::Normal,
            3 => Kind::Membership,
            4 => Kind::Vote,
            5 => Kind::Position,
            6 => Kind::Identity,
            7 => Kind::Applied,
            _ => return None,
        })
    }
}

/// An envelope that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("the record does not start as one of ours")]
    Foreign,
    #[error("the record has format {found}, this build reads up to {FORMAT}")]
    Newer { found: u8 },
    #[error("the record is of kind {found}, expected {expected}")]
    Kind { found: u8, expected: &'static str },
    #[error("the record is {found} bytes long where {expected} were announced")]
    Length { found: usize, expected: usize },
    #[error("the record's checksum does not match")]
    Checksum,
    #[error("the record's content does not decode: {0}")]
    Content(String),
}

impl From<EnvelopeError> for std::io::Error {
    fn from(error: EnvelopeError) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), body)
}

fn seal(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut buffer = BytesMut::with_capacity(HEADER + length);
    buffer.put_slice(&MAGIC);
    buffer.put_u8(FORMAT);
    buffer.put_u8(kind as u8);
    buffer.put_u32_le(length as u32);
    let crc = parts.iter().fold(crc32c::crc32c(&[kind as u8]), |crc, part| crc32c::crc32c_append(crc, part));
    buffer.put_u32_le(crc);
    for part in parts {
        buffer.put_slice(part);
    }
    buffer.into()
}

fn unseal(mut bytes: Bytes) -> Result<(Kind, Bytes), EnvelopeError> {
    if bytes.len() < HEADER || bytes[..2] != MAGIC {
        return Err(EnvelopeError::Foreign);
    }
    bytes.advance(2);
    let format = bytes.get_u8();
    if format == 0 || format > FORMAT {
        return Err(EnvelopeError::Newer { found: format });
    }
    let kind = bytes.get_u8();
    let length = bytes.get_u32_le() as usize;
    let crc = bytes.get_u32_le();
    if length > MAX_BODY || bytes.len() != length {
        return Err(EnvelopeError::Length { found: bytes.len(), expected: length });
    }
    if checksum(kind, &bytes) != crc && !planted(Defect::ChecksumIgnored) {
        return Err(EnvelopeError::Checksum);
    }
    let kind = Kind::from_byte(kind).ok_or(EnvelopeError::Kind { found: kind, expected: "a known kind" })?;
    Ok((kind, bytes))
}

const BINCODE: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_BODY>,
> = bincode::config::standard().with_limit::<MAX_BODY>();

fn encode_content<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, BINCODE).expect("our own plain types always encode")
}

fn decode_content<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    let (value, consumed) = bincode::serde::decode_from_slice(bytes, BINCODE)
        .map_err(|error| EnvelopeError::Content(error.to_string()))?;
    if consumed != bytes.len() {
        return Err(EnvelopeError::Content(format!("{} bytes follow its end", bytes.len() - consumed)));
    }
    Ok(value)
}

fn open_as<T: DeserializeOwned>(
    bytes: Bytes,
    kind: Kind,
    expected: &'static str,
) -> Result<T, EnvelopeError> {
    let (found, body) = unseal(bytes)?;
    if found != kind {
        return Err(EnvelopeError::Kind { found: found as u8, expected });
    }
    decode_content(&body)
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct PositionV1 {
    term: u64,
    index: u64,
}

impl From<&LogId> for PositionV1 {
    fn from(id: &LogId) -> Self {
        PositionV1 { term: term_of(id), index: id.index }
    }
}

impl From<PositionV1> for LogId {
    fn from(position: PositionV1) -> Self {
        log_id(position.term, position.index)
    }
}

#[derive(Serialize, Deserialize)]
struct SeatV1 {
    name: String,
    zone: String,
    address: String,
}

#[derive(Serialize, Deserialize)]
struct MembershipV1 {
    /// One set of voters; two while it changes from the first to the second.
    configs: Vec<BTreeSet<u64>>,
    seats: BTreeMap<u64, SeatV1>,
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        let seat = |(id, seat): (&u64, &Seat)| {
            let Seat { name, zone, address } = seat.clone();
            (*id, SeatV1 { name, zone, address })
        };
        MembershipV1 {
            configs: membership.get_joint_config().clone(),
            seats: membership.nodes().map(seat).collect(),
        }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = EnvelopeError;

    fn try_from(stored: MembershipV1) -> Result<Self, EnvelopeError> {
        if stored.configs.is_empty() {
            return Ok(Membership::default());
        }
        let seat = |(id, seat): (u64, SeatV1)| {
            (id, Seat { name: seat.name, zone: seat.zone, address: seat.address })
        };
        let seats: BTreeMap<u64, Seat> = stored.seats.into_iter().map(seat).collect();
        Membership::new(stored.configs, seats).map_err(|error| EnvelopeError::Content(error.to_string()))
    }
}

/// An entry in its stored form.
pub(crate) fn seal_entry(entry: &Entry) -> Vec<u8> {
    let id = entry.log_id();
    let mut head = [0u8; ENTRY_HEAD];
    head[..8].copy_from_slice(&term_of(&id).to_le_bytes());
    head[8..].copy_from_slice(&id.index.to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => seal(Kind::Blank, &[&head]),
        EntryPayload::Normal(payload) => seal(Kind::Normal, &[&head, &payload.0]),
        EntryPayload::Membership(membership) => {
            seal(Kind::Membership, &[&head, &encode_content(&MembershipV1::from(membership))])
        }
    }
}

/// An entry from its stored form. The payload shares the bytes that are given.
pub(crate) fn open_entry(bytes: Bytes) -> Result<Entry, EnvelopeError> {
    let (kind, mut body) = unseal(bytes)?;
    if body.len() < ENTRY_HEAD {
        return Err(EnvelopeError::Length { found: body.len(), expected: ENTRY_HEAD });
    }
    let id = log_id(body.get_u64_le(), body.get_u64_le());
    let payload = match kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Normal => EntryPayload::Normal(Payload(body)),
        Kind::Membership => EntryPayload::Membership(decode_content::<MembershipV1>(&body)?.try_into()?),
        other => return Err(EnvelopeError::Kind { found: other as u8, expected: "a log entry" }),
    };
    Ok(Entry::new(id, payload))
}

#[derive(Serialize, Deserialize)]
struct VoteV1 {
    term: u64,
    node_id: u64,
    committed: bool,
}

/// A vote in its stored form.
pub(crate) fn seal_vote(vote: &Vote) -> Vec<u8> {
    let leader = vote.leader_id();
    let stored = VoteV1 { term: leader.term, node_id: leader.voted_for, committed: vote.is_committed() };
    seal(Kind::Vote, &[&encode_content(&stored)])
}

/// A vote from its stored form.
pub(crate) fn open_vote(bytes: Bytes) -> Result<Vote, EnvelopeError> {
    let stored: VoteV1 = open_as(bytes, Kind::Vote, "a vote")?;
    Ok(match stored.committed {
        true => Vote::new_committed(stored.term, stored.node_id),
        false => Vote::new(stored.term, stored.node_id),
    })
}

/// A position in its stored form.
pub(crate) fn seal_position(id: &LogId) -> Vec<u8> {
    seal(Kind::Position, &[&encode_content(&PositionV1::from(id))])
}

/// A position from its stored form.
pub(crate) fn open_position(bytes: Bytes) -> Result<LogId, EnvelopeError> {
    open_as::<PositionV1>(bytes, Kind::Position, "a position").map(LogId::from)
}

/// Whose data directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityV1 {
    pub(crate) cluster_id: String,
    pub(crate) node_id: u64,
}

/// An identity in its stored form.
pub(crate) fn seal_identity(identity: &IdentityV1) -> Vec<u8> {
    seal(Kind::Identity, &[&encode_content(identity)])
}

/// An identity from its stored form.
pub(crate) fn open_identity(bytes: Bytes) -> Result<IdentityV1, EnvelopeError> {
    open_as(bytes, Kind::Identity, "an identity")
}

#[derive(Serialize, Deserialize)]
struct AppliedV1 {
    last: Option<PositionV1>,
    membership_position: Option<PositionV1>,
    membership: MembershipV1,
}

/// How far a state is folded, in its stored form.
pub(crate) fn seal_applied(last: Option<&LogId>, membership: &StoredMembership) -> Vec<u8> {
    let stored = AppliedV1 {
        last: last.map(PositionV1::from),
        membership_position: membership.log_id().as_ref().map(PositionV1::from),
        membership: MembershipV1::from(membership.membership()),
    };
    seal(Kind::Applied, &[&encode_content(&stored)])
}

/// How far a state is folded, from its stored form.
pub(crate) fn open_applied(bytes: Bytes) -> Result<(Option<LogId>, StoredMembership), EnvelopeError> {
    let stored: AppliedV1 = open_as(bytes, Kind::Applied, "an applied position")?;
    let membership = stored.membership.try_into()?;
    let membership = StoredMembership::new(stored.membership_position.map(LogId::from), membership);
    Ok((stored.last.map(LogId::from), membership))
}

#[cfg(test)]
#[path = "envelope/tests.rs"]
mod tests;
