//! A replicated store under test, ours or another: what the measuring of a failover needs of it.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::net::Cut;

/// A store as its clients see it. All futures are for a runtime in the clients' namespace.
pub(super) trait Store: Send + Sync {
    /// Writes a key that nobody wrote before, through this member. Answers whether that was acknowledged.
    fn write(&self, via: usize, key: String) -> BoxFuture<'static, bool>;

    /// All keys that begin so, as they are now (linearizable), through this member.
    fn keys(&self, via: usize, prefix: String) -> BoxFuture<'static, anyhow::Result<BTreeSet<String>>>;
}

/// A store with the members that hold it.
pub(super) trait Members {
    /// What it is called in the table.
    fn name(&self) -> &str;

    /// How many members it has.
    fn count(&self) -> usize;

    /// As its clients see it.
    fn store(&self) -> Arc<dyn Store>;

    /// A runtime whose tasks live where its clients are.
    fn runtime(&self) -> &Runtime;

    /// Who leads, by number. An error: it is not whole yet (one leader, all members there and level).
    fn leader_of_whole(&self) -> anyhow::Result<usize>;

    /// Whether one of these members says that it leads.
    fn one_leads(&self, among: &[usize]) -> anyhow::Result<bool>;

    /// Cuts all links of a member.
    fn silence(&self, member: usize) -> anyhow::Result<Cut>;

    /// SIGKILL, now; it is not waited for.
    fn strike(&self, member: usize) -> anyhow::Result<()>;

    /// Starts it again.
    fn bring_back(&self, member: usize) -> anyhow::Result<()>;
}
