//! A run: everything that is known of what happened when a plan was played. Checkers read it and nothing else.
//!
//! All times are nanoseconds on one clock that everything in the run shares (simulated, or the machine's monotonic one), from the start.

#![allow(missing_docs, reason = "the fields of a variant are said in its own words")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Layer, Plan, plan::Client};

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What was played.
    pub plan: Plan,
    /// Where.
    pub layer: Layer,
    /// What clients did and saw.
    pub ops: Vec<OpRecord>,
    /// What watches delivered, one record per watch of a client; a resumed one goes on in the same.
    pub watches: Vec<WatchRecord>,
    /// The committed log, from the first entry, as one replica that has all of it holds it.
    pub log: Vec<LoggedEntry>,
    /// What containers did, written down where they run and not by the system under test.
    pub instances: Vec<InstanceEvent>,
    /// Who led, as each controller itself said.
    pub reigns: Vec<Reign>,
    /// Which workers went along with a leader of the past.
    #[serde(default)]
    pub heeded: Vec<Heeded>,
    /// The hash of each replica's state after some entries.
    pub hashes: Vec<ReplicaHash>,
    /// The faults as they were done.
    pub faults: Vec<FaultRecord>,
    /// What the run reached, by the name of the mark, and how often.
    pub reached: BTreeMap<String, u64>,
    /// The end: everything healed, and then what became of it.
    pub settled: Settled,
    /// What the layer itself saw go wrong while it played: an invariant that it asserts after each event, a panic.
    pub broken: Vec<Broken>,
    /// A hash over everything that happened in order; equal for equal plans in deterministic layers.
    pub trace_hash: u64,
}

impl Run {
    /// A run in which nothing has happened yet.
    pub fn new(plan: Plan, layer: Layer) -> Run {
        Run {
            plan,
            layer,
            ops: Vec::new(),
            watches: Vec::new(),
            log: Vec::new(),
            instances: Vec::new(),
            reigns: Vec::new(),
            heeded: Vec::new(),
            hashes: Vec::new(),
            faults: Vec::new(),
            reached: BTreeMap::new(),
            settled: Settled::default(),
            broken: Vec::new(),
            trace_hash: 0,
        }
    }

    /// How long it lasted in its own time, milliseconds, until it had settled.
    pub fn lasted_ms(&self) -> u64 {
        let settled = &self.settled;
        let parts = [settled.leader_ns, settled.replicas_ns, settled.workload_ns, settled.served_ns];
        let after = parts.iter().map(|part| part.unwrap_or(settled.limit_ns)).max().unwrap_or(0);
        (settled.healed_ns + after) / 1_000_000
    }
}

/// One thing a client did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpRecord {
    /// Who.
    pub client: Client,
    /// The request's id, as the entry that did it carries it; none for reads.
    pub request: Option<String>,
    /// The controller that was asked.
    pub server: u32,
    /// When it was asked.
    pub invoked_ns: u64,
    /// When it was answered; none if it never was.
    pub returned_ns: Option<u64>,
    /// What was asked.
    pub call: Call,
    /// What came back.
    pub answer: Answer,
}

impl std::fmt::Display for OpRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} at controller {}: ", self.client, self.server)?;
        match &self.call {
            Call::Create { key, value } => write!(f, "create {key} = {value}")?,
            Call::Update { key, value, revision: Some(at) } => {
                write!(f, "update {key} of revision {at} = {value}")?
            }
            Call::Update { key, value, revision: None } => write!(f, "update {key} = {value}")?,
            Call::Delete { key } => write!(f, "delete {key}")?,
            Call::Get { key, stale: false } => write!(f, "read {key}")?,
            Call::Get { key, stale: true } => write!(f, "read {key}, which may be old")?,
            Call::List { prefix } => write!(f, "list {prefix}")?,
            Call::DryRun { key, value } => write!(f, "pretend {key} = {value}")?,
            Call::Other { what } => write!(f, "{what}")?,
        }
        match &self.answer {
            Answer::Done { revision } => write!(f, ": done at revision {revision}"),
            Answer::Value { value: Some((value, revision)) } => write!(f, ": {value} of revision {revision}"),
            Answer::Value { value: None } => write!(f, ": absent"),
            Answer::Listed { revision, items } => write!(f, ": {} items at revision {revision}", items.len()),
            Answer::Refused { code } => write!(f, ": refused ({code})"),
            Answer::Unknown => write!(f, ": no answer"),
        }
    }
}

