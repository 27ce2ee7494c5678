//! How fast and how much: our settings, and what becomes of them in openraft's.

use std::sync::Arc;
use std::time::Duration;

use kontiki_hooks::{Defect, planted};
use openraft::{Config, SnapshotPolicy};

use super::{Options, propose::LATE};
use crate::envelope::MAX_BODY;
use crate::error::OpenError;
use crate::wire::Local;

/// How fast a node reacts. All members should use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// A leader that has nothing else to send sends this often.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random time between this ...
    pub election_min: Duration,
    /// ... and this calls an election. It is also the leader's lease.
    pub election_max: Duration,
}

impl Default for Timings {
    /// For a local network: a leader whose process dies is replaced at once, one that hangs or vanishes in about 0.75 s, which is
    /// the longest timeout as its lease and a random one after it. On a busy machine followers must be more patient than the
    /// scheduler is slow. openraft's clock ticks five times per heartbeat: shorter ones cost an idle controller several percent of
    /// a core.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Timings { heartbeat: ms(100), election_min: ms(200), election_max: ms(400) }
    }
}

/// How much a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload of a proposal.
    pub payload_bytes: usize,
    /// Proposals on their way into the consensus.
    pub pending_proposals: usize,
    /// The newest log entries that are kept in memory.
    pub tail_bytes: usize,
    /// RocksDB's write buffers, per database.
    pub write_buffer_bytes: usize,
    /// RocksDB's block cache for the state.
    pub cache_bytes: usize,
    /// A snapshot is taken after this many entries ...
    pub snapshot_entries: u64,
    /// ... or this many bytes of log.
    pub snapshot_bytes: u64,
    /// Entries kept behind a snapshot, so that a follower that was away briefly needs none.
    pub kept_entries: u64,
    /// Free space on the disk below which this node accepts no proposals and does not lead.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            payload_bytes: 8 << 20,
            pending_proposals: 8192,
            tail_bytes: 16 << 20,
            write_buffer_bytes: 16 << 20,
            cache_bytes: 4 << 20,
            snapshot_entries: 50_000,
            snapshot_bytes: 256 << 20,
            kept_entries: 20_000,
            reserve_bytes: 64 << 20,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// openraft's configuration. Where it departs from openraft's defaults, it is for a reason given here.
pub(super) fn consensus(options: &Options) -> Result<Arc<Config>, OpenError> {
    let Options { timings, limits, tables, .. } = options;
    if limits.payload_bytes > MAX_BODY - 64 {
        return Err(OpenError::Settings(format!("payload_bytes must not exceed {}", MAX_BODY - 64)));
    }
    if tables.is_empty() || tables.len() > usize::from(u8::MAX) || tables.contains(&"meta") {
        return Err(OpenError::Settings("one to 255 tables, none of them called \"meta\"".into()));
    }
    if options.member.id == 0 {
        return Err(OpenError::Settings("a member's id starts at 1".into()));
    }
    let config = Config {
        cluster_name: options.cluster_id.clone(),
        heartbeat_interval: ms(timings.heartbeat),
        election_timeout_min: ms(timings.election_min),
        election_timeout_max: ms(timings.election_max),
        // A node that comes back from a partition must not depose a leader that works.
        enable_pre_vote: Some(true),
        // A leader without a quorum must not keep a connected majority from electing one.
        quorum_loss_probe_interval: Some(ms(timings.election_max * LATE)),
        // A restarted leader could serve a state that is older than what it served before.
        enable_leader_restore: Some(false),
        max_payload_entries: 512,
        max_append_entries: Some(4096),
        api_batch_linger_ms: 0,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.snapshot_entries),
        // A follower further behind than this is sent a snapshot while the log still has the entries: later than the purge.
        replication_lag_threshold: 2 * (limits.snapshot_entries + limits.kept_entries),
        max_in_snapshot_log_to_keep: if planted(Defect::LogKept) { u64::MAX } else { limits.kept_entries },
        purge_batch_size: limits.snapshot_entries.min(256),
        install_snapshot_timeout: 60_000,
        ..Config::default()
    };
    let config = config.validate().map_err(|error| OpenError::Settings(error.to_string()))?;
    Ok(Arc::new(config))
}

/// What the wire must know of this node.
pub(super) fn local(cluster: &str, id: u64, timings: Timings) -> Local {
    Local {
        cluster: cluster.into(),
        id,
        append_ttl: (8 * timings.election_max).max(Duration::from_secs(2)),
        heartbeat_ttl: timings.election_max,
        snapshot_stall: Duration::from_secs(10),
    }
}
