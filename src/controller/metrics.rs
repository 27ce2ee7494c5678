//! What a controller measures of itself, as Prometheus text.

use std::{sync::atomic::AtomicU64, time::Duration};

use kontiki_actors::{Kind, State};
use kontiki_raft::{Role, Status};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

type Number = Gauge<u64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    resource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

/// All metrics of this moment.
pub(super) fn text(
    status: &Status,
    state: &State,
    (level, held): (u32, usize),
    workers: u64,
    up: Duration,
) -> String {
    let mut registry = Registry::with_prefix("kontiki");
    let mut number = |name: &str, help: &str, value: u64| {
        let gauge = Number::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    number("raft_term", "current term", status.term);
    number("raft_leader", "1 while this controller leads", u64::from(status.role == Role::Leader));
    number("raft_quorum", "1 while a majority is in contact", u64::from(status.quorum_ok));
    number("raft_last_log_index", "last entry in the log", status.last_log.unwrap_or(0));
    number("raft_committed_index", "last entry known to be on a majority", status.committed.unwrap_or(0));
    number("raft_applied_index", "last entry folded", status.applied.unwrap_or(0));
    number("raft_snapshot_index", "last entry in the newest snapshot", status.snapshot.unwrap_or(0));
    number("log_syncs", "fdatasync calls of the log's writer", status.work.syncs);
    number("log_entries", "entries written to the log", status.work.entries);
    number("log_bytes", "bytes written to the log", status.work.bytes);
    number("state_revision", "revision of the folded state", state.revision());
    number("cluster_level", "level of the cluster: what it may hold", state.level().into());
    number("build_level", "newest level that this controller knows", level.into());
    let held = if status.role == Role::Leader { held as u64 } else { 0 };
    let help =
        "controllers that keep the cluster below the leader's level: older, or away; 0 unless it leads";
    number("level_held_by", help, held);
    number("workers_in_contact", "workers that this controller hears; 0 unless it leads", workers);
    number("uptime_seconds", "seconds since the start", up.as_secs());
    let objects = Family::<KindLabel, Number>::default();
    for kind in state.kinds() {
        let count = state.list(kind, None).count() as u64;
        if count > 0 {
            objects.get_or_create(&KindLabel { resource: kind.resource_name() }).set(count);
        }
    }
    registry.register("objects", "stored objects", objects);
    let pods = Family::<PhaseLabel, Number>::default();
    for pod in state.list(Kind::POD, None).filter_map(|o| o.pod()) {
        pods.get_or_create(&PhaseLabel { phase: pod.phase.to_string() }).inc();
    }
    registry.register("pods", "pods by phase", pods);
    let mut out = String::new();
    match encode(&mut out, &registry) {
        Ok(()) => out,
        Err(_) => String::new(),
    }
}
