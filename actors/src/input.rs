//! What comes into a turn, and what it answers.

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::{
    kinds::autoscaler::Measurement,
    object::{Document, ObjectKey, Uid},
};

/// The id of a request: a retry carries the same one. A UUID in text.
pub type RequestId = CompactString;

/// Everything that can start a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// A client's write, decoded, defaulted and validated.
    Api(Request),
    /// A worker's session began: its node is there, with this status.
    NodeHello(Box<NodeHello>),
    /// What the leader holds of nodes' life changed; all in one turn.
    Verdicts(Vec<Verdict>),
    /// Coalesced reports of workers on their pods.
    Reports(Vec<PodReport>),
    /// Objects whose wake-up is due.
    Wake(Vec<ObjectKey>),
    /// The cluster's first objects: namespaces, the `kubernetes` service and so on; done again at every new term,
    /// adds only what is missing.
    Bootstrap(Vec<(ObjectKey, Document)>),
    /// Pods that are to be given a place, of those that have none: what [`crate::scheduling::SchedulingQueue`] hands out.
    Place(Vec<ObjectKey>),
    /// All controllers know this level: the cluster is raised to it, if it is lower, and gets its first objects, as by
    /// [`Input::Bootstrap`], those of the new level with them.
    Raise {
        /// The level. One that this build does not know itself is cut to [`crate::level::LEVEL`].
        level: u32,
        /// The first objects.
        objects: Vec<(ObjectKey, Document)>,
    },
    /// What the leader found out about targets of autoscalers, at most [`crate::kinds::autoscaler::BATCH`] of them.
    Measured(Vec<Measurement>),
}

/// A client's write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A new object. With `generate_name` the turn completes the name.
    Create {
        /// Where; the name is empty with `generate_name`.
        key: ObjectKey,
        /// The prefix of a name to be made.
        generate_name: Option<CompactString>,
        /// The whole object.
        document: Document,
        /// Decide and answer, but change nothing.
        dry_run: bool,
    },
    /// New content of an object.
    Update {
        /// Which.
        key: ObjectKey,
        /// The whole object as it is to be.
        document: Document,
        /// Which part may change.
        part: Part,
        /// Only if the object still is at this revision.
        revision: Option<u64>,
        /// Only if it is still this object.
        uid: Option<Uid>,
        /// Decide and answer, but change nothing.
        dry_run: bool,
    },
    /// Away with one object.
    Delete {
        /// Which.
        key: ObjectKey,
        /// How.
        options: DeleteOptions,
        /// Decide and answer, but change nothing.
        dry_run: bool,
    },
    /// Places a pod by hand.
    Bind {
        /// The pod.
        key: ObjectKey,
        /// The node.
        node: CompactString,
        /// Decide and answer, but change nothing.
        dry_run: bool,
    },
    /// One of the others, with whoever asks for it: where that makes a difference, and only there, since builds before it do not know it.
    By {
        /// The user's name.
        user: CompactString,
        /// What he asks for; none of this kind again.
        request: Box<Request>,
    },
    /// What came of asking about an object that an actor wants: see [`crate::candidates`]. Of the leader, and of no client. Answered with the
    /// object if it was made.
    Admit {
        /// The candidate.
        key: ObjectKey,
        /// At which revision it was asked about: only if it still is at that.
        revision: u64,
        /// What came of it.
        verdict: Admission,
    },
}

/// Whether an object that an actor wants is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Admission {
    /// It is made so: the whole object, checked as a client's is.
    As(Document),
    /// It is not made, for this reason.
    Not(String),
}

/// The part of an object that an update may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status, and the metadata.
    Status,
    /// Only spec.replicas.
    Scale,
    /// The finalizers of a namespace.
    Finalize,
    /// Everything, the status too: of custom kinds whose status is not written apart.
    Whole,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteOptions {
    /// Seconds for a pod to end; 0: at once.
    pub grace_s: Option<i64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// Only this object.
    pub uid: Option<Uid>,
    /// Only at this revision.
    pub revision: Option<u64>,
    /// An eviction: refused while a disruption budget forbids it.
    pub eviction: bool,
}

/// What becomes of dependents when their owner is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted first, it waits for them.
    Foreground,
    /// They stay and forget it.
    Orphan,
}

/// A worker's introduction, as far as the state is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// The node's name.
    pub name: CompactString,
    /// Labels the worker sets: hostname, os, arch, zone.
    pub labels: Vec<(CompactString, CompactString)>,
    /// NodeStatus as JSON, without conditions.
    pub status: Bytes,
}

/// A verdict on a node's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The node.
    pub node: CompactString,
    /// What the leader holds of it.
    pub life: Life,
    /// Why, for people.
    pub reason: String,
}

/// What the leader holds of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// In contact.
    Ready,
    /// Contact lost a moment ago: no new pods for it, its pods stay.
    Suspect,
    /// Lost: its pods are replaced.
    Down,
}