/// What was asked. Keys are `kind/namespace/name`. Values are unique in a run: two writes never write the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Write, only if it is absent.
    Create { key: String, value: String },
    /// Write, only if it is there, and at this revision if one is given.
    Update { key: String, value: String, revision: Option<u64> },
    /// Delete.
    Delete { key: String },
    /// Read, linearizably or whatever this server has.
    Get { key: String, stale: bool },
    /// List all with this prefix of their keys, in pages.
    List { prefix: String },
    /// A write that only pretends.
    DryRun { key: String, value: String },
    /// Anything else that changes objects; the placement checkers see what it did in the log.
    Other { what: String },
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done, at this revision.
    Done { revision: u64 },
    /// Read: the value and the object's revision; none when it is absent.
    Value { value: Option<(String, u64)> },
    /// A list at a revision: key, value, the object's revision.
    Listed { revision: u64, items: Vec<(String, String, u64)> },
    /// Refused for certain: nothing was done. The code is HTTP's.
    Refused { code: u16 },
    /// Nobody knows whether it was done: a timeout, a broken connection.
    Unknown,
}

/// What one watch delivered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WatchRecord {
    /// Whose.
    pub client: Client,
    /// Objects whose keys begin so.
    pub prefix: String,
    /// In the order of delivery.
    pub steps: Vec<(u64, WatchStep)>,
}

/// One step of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchStep {
    /// Everything was listed at this revision: key, value, the object's revision.
    Listed { server: u32, revision: u64, items: Vec<(String, String, u64)> },
    /// The watch was opened from this revision.
    Opened { server: u32, from: u64 },
    /// An object is there or has changed.
    Put { key: String, value: String, revision: u64 },
    /// An object is gone.
    Deleted { key: String, revision: u64 },
    /// Everything up to this revision was delivered.
    Bookmark { revision: u64 },
    /// The stream ended, with this code if it said one (410: too old).
    Closed { code: Option<u16> },
}

/// One entry of the committed log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoggedEntry {
    /// Its place.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// When it was first known to be committed; 0 if nobody looked.
    pub committed_ns: u64,
    /// `kontiki_actors::Entry`, encoded; empty for the consensus' own entries.
    pub bytes: Vec<u8>,
}

/// What a container did, from the node's own point of view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEvent {
    /// When.
    pub at_ns: u64,
    /// On which node.
    pub node: String,
    /// Of which pod.
    pub pod_uid: String,
    /// Its name, `namespace/name`.
    pub pod: String,
    /// Which container, and which attempt.
    pub container: String,
    /// Attempts count from 0.
    pub attempt: u32,
    /// It runs from now on, or does not.
    pub running: bool,
    /// The code with which it ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
}

/// A controller led.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Who, by number.
    pub controller: u32,
    /// In which term.
    pub term: u64,
    /// From.
    pub from_ns: u64,
    /// Until; none: to the end.
    pub until_ns: Option<u64>,
}

/// A worker went along with somebody who spoke as the leader of a term that was over: it spoke on after it had been welcomed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heeded {
    /// When.
    pub at_ns: u64,
    /// Which worker, by its node's name.
    pub node: String,
    /// The controller that it went along with.
    pub controller: u32,
    /// The term in which that one spoke.
    pub term: u64,
    /// The highest term that the worker itself said to have accepted.
    pub accepted: u64,
}

/// A replica's state after an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaHash {
    /// Which controller; `u32::MAX` is a replay of the log.
    pub replica: u32,
    /// The last entry in it.
    pub index: u64,
    /// The revision.
    pub revision: u64,
    /// The hash.
    pub hash: u64,
}

/// A fault as it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Which event of the plan.
    pub event: usize,
    /// Its kind's number in the fault matrix.
    pub number: u32,
    /// What was hit, by name.
    pub hit: Vec<String>,
    /// From.
    pub from_ns: u64,
    /// Until.
    pub until_ns: u64,
    /// It had an effect, seen from outside: a message was dropped, a process died, a write failed.
    pub bit: bool,
    /// This layer cannot do it, for this reason; then nothing was done.
    pub skipped: Option<String>,
}

/// What became of the cluster after everything was healed. Durations are from the healing; none: not within the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// When everything was healed.
    pub healed_ns: u64,
    /// How long this layer waited at most.
    pub limit_ns: u64,
    /// F1: someone leads.
    pub leader_ns: Option<u64>,
    /// F2: all replicas are at the same entry and the membership is not joint.
    pub replicas_ns: Option<u64>,
    /// F3: what is desired is what runs.
    pub workload_ns: Option<u64>,
    /// F4: a write, a read and a watch through each controller succeeded.
    pub served_ns: Option<u64>,
    /// What was still wrong at the limit, in words.
    pub missing: Vec<String>,
}

/// Something that the layer itself saw go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// When.
    pub at_ns: u64,
    /// The invariant's number, such as `A1`.
    pub invariant: String,
    /// What was seen.
    pub words: String,
}
