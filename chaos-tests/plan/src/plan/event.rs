//! What happens: operations of clients and faults.

#![allow(missing_docs, reason = "the numbers of a variant are said in its own words")]

use serde::{Deserialize, Serialize};

/// One client; it does one thing after the other.
pub type Client = u32;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, milliseconds from the start.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// When it has ended.
    pub fn ends_ms(&self) -> u64 {
        match &self.what {
            What::Op { .. } => self.at_ms,
            What::Fault(fault) => self.at_ms + fault.for_ms,
        }
    }
}

/// An operation or a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A client does something, through this controller (by number from 0, modulo those that there are).
    Op {
        /// Who.
        client: Client,
        /// Through which controller.
        via: u32,
        /// What.
        #[serde(flatten)]
        op: Op,
    },
    /// Something breaks.
    Fault(Fault),
}

/// What a client does. Names are numbers: small spaces, so that clients meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// Writes a new value into a register (a ConfigMap), creating it if it is absent, whatever it holds.
    Put { key: u32 },
    /// Writes a new value if the register still is at the revision that this client saw last.
    Cas { key: u32 },
    /// Deletes the register.
    Remove { key: u32 },
    /// Reads the register, linearizably.
    Get { key: u32 },
    /// Reads the register as this controller has it, which may be old (`resourceVersion=0`).
    GetStale { key: u32 },
    /// Lists all registers in pages of this size.
    List { page: u32 },
    /// A write that only pretends.
    DryRun { key: u32 },
    /// Lists, then watches the registers from there, until the plan ends. A watch that breaks is resumed at `resume_via` from its last
    /// revision, listing anew after a 410.
    Watch { resume_via: u32 },
    /// A slow watch: it reads nothing for so long.
    WatchSlowly { resume_via: u32, stall_ms: u64 },
    /// Creates or updates a Deployment.
    Deploy { name: u32, replicas: u32, cpu_m: u64, max_surge: u32, max_unavailable: u32 },
    /// Sets its replicas.
    Scale { name: u32, replicas: u32 },
    /// Changes its template, so that it rolls out.
    Rollout { name: u32 },
    /// Goes back to the template before.
    Undo { name: u32 },
    /// Deletes it; `orphan` leaves its ReplicaSets.
    Undeploy { name: u32, orphan: bool },
    /// Creates or resizes a StatefulSet; with `parallel` its pods come and go all at once, else one after the other.
    StatefulSet { name: u32, replicas: u32, cpu_m: u64, parallel: bool },
    /// Sets its replicas.
    ScaleStatefulSet { name: u32, replicas: u32 },
    /// Changes its template, so that it rolls out.
    RolloutStatefulSet { name: u32 },
    /// Deletes it, with its pods.
    DeleteStatefulSet { name: u32 },
    /// Creates a Job, if there is none of this name: so many of its pods have to succeed, each runs for so long and then ends well.
    /// With `indexed` each has its own completion; more failures than the limit fail the Job. It goes `ttl_s` after its end.
    Job {
        name: u32,
        completions: u32,
        parallelism: u32,
        indexed: bool,
        runs_s: u32,
        backoff_limit: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_s: Option<u32>,
        cpu_m: u64,
    },
    /// Deletes it, with its pods.
    DeleteJob { name: u32 },
    /// Creates a bare pod.
    Pod { name: u32, cpu_m: u64 },
    /// Deletes it; `at_once` without waiting for its worker, which learns of it when it is back.
    DeletePod {
        name: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        at_once: bool,
    },
    /// Evicts all pods of a worker and keeps new ones away.
    Drain { worker: u32 },
    /// Takes new pods again.
    Uncordon { worker: u32 },
    /// Taints a worker (NoSchedule) or takes the taint away.
    Taint { worker: u32, on: bool },
    /// Creates an object with a finalizer, or removes the finalizer.
    Finalize { key: u32, add: bool },
    /// Deletes a namespace with all that is in it, and creates it again later.
    Namespace { name: u32, create: bool },
}

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A controller by number.
    Controller(u32),
    /// Whoever leads at that moment.
    Leader,
    /// Some controller that does not lead.
    Follower,
    /// A worker by number.
    Worker(u32),
    /// Everything in a zone.
    Zone(u32),
    /// All controllers.
    Controllers,
    /// All workers.
    Workers,
    /// Everything.
    All,
}

