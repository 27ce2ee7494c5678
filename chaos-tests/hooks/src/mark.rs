//! The places where bugs live. A campaign that never came to one of them has failed, however many runs passed.

macro_rules! marks {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// A place in the product's code that runs must come to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mark {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Mark] = &[$(Mark::$variant,)*];

            /// As reports call it.
            pub const fn name(self) -> &'static str {
                match self { $(Mark::$variant => $name,)* }
            }
        }
    };
}

marks! {
    /// A proposal was refused because one that it was decided on had been.
    ProposalRefusedInChain = "proposal-refused-in-chain",
    /// A proposal waited for a leader whose majority was late.
    ProposalWaitedForLease = "proposal-waited-for-lease",
    /// Entries that were never committed were cut off the log.
    LogTruncated = "log-truncated",
    /// A snapshot of another controller became the state.
    SnapshotInstalled = "snapshot-installed",
    /// A leader ended the change of members that another had begun.
    ChangeFinished = "change-finished",
    /// A leader without room on its disk gave the leadership away.
    LeadershipShed = "leadership-shed",
    /// A read was refused because this disk has no room.
    ReadWithoutRoom = "read-without-room",
    /// The stage began again from the folded state, as something it had decided was refused.
    StageBeganAgain = "stage-began-again",
    /// A write whose answer was lost was sent again.
    WriteSentAgain = "write-sent-again",
    /// A request that was done already got the same answer again.
    RetryAnsweredFromMemory = "retry-answered-from-memory",
    /// A leader that no majority confirmed judged nobody.
    LeaderNotConfirmed = "leader-not-confirmed",
    /// A worker called again while its old session was there.
    SessionSuperseded = "session-superseded",
    /// Nobody was heard: silence that all share is nobody's own.
    MassSilenceDoubted = "mass-silence-doubted",
    /// A worker was given up.
    NodeLost = "node-lost",
    /// A worker refused the leader of an older term.
    OlderTermRefused = "older-term-refused",
    /// A worker was without a leader for longer than its lease.
    LeaseLost = "lease-lost",
    /// A worker removed a pod that was deleted while it was away.
    DeletedWhileAway = "deleted-while-away",
    /// A watch asked for what the history does not keep any more.
    FeedExpired = "feed-expired",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
    }
}
