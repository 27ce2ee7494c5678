//! What the API needs of the controller that it runs in. The only door between HTTP and the cluster.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use kontiki_actors::{Object, Outcome, Request, RequestId, State};

use crate::{
    feed::Feed,
    streams::{PodStream, StreamError, StreamTo},
    usage::NodeUsage,
};

/// How new a view must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It contains every write that was acknowledged before the call.
    Linearizable,
    /// It contains this revision; waited for briefly.
    AtLeast(u64),
    /// Any view will do.
    Any,
}

/// Why the cluster cannot answer now. The caller may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No majority of controllers can be reached, so nothing can be read or written safely.
    #[error("no quorum: {reason}")]
    NoQuorum {
        /// What is known about it.
        reason: String,
    },
    /// It took too long; a write may still be done or not.
    #[error("timed out: {reason}")]
    Timeout {
        /// What was waited for.
        reason: String,
    },
    /// The view has not reached the revision that was asked for.
    #[error("too large resource version: {wanted}, current: {current}")]
    Behind {
        /// What was asked for.
        wanted: u64,
        /// What is there.
        current: u64,
    },
    /// Too many requests are under way.
    #[error("too many requests are under way, try again")]
    Overloaded,
    /// The write makes an entry that is larger than the log takes. Trying again does not help.
    #[error("{reason}")]
    TooLarge {
        /// How large, and what is allowed.
        reason: String,
    },
    /// The cluster is not at the level that the write needs: not all controllers are upgraded. Nothing happened.
    #[error("{reason}")]
    Level {
        /// Who is not.
        reason: String,
    },
    /// A defect of this build. Nothing happened.
    #[error("{reason}")]
    Defect {
        /// What failed.
        reason: String,
    },
    /// This controller is going away.
    #[error("this controller is shutting down")]
    ShuttingDown,
}

/// Which output of which container is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsQuery {
    /// The container's name.
    pub container: String,
    /// Go on as new output comes.
    pub follow: bool,
    /// The output of the run before this one.
    pub previous: bool,
    /// Only what is younger than this many seconds.
    pub since_s: Option<i64>,
    /// Only what is younger than this time, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Only the last lines.
    pub tail_lines: Option<i64>,
    /// Each line with its time.
    pub timestamps: bool,
    /// Not more than that.
    pub limit_bytes: Option<i64>,
}

/// Why there is no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogsError {
    /// The container or its earlier run has no output here.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense now: the container has not started.
    #[error("{0}")]
    Refused(String),
    /// The node cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// Output of a container, in order.
pub type LogsStream = BoxStream<'static, Result<Bytes, LogsError>>;

/// What the API needs of the controller.
pub trait Backend: Send + Sync + 'static {
    /// A consistent view of the state.
    fn view(&self, freshness: Freshness) -> BoxFuture<'_, Result<State, Unavailable>>;

    /// Submits a write. Answers when it is committed or refused; the deadline is inside. A request with an id that was
    /// answered already gets the same answer and is not done again.
    fn submit(
        &self,
        request: Request,
        id: RequestId,
        trace: Option<String>,
    ) -> BoxFuture<'_, Result<Outcome, Unavailable>>;

    /// The committed events of this controller, for watches.
    fn feed(&self) -> Arc<Feed>;

    /// The output of a container of a pod.
    fn logs(&self, pod: Arc<Object>, query: LogsQuery) -> BoxFuture<'_, Result<LogsStream, LogsError>>;

    /// A stream into a pod. Answers when it is open, the command of an exec has been started.
    fn open_stream(&self, pod: Arc<Object>, to: StreamTo) -> BoxFuture<'_, Result<PodStream, StreamError>>;

    /// What these nodes use, and their pods if they are asked for; without those that do not say. The error is why nobody
    /// can be asked.
    fn usage(&self, nodes: BTreeSet<String>, pods: bool) -> BoxFuture<'_, Result<Vec<NodeUsage>, String>>;

    /// What this process measures, as Prometheus text.
    fn metrics(&self) -> String;

    /// Whether reads and writes work: proves it by a quorum read.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>>;
}
