//! Consensus and durable state behind one handle, [`Node`].
//!
//! ```text
//! propose -> log (raft.db: one writer, one fdatasync per batch) -> wire (the other controllers) -> a majority
//!         -> Fold (whoever owns the state) -> state (its records, with the position they reach) -> the proposal's answer
//! ```
//! This crate knows nothing of what a payload or a record means, nor of Kubernetes; openraft and RocksDB do not
//! show through it.

mod begun;
mod disk;
mod envelope;
mod error;
mod fold;
mod inspect;
mod log;
mod node;
mod runtime;
mod scope;
mod space;
mod state;
mod stored;
mod types;
mod wire;

pub use disk::{
    Batch, Change, Database, Disk, DiskError, DiskErrorKind, Durability, Form, Job, Local, Pair,
    Purpose as DatabasePurpose, Scan,
};
pub use error::OpenError;
pub use fold::{CommittedEntry, Fold, FoldError, LogPosition, Record, StoreError, Table, Writes};
pub use inspect::{StoredEntry, StoredLog, StoredState, stored_log, stored_state};
pub use node::{
    ChangeError, Leadership, Limits, Member, Node, Options, Proposal, ProposeError, ReadError, Role, Status,
    Timings, WaitError, Work,
};
pub use scope::{Scope, spawn};
pub use space::{Probe, Room, free_bytes};
pub use stored::{entry_payload, entry_position, stored_position, vote_term};
pub use wire::{Caller, CallerOf, MemberInfo, PeerDialer, Purpose, RaftService};
