//! The list of planted defects. Adding one: a line here, and the wrong code beside the right one behind [`crate::planted`].

#[cfg(feature = "active")]
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! defects {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A known bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Defect {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Defect {
            /// All of them.
            pub const ALL: &'static [Defect] = &[$(Defect::$variant,)*];

            /// As the command line and reports call it.
            pub const fn name(self) -> &'static str {
                match self { $(Defect::$variant => $name,)* }
            }

            /// What is wrong with it, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Defect::$variant => concat!($($doc,)*),)* }
            }
        }
    };
}

defects! {
    /// A write is acknowledged before the log has it on disk.
    AckBeforeFsync = "ack-before-fsync",
    /// A vote is answered before it is on disk.
    VoteNotSynced = "vote-not-synced",
    /// The requests of an append stream that was given up are read on, and taken away from its successor.
    AppendStreamOutlives = "append-stream-outlives",
    /// Who hands over still calls itself the leader, and asks the others before its reads whether they follow it.
    HandedOverLeadsOn = "handed-over-leads-on",
    /// A read does not ask a majority whether the leader still leads.
    ReadWithoutQuorum = "read-without-quorum",
    /// A read takes the answer to a question that was put to the leader before it came.
    ReadJoinsLate = "read-joins-late",
    /// The leader answers a write before it is committed.
    AnswerBeforeCommit = "answer-before-commit",
    /// An entry that was decided in another term than it was committed in is folded.
    FoldForeignTerm = "fold-foreign-term",
    /// A snapshot leaves one table out.
    SnapshotWithoutTable = "snapshot-without-table",
    /// A snapshot forgets the revision.
    SnapshotWithoutRevision = "snapshot-without-revision",
    /// Purging the log does not wait for the state on disk.
    PurgeAheadOfFlush = "purge-ahead-of-flush",
    /// A failed fsync is ignored.
    FsyncErrorIgnored = "fsync-error-ignored",
    /// A checksum is not compared when an entry is read.
    ChecksumIgnored = "checksum-ignored",
    /// Truncating the log keeps the last conflicting entry.
    TruncateOffByOne = "truncate-off-by-one",
    /// A change of voters whose leader was lost between its two steps stays half done.
    JointLeft = "joint-left",
    /// A watch that begins while entries are folded misses one.
    WatchGap = "watch-gap",
    /// A watch that resumes sees its last event again.
    WatchDuplicate = "watch-duplicate",
    /// A bookmark names a revision whose events were not delivered.
    BookmarkTooEarly = "bookmark-too-early",
    /// A watch does not tell of deletions.
    WatchLosesDelete = "watch-loses-delete",
    /// A watch from a future revision delivers older events.
    WatchFutureDeliversOld = "watch-future-delivers-old",
    /// A watcher that is too slow is not cut but skips events.
    SlowWatcherSkips = "slow-watcher-skips",
    /// A retried request is done again.
    RetryDoneAgain = "retry-done-again",
    /// A leader forgets what it refused: an attempt that comes late is done after all.
    RefusalForgotten = "refusal-forgotten",
    /// An update does not compare the revision it was given.
    RevisionNotCompared = "revision-not-compared",
    /// A worker obeys a leader of an older term.
    TermNotChecked = "term-not-checked",
    /// A worker forgets the highest term when it restarts.
    TermNotPersisted = "term-not-persisted",
    /// The scheduler forgets one resource of the pods already placed.
    CapacityForgotten = "capacity-forgotten",
    /// The scheduler ignores taints.
    TaintsIgnored = "taints-ignored",
    /// The scheduler chooses by the order of a hash map.
    PlacementByHash = "placement-by-hash",
    /// A ReplicaSet keeps one pod too many once one of its pods has failed.
    ReplicaLeak = "replica-leak",
    /// A rollout takes down one more than maxUnavailable.
    RolloutTooFast = "rollout-too-fast",
    /// A rollout goes one above maxSurge.
    RolloutSurge = "rollout-surge",
    /// A node that was lost stays condemned after it came back.
    NodeStaysLost = "node-stays-lost",
    /// A new leader condemns the nodes that have not yet called.
    NewLeaderCondemns = "new-leader-condemns",
    /// All nodes silent at once are all condemned.
    MassCondemnation = "mass-condemnation",
    /// The garbage collector deletes dependents of a living owner.
    GarbageOfTheLiving = "garbage-of-the-living",
    /// The garbage collector leaves dependents of a deleted owner.
    GarbageLeft = "garbage-left",
    /// An object with finalizers is removed at once.
    FinalizerIgnored = "finalizer-ignored",
    /// The decision reads the wall clock, not the turn's.
    ClockInTurn = "clock-in-turn",
    /// A dry run is done.
    DryRunDone = "dry-run-done",
    /// A worker that reconnects starts its pods again.
    ResyncRestarts = "resync-restarts",
    /// A worker does not stop pods that were deleted while it was away.
    ResyncKeepsDeleted = "resync-keeps-deleted",
    /// A list reads its pages at different revisions.
    ListTorn = "list-torn",
    /// A worker's report on a pod that is not its own is listened to.
    ReportOfAnother = "report-of-another",
    /// A ReplicaSet keeps the last pod that is too many.
    SurplusKept = "surplus-kept",
    /// Pods that wait for room are not tried again when a pod leaves.
    CapacityNotFreed = "capacity-not-freed",
    /// A namespace goes while something is still in it.
    NamespaceForgets = "namespace-forgets",
    /// A read waits for every controller, not for a majority.
    MinorityHoldsUp = "minority-holds-up",
    /// The log is never shortened.
    LogKept = "log-kept",
    /// The count of a node's pods does not go down when one is removed.
    UsageDrift = "usage-drift",
    /// A worker takes what it was told last for what is wanted, though it is older than what it was told before.
    OlderAssignmentObeyed = "older-assignment-obeyed",
    /// A request that ended while there was no room for another one keeps its place.
    FullStaysFull = "full-stays-full",
    /// A StatefulSet's pod on a lost node is replaced at once, though it may run on.
    IdentityNotFenced = "identity-not-fenced",
    /// A Job counts pods that it has counted already.
    CompletionCountedTwice = "completion-counted-twice",
    /// A StatefulSet that keeps order makes its next pod before the last one is ready.
    OrdinalsAtOnce = "ordinals-at-once",
}

#[cfg(feature = "active")]
static PLANTED: AtomicU64 = AtomicU64::new(0);

#[cfg(feature = "active")]
const fn bit(defect: Defect) -> u64 {
    assert!(Defect::ALL.len() <= 64);
    1 << defect as u64
}

#[cfg(feature = "active")]
pub(crate) fn is_planted(defect: Defect) -> bool {
    PLANTED.load(Ordering::Relaxed) & bit(defect) != 0
}

/// Plants a defect in this process.
#[cfg(feature = "active")]
pub fn plant(defect: Defect) {
    PLANTED.fetch_or(bit(defect), Ordering::Relaxed);
}

/// Takes it out again.
#[cfg(feature = "active")]
pub fn unplant(defect: Defect) {
    PLANTED.fetch_and(!bit(defect), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = Defect::ALL.iter().map(|defect| defect.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Defect::ALL.len());
    }
}
