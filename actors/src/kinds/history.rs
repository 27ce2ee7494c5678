//! The templates that a DaemonSet or StatefulSet has had, each in a ControllerRevision: what `kubectl rollout history` lists and
//! `kubectl rollout undo` goes back to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::claim;
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{Document, Object, ObjectKey, Selector, template::Fingerprint},
    turn::Turn,
};

/// The label by which pods name the revision that they are of.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";
/// An owner's name is cut to this in those of its revisions.
const PREFIX_MAX: usize = 223;
/// How many names are tried when they are taken.
const NAME_TRIES: usize = 16;

/// What the history of a kind is kept by.
pub(super) struct Keeping<'a> {
    /// Which revisions are the owner's.
    pub selector: &'a Selector,
    /// The present template.
    pub template: Fingerprint,
    /// Times a name was taken before.
    pub collisions: i64,
    /// The label of a revision that names its hash.
    pub label: &'static str,
    /// Revisions without an owner are looked for: the owner's spec is new.
    pub adopts: bool,
}

/// The revisions of an owner.
pub(super) struct History {
    /// That of the present template.
    pub current: Arc<Object>,
    /// All others, the oldest first.
    pub old: Vec<Arc<Object>>,
    /// Times a name was taken.
    pub collisions: i64,
}

/// The number of a revision: the highest is that of the present template.
pub(super) fn number(revision: &Object) -> i64 {
    revision.document.rest_value()["revision"].as_i64().unwrap_or(0)
}

/// The template of a revision.
pub(super) fn template(revision: &Object) -> Value {
    let mut data = revision.document.rest_value();
    let mut template = data.pointer_mut("/data/spec/template").map(Value::take).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    template
}

/// Brings an owner's history up to date: its present template is the highest revision, new or gone back to. None when no name for
/// it is free.
pub(super) fn keep(turn: &mut Turn, me: &Object, by: &Keeping<'_>) -> Option<History> {
    if by.adopts {
        adopt(turn, me, by.selector);
    }
    let mut old = claim::owned(turn, me, Kind::CONTROLLER_REVISION);
    old.retain(|revision| !revision.meta.deleting());
    old.sort_by_cached_key(|revision| (number(revision), revision.meta.created_ms, revision.key.clone()));
    let found = old.iter().rposition(|revision| Fingerprint::of(&template(revision)) == by.template);
    let found = found.map(|at| old.remove(at));
    let next = old.last().map_or(0, |revision| number(revision)) + 1;
    let (current, collisions) = match found {
        Some(current) if number(&current) < next => (renumber(turn, &current, next), by.collisions),
        Some(current) => (current, by.collisions),
        None => create(turn, me, by, next)?,
    };
    Some(History { current, old, collisions })
}

/// Deletes the oldest revisions beyond the limit that nothing is of.
pub(super) fn cut(turn: &mut Turn, history: &History, limit: i64, lives: impl Fn(&Object) -> bool) {
    let surplus = history.old.len().saturating_sub(usize::try_from(limit.max(0)).unwrap_or(usize::MAX));
    for revision in history.old.iter().filter(|revision| !lives(revision)).take(surplus) {
        // It exists and there are no preconditions, so this is not refused.
        let _ = turn.delete(&revision.key, &DeleteOptions::default());
    }
}

fn adopt(turn: &mut Turn, me: &Object, selector: &Selector) {
    let revisions = turn.state().list(Kind::CONTROLLER_REVISION, Some(&me.key.namespace));
    let orphans: Vec<ObjectKey> = revisions
        .filter(|r| r.meta.controller().is_none() && !r.meta.deleting() && selector.matches(&r.meta.labels))
        .map(|revision| revision.key.clone())
        .collect();
    orphans.iter().for_each(|key| claim::adopt(turn, key, me));
}

fn renumber(turn: &mut Turn, revision: &Object, number: i64) -> Arc<Object> {
    let mut value = revision.document.to_value();
    value["revision"] = number.into();
    turn.put(&revision.key, Document::from_value(value))
}

fn create(turn: &mut Turn, me: &Object, by: &Keeping<'_>, number: i64) -> Option<(Arc<Object>, i64)> {
    let mut template = me.document.spec_value()["template"].take();
    let mut labels = template["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    // As Kubernetes' own types have it, so that clients find the present template among the revisions byte for byte.
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    template["metadata"]["creationTimestamp"] = Value::Null;
    // Applied to the owner as a strategic merge patch, it brings the template back.
    template["$patch"] = "replace".into();
    let prefix = prefix(&me.key.name);
    for collisions in (by.collisions..).take(NAME_TRIES) {
        let hash = by.template.hash(collisions);
        labels[by.label] = hash.as_str().into();
        let revision = json!({
            "metadata": {
                "name": format!("{prefix}-{hash}"), "namespace": me.key.namespace, "labels": labels,
                "annotations": me.meta.annotations, "ownerReferences": [Turn::controller_reference(me)],
            },
            "data": {"spec": {"template": template}}, "revision": number,
        });
        if let Some(revision) = turn.create(Kind::CONTROLLER_REVISION, revision) {
            return Some((revision, collisions));
        }
    }
    None
}

fn prefix(name: &str) -> &str {
    let mut end = name.len().min(PREFIX_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
