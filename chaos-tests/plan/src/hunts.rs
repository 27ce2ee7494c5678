//! How the planted defects are found: where each is looked for, in plans of which kind, and within how many of them. The only such
//! table: the tests and `kontiki-chaos defects` go by it. A defect that is not in it fails its test.

use kontiki_hooks::Defect;

use crate::plan::generate::{Options, Profile, Situation};

/// Where a defect is looked for.
#[derive(Clone, Copy, Debug)]
pub enum Ground {
    /// The model (L0).
    Model(Terms),
    /// The consensus alone (in L1), on plans of its own generator.
    Consensus,
    /// Whole controllers and workers (L1).
    Whole(Terms),
}

/// How the plans of a hunt differ from what is usual.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What clients do.
    pub profile: Profile,
    /// How often.
    pub ops_per_s: f64,
    /// Only these break; none: whatever the layer can do.
    pub faults: Option<&'static [&'static str]>,
    /// How often.
    pub faults_per_minute: f64,
    /// So many workers; none: as many as usual.
    pub workers: Option<u32>,
    /// How long, simulated.
    pub seconds: u64,
    /// What each plan begins with.
    pub situation: Option<Situation>,
}

impl Terms {
    const fn of(profile: Profile) -> Terms {
        Terms {
            profile,
            ops_per_s: 20.0,
            faults: None,
            faults_per_minute: 12.0,
            workers: None,
            seconds: 20,
            situation: None,
        }
    }

    /// A situation in a small cluster, and nothing else.
    const fn only(profile: Profile, situation: Situation) -> Terms {
        Terms {
            ops_per_s: 5.0,
            faults_per_minute: 0.0,
            workers: Some(4),
            seconds: 12,
            situation: Some(situation),
            ..Terms::of(profile)
        }
    }

    /// As options of the generator, in a layer that can do these faults.
    pub fn options(&self, layer: Vec<&'static str>) -> Options {
        let usual = Options::default();
        let able = |kind: &&'static str| layer.contains(kind);
        Options {
            profile: self.profile,
            duration_ms: self.seconds * 1000,
            ops_per_s: self.ops_per_s,
            workers: self.workers.map_or(usual.workers, |count| (count, count)),
            faults: match self.faults {
                Some(kinds) => kinds.iter().copied().filter(able).collect(),
                None => layer,
            },
            faults_per_minute: self.faults_per_minute,
            situation: self.situation,
            ..usual
        }
    }
}

/// How one defect is found in one place.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// Which.
    pub defect: Defect,
    /// Where.
    pub ground: Ground,
    /// The first seed.
    pub from: u64,
    /// It must be found within so many.
    pub seeds: u64,
}

const fn model(defect: Defect, seeds: u64, terms: Terms) -> Hunt {
    Hunt { defect, ground: Ground::Model(terms), from: 0, seeds }
}

/// From this seed on: what is rare is not looked for from the beginning each time.
const fn from(from: u64, hunt: Hunt) -> Hunt {
    Hunt { from, ..hunt }
}

const fn consensus(defect: Defect, from: u64, seeds: u64) -> Hunt {
    Hunt { defect, ground: Ground::Consensus, from, seeds }
}

const fn whole(defect: Defect, seeds: u64, terms: Terms) -> Hunt {
    Hunt { defect, ground: Ground::Whole(terms), from: 0, seeds }
}

const REGISTERS: Terms = Terms::of(Profile::Registers);
const WATCHES: Terms = Terms::of(Profile::Watches);
const WORKLOADS: Terms = Terms::of(Profile::Workloads);
const MIXED: Terms = Terms::of(Profile::Mixed);
/// Much at once: what needs two requests, or a request and a fault, to meet.
const BUSY: Terms = Terms { ops_per_s: 60.0, faults_per_minute: 40.0, ..REGISTERS };

/// Workers that are given up while their pods run on.
const CUT_OFF: Terms = Terms { faults: Some(&["isolate"]), faults_per_minute: 30.0, ..WORKLOADS };

