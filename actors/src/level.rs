//! The level of a cluster: which forms its log and its state may hold. A build knows all levels up to [`LEVEL`]. The cluster is raised to
//! a level when all its controllers run builds that know it, and never falls; until then nothing of that level is decided, so that a
//! controller that is not upgraded yet meets nothing that it cannot read.
//!
//! | level | what it brought |
//! |---|---|
//! | 1 | what there was before levels: the kinds up to code 54 |
//! | 2 | CustomResourceDefinition and custom kinds, FlowSchema, PriorityLevelConfiguration; [`Part::Whole`]; [`Request::By`]; the level itself: [`Input::Raise`], [`Change::Level`], [`Rejection::Level`] |
//! | 3 | HorizontalPodAutoscaler |
//! | 4 | definitions that have objects converted by a webhook, and documents of custom kinds that say in which version they are |
//! | 5 | pods of actors that wait to be admitted: the internal kind of code 70; [`Request::Admit`] |
//! | 6 | what else actors make and that waits to be admitted, and what autoscalers go by: the internal kinds of codes 71 and 72; [`Input::Measured`] |
//!
//! What only the leader's decisions depend on needs no level: it decides, and the others fold what it decided. A level that was released is
//! as it is: what is new belongs to the next one. The compiler asks for the level of every new kind and variant.

use crate::{
    change::Change,
    entry::{Entry, Turned},
    input::{Input, Outcome, Part, Rejection, Request},
    kind::{Custom, Kind},
    object::{DefinitionDigest, Document, ObjectKey},
};

/// The newest level that this build knows.
pub const LEVEL: u32 = 6;
/// Where every cluster begins, and what builds know that never heard of levels.
pub const FIRST: u32 = 1;
/// From here on documents of custom kinds may say in which version they are. Whoever makes them looks before; an older build would show
/// them in that version whatever it was asked for.
pub const VERSIONED: u32 = 4;

/// The level that brought the kind with this code; none for a code without one.
pub(crate) const fn of_code(code: u16) -> Option<u32> {
    match code {
        1..=15 | 20..=26 | 30..=54 => Some(1),
        55 | 60 | 61 | Custom::CODE => Some(2),
        27 => Some(3),
        70 => Some(5),
        71 | 72 => Some(6),
        _ => None,
    }
}

impl Kind {
    /// The level that brought it.
    pub fn level(self) -> u32 {
        of_code(self.code()).unwrap_or(LEVEL)
    }
}

impl ObjectKey {
    fn level(&self) -> u32 {
        self.kind.level()
    }
}

impl Part {
    fn level(self) -> u32 {
        match self {
            Part::Main | Part::Status | Part::Scale | Part::Finalize => 1,
            Part::Whole => 2,
        }
    }
}

impl Request {
    /// The lowest level at which it can be decided and logged.
    pub fn level(&self) -> u32 {
        match self {
            Request::Create { key, document, .. } => key.level().max(of_document(key, document)),
            Request::Delete { key, .. } | Request::Bind { key, .. } => key.level(),
            Request::Admit { key, .. } => key.level().max(5),
            Request::Update { key, document, part, .. } => {
                key.level().max(part.level()).max(of_document(key, document))
            }
            Request::By { request, .. } => request.level().max(2),
        }
    }
}

/// The level of what a document asks for: an older build would convert objects of such a definition by name only.
fn of_document(key: &ObjectKey, document: &Document) -> u32 {
    let asks = key.kind == Kind::CUSTOM_RESOURCE_DEFINITION && DefinitionDigest::of_webhook(document);
    if asks { VERSIONED } else { FIRST }
}

impl Input {
    /// The lowest level at which its form in the log can be read.
    pub fn level(&self) -> u32 {
        match self {
            Input::Api(request) => request.level(),
            Input::Wake(keys) | Input::Place(keys) => highest(keys.iter().map(ObjectKey::level)),
            Input::NodeHello(_) | Input::Verdicts(_) | Input::Reports(_) => 1,
            // Objects are left out of the log.
            Input::Bootstrap(_) => 1,
            Input::Raise { level, .. } => (*level).max(2),
            Input::Measured(_) => 6,
        }
    }
}

impl Change {
    /// The lowest level at which it can be read; of a raise, the level that it raises to.
    pub fn level(&self) -> u32 {
        match self {
            Change::Put { key, .. } | Change::Delete { key } | Change::Wake { key, .. } => key.level(),
            Change::Level(level) => (*level).max(2),
        }
    }
}

impl Outcome {
    fn level(&self) -> u32 {
        match self {
            Outcome::Done => 1,
            Outcome::Object { key, .. } | Outcome::Deleted { key, .. } => key.level(),
            Outcome::Rejected(rejection) => rejection.level(),
        }
    }
}

impl Rejection {
    fn level(&self) -> u32 {
        match self {
            Rejection::NotFound(key)
            | Rejection::AlreadyExists(key)
            | Rejection::Conflict(key, _)
            | Rejection::Forbidden(key, _)
            | Rejection::NamespaceTerminating(key)
            | Rejection::Invalid(key, ..)
            | Rejection::TooManyRequests(key, _)
            | Rejection::Unsupported(key, _) => key.level(),
            Rejection::Level { .. } => 2,
        }
    }
}

impl Turned {
    fn level(&self) -> u32 {
        let changes = highest(self.changes.iter().map(Change::level));
        changes.max(self.input.level()).max(self.outcome.level())
    }
}

impl Entry {
    /// The lowest level at which a controller can read it.
    pub fn level(&self) -> u32 {
        highest(self.turns.iter().map(Turned::level))
    }
}

fn highest(levels: impl Iterator<Item = u32>) -> u32 {
    levels.max().unwrap_or(FIRST)
}