/// Which direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both.
    Both,
    /// Only what goes out of the target.
    Out,
    /// Only what comes into it.
    In,
}

/// Something breaks, and is whole again after `for_ms`. Faults that leave something dead (a crash, a power cut) bring it back then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What is hit.
    pub on: Target,
    /// For how long; 0 for those that are over at once.
    pub for_ms: u64,
    /// How.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// How something breaks. The numbers are those of the fault matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum FaultKind {
    /// 1: SIGKILL, started again after.
    Crash,
    /// 2: what is not on disk is lost.
    PowerCut,
    /// 4: stands still (SIGSTOP).
    Pause,
    /// 5: the target loses everyone else.
    Isolate { side: Side },
    /// 6: only this one link is cut.
    Cut { other: Target, side: Side },
    /// 7: its links are slower.
    Delay { ms: u64, jitter_ms: u64 },
    /// 8: of its messages, so many in a thousand are lost, doubled or overtaken.
    Loss { per_mille: u32, duplicate_per_mille: u32, reorder_per_mille: u32 },
    /// 9: bits flip on the wire.
    Corrupt { per_mille: u32 },
    /// 10: its links take no more than this.
    Bandwidth { kib_per_s: u64 },
    /// 10: its connections are reset.
    Reset,
    /// 11: all of a zone is cut off, so often in a row.
    Flap { times: u32 },
    /// 12: the wall clock jumps.
    ClockJump { by_ms: i64 },
    /// 12: the wall clock runs at another rate, in thousandths.
    ClockRate { per_mille: u32 },
    /// 13: no space.
    DiskFull,
    /// 14: writes and fsyncs fail.
    DiskError,
    /// 15: every fsync takes longer.
    DiskSlow { ms: u64 },
    /// 15: nothing is written at all.
    DiskStuck,
    /// 16: bits flip in what is stored; a crash before, a start after.
    BitRot { flips: u32 },
    /// 17: the data directory is gone: it comes back as a new member.
    DiskLost,
    /// 18: little memory.
    MemoryLimit { mib: u64 },
    /// 19: little processor, in thousandths of a core.
    CpuLimit { per_mille: u32 },
    /// 20: few file descriptors.
    FileLimit { files: u32 },
    /// 21: broken requests, so many.
    BadInput { requests: u32 },
    /// 22: a worker with a valid certificate that lies: reports on pods that are not its own, old terms, nonsense.
    EvilWorker,
    /// 22: a controller whose certificate is valid and whose term is over (its machine stood still, or came back from an old copy): it
    /// welcomes whoever calls, and takes all pods away from whoever heeds it.
    OldLeader,
    /// 24: so many requests at once.
    Overload { requests: u32 },
    /// 25: a controller is removed and joins again.
    MemberReplaced,
    /// 26: the leadership is given to someone else.
    LeaderTransfer,
    /// 27, 28: a snapshot is taken and the log purged; with the target cut off meanwhile it needs the snapshot after.
    SnapshotWhileAway,
    /// 32: whoever leads then crashes at a boundary between two commands, so many commands from now: when it has proposed the command
    /// and nobody else has it, or when it is committed and nobody was told. It is back when the fault is over, and does not crash at
    /// all if there are fewer commands until then.
    CrashAtCommand { nth: u64, committed: bool },
    /// 31: the worker's agent dies and comes back; its pods live on.
    AgentCrash,
    /// 31: the runtime answers nothing.
    RuntimeHangs,
    /// 31: containers of the worker exit, so many.
    ContainersExit { count: u32 },
    /// 31: the worker's machine restarts: its containers are gone, its identity is not.
    NodeReboot,
    /// 36: somebody of another cluster calls.
    Stranger,
}