/// All of them.
pub const HUNTS: &[Hunt] = &[
    consensus(Defect::AckBeforeFsync, 1, 10),
    consensus(Defect::VoteNotSynced, 1, 10),
    consensus(Defect::ReadWithoutQuorum, 1, 20),
    consensus(Defect::ReadJoinsLate, 1, 20),
    consensus(Defect::SnapshotWithoutTable, 1, 40),
    consensus(Defect::PurgeAheadOfFlush, 1, 40),
    consensus(Defect::FsyncErrorIgnored, 1, 60),
    consensus(Defect::ChecksumIgnored, 1, 20),
    consensus(Defect::TruncateOffByOne, 1, 80),
    consensus(Defect::JointLeft, 100, 100),
    model(Defect::CapacityForgotten, 40, WORKLOADS),
    model(Defect::TaintsIgnored, 40, WORKLOADS),
    model(Defect::PlacementByHash, 10, WORKLOADS),
    model(Defect::ReplicaLeak, 80, WORKLOADS),
    model(Defect::SurplusKept, 20, WORKLOADS),
    model(Defect::RolloutTooFast, 40, WORKLOADS),
    model(Defect::RolloutSurge, 40, WORKLOADS),
    model(Defect::NodeStaysLost, 40, REGISTERS),
    model(Defect::NewLeaderCondemns, 80, REGISTERS),
    model(Defect::MassCondemnation, 80, REGISTERS),
    model(Defect::GarbageOfTheLiving, 80, WORKLOADS),
    model(Defect::GarbageLeft, 40, WORKLOADS),
    model(Defect::FinalizerIgnored, 40, MIXED),
    model(Defect::NamespaceForgets, 80, MIXED),
    model(Defect::CapacityNotFreed, 80, Terms { workers: Some(1), faults_per_minute: 0.0, ..MIXED }),
    model(Defect::UsageDrift, 80, WORKLOADS),
    from(20, model(Defect::ReportOfAnother, 40, WORKLOADS)),
    model(Defect::ClockInTurn, 300, REGISTERS),
    model(Defect::DryRunDone, 10, REGISTERS),
    model(Defect::RevisionNotCompared, 80, Terms { ops_per_s: 60.0, ..REGISTERS }),
    model(Defect::RetryDoneAgain, 300, BUSY),
    from(900, model(Defect::FoldForeignTerm, 40, BUSY)),
    model(Defect::OlderAssignmentObeyed, 20, Terms::only(Profile::Registers, Situation::ToldTwice)),
    model(Defect::IdentityNotFenced, 40, CUT_OFF),
    model(Defect::CompletionCountedTwice, 40, WORKLOADS),
    model(Defect::OrdinalsAtOnce, 20, WORKLOADS),
    whole(Defect::WatchGap, 10, WATCHES),
    whole(Defect::WatchDuplicate, 10, WATCHES),
    whole(Defect::BookmarkTooEarly, 10, WATCHES),
    whole(Defect::WatchLosesDelete, 10, WATCHES),
    from(10, whole(Defect::WatchFutureDeliversOld, 40, WATCHES)),
    whole(Defect::SlowWatcherSkips, 40, WATCHES),
    whole(Defect::ListTorn, 20, REGISTERS),
    whole(Defect::ResyncRestarts, 20, Terms { workers: Some(4), seconds: 10, ..WORKLOADS }),
    whole(
        Defect::SnapshotWithoutRevision,
        20,
        Terms { faults: Some(&["disk-lost", "snapshot-while-away", "member-replaced"]), ..WATCHES },
    ),
    whole(Defect::AnswerBeforeCommit, 10, Terms::only(Profile::Registers, Situation::StuckDisks)),
    whole(Defect::TermNotChecked, 10, Terms::only(Profile::Workloads, Situation::OldLeader)),
    whole(Defect::TermNotPersisted, 10, Terms::only(Profile::Workloads, Situation::OldLeader)),
    whole(
        Defect::HandedOverLeadsOn,
        20,
        Terms { seconds: 6, ..Terms::only(Profile::Registers, Situation::HandedOverToNobody) },
    ),
    whole(
        Defect::AppendStreamOutlives,
        60,
        Terms { seconds: 20, ..Terms::only(Profile::Registers, Situation::SlowFollower) },
    ),
    whole(Defect::MinorityHoldsUp, 10, Terms::only(Profile::Registers, Situation::MinorityDown)),
    whole(Defect::RefusalForgotten, 10, Terms::only(Profile::Registers, Situation::HeldUp)),
    whole(Defect::LogKept, 10, Terms { seconds: 40, ..WORKLOADS }),
    whole(Defect::NewLeaderCondemns, 10, Terms::only(Profile::Registers, Situation::SilentWhileElected)),
    whole(Defect::MassCondemnation, 10, Terms::only(Profile::Registers, Situation::MassSilence)),
    // The clients come back half a minute after the storm.
    whole(
        Defect::FullStaysFull,
        10,
        Terms { seconds: 45, ..Terms::only(Profile::Registers, Situation::Overloaded) },
    ),
    whole(Defect::ResyncKeepsDeleted, 10, Terms::only(Profile::Registers, Situation::DeletedWhileAway)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_is_hunted() {
        let hunted = |defect: &Defect| HUNTS.iter().any(|hunt| hunt.defect == *defect);
        let missing: Vec<_> = Defect::ALL.iter().filter(|defect| !hunted(defect)).collect();
        assert!(missing.is_empty(), "nobody looks for {missing:?}");
        assert!(HUNTS.iter().all(|hunt| hunt.seeds > 0));
    }
}
