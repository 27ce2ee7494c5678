//! A change: one object put or deleted, one step of the revision; and the event that watchers see of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::object::{Document, Object, ObjectKey};

/// What an entry does to the state. Carries only the segments of a document that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// The object is new or has these new segments; an absent one stays as it is. An empty one is removed.
    Put {
        /// Which object.
        key: ObjectKey,
        /// New metadata.
        metadata: Option<Bytes>,
        /// New spec.
        spec: Option<Bytes>,
        /// New status.
        status: Option<Bytes>,
        /// New other fields.
        rest: Option<Bytes>,
    },
    /// The object is gone.
    Delete {
        /// Which object.
        key: ObjectKey,
    },
    /// When its actor is to be woken; no revision, no event.
    Wake {
        /// Which object.
        key: ObjectKey,
        /// Unix milliseconds; none: not at all.
        at_ms: Option<i64>,
    },
    /// The cluster is at this level from now on; no revision, no event. It never falls.
    Level(u32),
}

impl Change {
    /// The change that turns the old document into the new one; none when they are equal.
    pub fn between(key: ObjectKey, old: Option<&Document>, new: &Document) -> Option<Change> {
        let differs = |old: Option<&Bytes>, new: &Bytes| match old {
            Some(old) if old == new => None,
            None if new.is_empty() => None,
            _ => Some(new.clone()),
        };
        let metadata = differs(old.map(|d| &d.metadata), &new.metadata);
        let spec = differs(old.map(|d| &d.spec), &new.spec);
        let status = differs(old.map(|d| &d.status), &new.status);
        let rest = differs(old.map(|d| &d.rest), &new.rest);
        let same = metadata.is_none() && spec.is_none() && status.is_none() && rest.is_none();
        if same && old.is_some() { None } else { Some(Change::Put { key, metadata, spec, status, rest }) }
    }

    /// The object it is about, if it is about one.
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Change::Put { key, .. } | Change::Delete { key } | Change::Wake { key, .. } => Some(key),
            Change::Level(_) => None,
        }
    }

    /// Bytes of documents in it.
    pub fn weight(&self) -> usize {
        match self {
            Change::Put { metadata, spec, status, rest, .. } => {
                [metadata, spec, status, rest].into_iter().flatten().map(Bytes::len).sum::<usize>() + 64
            }
            _ => 64,
        }
    }
}

/// What a change did, for watchers: both states of the object, at the change's revision.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the change.
    pub revision: u64,
    /// Before; none when it was created.
    pub old: Option<Arc<Object>>,
    /// After; none when it was deleted.
    pub new: Option<Arc<Object>>,
    /// The W3C trace context of the request that led to it.
    pub trace: Option<Arc<str>>,
}

impl Event {
    /// The object it is about.
    pub fn key(&self) -> &ObjectKey {
        let object = self.new.as_ref().or(self.old.as_ref());
        &object.expect("an event has at least one of both states").key
    }
}