impl FaultKind {
    /// The kind's number in the fault matrix.
    pub const fn number(&self) -> u32 {
        match self {
            FaultKind::Crash => 1,
            FaultKind::PowerCut => 2,
            FaultKind::Pause => 4,
            FaultKind::Isolate { .. } => 5,
            FaultKind::Cut { .. } => 6,
            FaultKind::Delay { .. } => 7,
            FaultKind::Loss { .. } => 8,
            FaultKind::Corrupt { .. } => 9,
            FaultKind::Bandwidth { .. } | FaultKind::Reset => 10,
            FaultKind::Flap { .. } => 11,
            FaultKind::ClockJump { .. } | FaultKind::ClockRate { .. } => 12,
            FaultKind::DiskFull => 13,
            FaultKind::DiskError => 14,
            FaultKind::DiskSlow { .. } | FaultKind::DiskStuck => 15,
            FaultKind::BitRot { .. } => 16,
            FaultKind::DiskLost => 17,
            FaultKind::MemoryLimit { .. } => 18,
            FaultKind::CpuLimit { .. } => 19,
            FaultKind::FileLimit { .. } => 20,
            FaultKind::BadInput { .. } => 21,
            FaultKind::EvilWorker | FaultKind::OldLeader => 22,
            FaultKind::Overload { .. } => 24,
            FaultKind::MemberReplaced => 25,
            FaultKind::LeaderTransfer => 26,
            FaultKind::SnapshotWhileAway => 27,
            FaultKind::AgentCrash
            | FaultKind::RuntimeHangs
            | FaultKind::ContainersExit { .. }
            | FaultKind::NodeReboot => 31,
            FaultKind::CrashAtCommand { .. } => 32,
            FaultKind::Stranger => 36,
        }
    }

    /// Its name, as plans write it.
    pub const fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash => "crash",
            FaultKind::PowerCut => "power-cut",
            FaultKind::Pause => "pause",
            FaultKind::Isolate { .. } => "isolate",
            FaultKind::Cut { .. } => "cut",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Loss { .. } => "loss",
            FaultKind::Corrupt { .. } => "corrupt",
            FaultKind::Bandwidth { .. } => "bandwidth",
            FaultKind::Reset => "reset",
            FaultKind::Flap { .. } => "flap",
            FaultKind::ClockJump { .. } => "clock-jump",
            FaultKind::ClockRate { .. } => "clock-rate",
            FaultKind::DiskFull => "disk-full",
            FaultKind::DiskError => "disk-error",
            FaultKind::DiskSlow { .. } => "disk-slow",
            FaultKind::DiskStuck => "disk-stuck",
            FaultKind::BitRot { .. } => "bit-rot",
            FaultKind::DiskLost => "disk-lost",
            FaultKind::MemoryLimit { .. } => "memory-limit",
            FaultKind::CpuLimit { .. } => "cpu-limit",
            FaultKind::FileLimit { .. } => "file-limit",
            FaultKind::BadInput { .. } => "bad-input",
            FaultKind::EvilWorker => "evil-worker",
            FaultKind::OldLeader => "old-leader",
            FaultKind::Overload { .. } => "overload",
            FaultKind::MemberReplaced => "member-replaced",
            FaultKind::LeaderTransfer => "leader-transfer",
            FaultKind::SnapshotWhileAway => "snapshot-while-away",
            FaultKind::CrashAtCommand { .. } => "crash-at-command",
            FaultKind::AgentCrash => "agent-crash",
            FaultKind::RuntimeHangs => "runtime-hangs",
            FaultKind::ContainersExit { .. } => "containers-exit",
            FaultKind::NodeReboot => "node-reboot",
            FaultKind::Stranger => "stranger",
        }
    }
}