/// A worker's report on one pod; or, without a namespace, that the folder of a persistent volume is gone: nothing else is said of those.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// The worker's node: a worker speaks only of its own pods.
    pub node: CompactString,
    /// The pod.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: CompactString,
    /// Its name.
    pub name: CompactString,
    /// PodStatus as JSON; empty: no news of it.
    pub status: Bytes,
    /// Nothing of it runs any more after a deletion.
    pub gone: bool,
    /// What happened to it.
    pub events: Vec<Note>,
}

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `Normal`, `Warning`.
    pub r#type: CompactString,
    /// `Started`.
    pub reason: CompactString,
    /// A sentence.
    pub message: String,
    /// Which part of the object, or empty.
    pub field_path: CompactString,
    /// Unix milliseconds.
    pub time_ms: i64,
}

/// What a turn answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to say.
    Done,
    /// The object as it stands after the turn, at its revision.
    Object {
        /// Where.
        key: ObjectKey,
        /// At which revision.
        revision: u64,
        /// What. Left out in the log and in the memory of answered requests: it stands in the changes.
        document: Option<Document>,
    },
    /// The object is gone; this was its last state.
    Deleted {
        /// Where.
        key: ObjectKey,
        /// Its revision.
        revision: u64,
        /// Its last state, left out as above.
        document: Option<Document>,
    },
    /// Refused; nothing changed.
    Rejected(Rejection),
}

/// Why a write was refused. Maps to a Kubernetes Status by a total function in `api/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No such object.
    #[error("{0} not found")]
    NotFound(ObjectKey),
    /// The name is taken.
    #[error("{0} already exists")]
    AlreadyExists(ObjectKey),
    /// It changed since it was read.
    #[error("{0} was changed meanwhile: {1}")]
    Conflict(ObjectKey, String),
    /// Not allowed.
    #[error("{0} is forbidden: {1}")]
    Forbidden(ObjectKey, String),
    /// The namespace goes away: nothing new in it.
    #[error("{0}: namespace is being terminated")]
    NamespaceTerminating(ObjectKey),
    /// A value is not valid in this state: (field, message).
    #[error("{0} is invalid: {1}: {2}")]
    Invalid(ObjectKey, String, String),
    /// A budget forbids this disruption now.
    #[error("{0}: {1}")]
    TooManyRequests(ObjectKey, String),
    /// What Kubernetes does not support either.
    #[error("{0}: {1}")]
    Unsupported(ObjectKey, String),
    /// Not all controllers know yet what it needs.
    #[error(
        "{key}: this needs the cluster to be at level {needs}, and it is at level {at} until all controllers run a build that knows it"
    )]
    Level {
        /// What it was about.
        key: ObjectKey,
        /// Where the cluster is.
        at: u32,
        /// What it needs.
        needs: u32,
    },
}

impl Input {
    /// The input as the log keeps it: documents that stand in the turn's changes are left out.
    pub fn abridged(&self) -> Input {
        let mut input = self.clone();
        match &mut input {
            Input::Api(request) => request.abridge(),
            Input::NodeHello(hello) => hello.status = Bytes::new(),
            Input::Reports(reports) => {
                for report in reports {
                    report.status = Bytes::new();
                    report.events.clear();
                }
            }
            Input::Bootstrap(objects) | Input::Raise { objects, .. } => objects.clear(),
            _ => {}
        }
        input
    }
}

impl Outcome {
    /// The outcome without its document, as the log and the memory of answered requests keep it.
    pub fn abridged(&self) -> Outcome {
        let mut outcome = self.clone();
        if let Outcome::Object { document, .. } | Outcome::Deleted { document, .. } = &mut outcome {
            *document = None;
        }
        outcome
    }
}

impl Request {
    fn abridge(&mut self) {
        match self {
            Request::Create { document, .. } | Request::Update { document, .. } => {
                *document = Document::default();
            }
            Request::By { request, .. } => request.abridge(),
            Request::Admit { verdict: Admission::As(document), .. } => *document = Document::default(),
            Request::Delete { .. } | Request::Bind { .. } | Request::Admit { .. } => {}
        }
    }

    /// The object it is about.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Request::Create { key, .. }
            | Request::Update { key, .. }
            | Request::Delete { key, .. }
            | Request::Bind { key, .. }
            | Request::Admit { key, .. } => key,
            Request::By { request, .. } => request.key(),
        }
    }

    /// Whether it only asks what would be.
    pub fn dry_run(&self) -> bool {
        match self {
            Request::Create { dry_run, .. }
            | Request::Update { dry_run, .. }
            | Request::Delete { dry_run, .. }
            | Request::Bind { dry_run, .. } => *dry_run,
            Request::By { request, .. } => request.dry_run(),
            Request::Admit { .. } => false,
        }
    }
}
