//! A collection at one revision: the state as it is, or as it was some events ago, made by undoing these events. So a
//! list in pages is consistent on every controller, and nothing is held between the pages.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use kontiki_actors::{Object, ObjectKey, State};

use super::selection::Selection;
use crate::{
    backend::{Backend, Freshness},
    feed::Expired,
    status::Status,
};

/// Events read from the feed at a time.
const BATCH: usize = 1024;

/// Bytes and objects of a part of a collection that is looked at as a whole.
const PART: usize = 1 << 20;
const PARTS: usize = 256;

/// The state at a revision.
pub(crate) struct Snapshot {
    state: State,
    revision: u64,
    undone: BTreeMap<ObjectKey, Option<Arc<Object>>>,
}

/// Why there is no snapshot.
pub(crate) enum NoSnapshot {
    /// The revision is too old.
    Expired(Expired),
    /// The cluster cannot answer.
    Status(Status),
}

impl Snapshot {
    /// The state of a view.
    pub(crate) async fn now(backend: &dyn Backend, freshness: Freshness) -> Result<Snapshot, Status> {
        let state = backend.view(freshness).await?;
        Ok(Snapshot { revision: state.revision(), state, undone: BTreeMap::new() })
    }

    /// The state as it was at a revision.
    pub(crate) async fn at(backend: &dyn Backend, revision: u64) -> Result<Snapshot, NoSnapshot> {
        let fresh = Freshness::AtLeast(revision);
        let state = backend.view(fresh).await.map_err(|e| NoSnapshot::Status(e.into()))?;
        let feed = backend.feed();
        let mut undone = BTreeMap::new();
        let mut after = revision;
        while after < state.revision() {
            let batch = feed.read(after, BATCH).map_err(NoSnapshot::Expired)?;
            if batch.events.is_empty() && batch.revision <= after {
                // The view is a moment ahead of the feed.
                feed.changed(after).await;
                continue;
            }
            for event in batch.events.iter().filter(|e| e.event.revision <= state.revision()) {
                // The first undone event of an object knows what the object was before all of them.
                undone.entry(event.event.key().clone()).or_insert_with(|| event.event.old.clone());
            }
            after = batch.revision;
        }
        Ok(Snapshot { state, revision, undone })
    }

    /// Its revision.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Shows the objects of a selection's kind and namespace that follow a key, in order, until told to stop. What is shown may be
    /// more than the selection: it is narrowed here only where an index helps.
    pub(crate) fn visit(
        &self,
        selection: &Selection,
        after: Option<&ObjectKey>,
        mut show: impl FnMut(&Arc<Object>) -> ControlFlow<()>,
    ) {
        let (kind, namespace) = (selection.kind, selection.namespace.as_deref());
        // The index knows the present only.
        if let Some(node) = selection.node().filter(|_| self.undone.is_empty()) {
            let pods = self.state.pods_on(node).filter(|pod| {
                namespace.is_none_or(|n| n == pod.key.namespace) && after.is_none_or(|after| pod.key > *after)
            });
            for pod in pods {
                if show(pod).is_break() {
                    return;
                }
            }
            return;
        }
        let mut current = match after {
            Some(after) => self.state.list_after(after, namespace),
            None => self.state.list(kind, namespace),
        }
        .peekable();
        let from = match after {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(ObjectKey::new(kind, namespace.unwrap_or(""), "")),
        };
        let inside = |key: &ObjectKey| key.kind == kind && namespace.is_none_or(|n| n == key.namespace);
        let mut undone =
            self.undone.range((from, Bound::Unbounded)).take_while(|(key, _)| inside(key)).peekable();
        loop {
            let next_current = current.peek().map(|object| &object.key);
            let shown = match (next_current, undone.peek()) {
                (None, None) => return,
                (Some(key), Some((earlier, _))) if key < *earlier => current.next().cloned(),
                (Some(_), None) => current.next().cloned(),
                (key, Some((earlier, _))) => {
                    if key == Some(*earlier) {
                        current.next();
                    }
                    undone.next().and_then(|(_, old)| old.clone())
                }
            };
            if let Some(object) = shown
                && show(&object).is_break()
            {
                return;
            }
        }
    }

    /// Some of the objects that could belong to a selection and follow a key, in order: a part that is worth a question about them, and
    /// none only when there are no more.
    pub(crate) fn some(&self, selection: &Selection, after: Option<&ObjectKey>) -> Vec<Arc<Object>> {
        let (mut some, mut bytes) = (Vec::new(), 0);
        self.visit(selection, after, |object| {
            if selection.is_place_of(object) {
                bytes += object.document.len();
                some.push(object.clone());
            }
            if bytes < PART && some.len() < PARTS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        some
    }

    /// One object.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        match self.undone.get(key) {
            Some(old) => old.as_ref(),
            None => self.state.get(key),
        }
    }
}
