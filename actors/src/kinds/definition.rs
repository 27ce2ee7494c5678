//! A CustomResourceDefinition: which of its names it gets, since when its kind is served, and its end, which takes all objects of the kind
//! along. The schema is the business of `api/`.

use serde_json::{Value, json};

use super::condition;
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{DefinitionDigest, Names, Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// The finalizer by which a definition waits for the objects of its kind.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How many definitions a cluster takes: each request for a custom kind that is not known yet looks at them.
pub const LIMIT: usize = 2000;
/// Objects deleted by one reaction: the rest follows in next turns.
const BATCH: usize = 500;

/// Accepts names and serves the kind; empties one that is deleted.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(definition) = me.definition() else { return };
    if me.meta.deleting() {
        empty(turn, me, definition);
        return;
    }
    let (accepted, conflict) = accept(turn.state(), me, definition);
    let now = turn.now();
    let mut status = me.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    let mut set = |kind: &str, value: bool, reason: &str, message: &str| {
        condition::set(&mut status, kind, if value { "True" } else { "False" }, reason, message, &now);
    };
    match &conflict {
        Some((reason, message)) => set("NamesAccepted", false, reason, message),
        None => set("NamesAccepted", true, "NoConflicts", "no conflicts found"),
    }
    // What is served stays served.
    if !definition.established() {
        match conflict {
            Some(_) => set("Established", false, "NotAccepted", "not all names are accepted"),
            None => {
                set("Established", true, "InitialNamesAccepted", "the initial names have been accepted");
            }
        }
    }
    status["acceptedNames"] = written(&accepted);
    let mut stored = definition.status.stored_versions.clone();
    for version in definition.versions.iter().filter(|version| version.storage) {
        if !stored.contains(&version.name) {
            stored.push(version.name.clone());
        }
    }
    status["storedVersions"] = json!(stored);
    turn.put_status(me, status);
}

/// Lets definitions that wait for a name look again when others of their group gave some up, or got some.
pub(crate) fn changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let names = |object: Option<&Object>| {
        object.and_then(Object::definition).map(|definition| definition.status.accepted_names.clone())
    };
    if names(old) == names(new) {
        return;
    }
    let Some(group) = old.or(new).and_then(Object::definition).map(|d| d.group.clone()) else { return };
    let all = turn.state().list(Kind::CUSTOM_RESOURCE_DEFINITION, None);
    let waiting =
        all.filter(|other| other.definition().is_some_and(|d| d.group == group && !d.holds("NamesAccepted")));
    let waiting: Vec<ObjectKey> = waiting.map(|other| other.key.clone()).collect();
    waiting.iter().for_each(|key| turn.notify(key));
}

/// The names that it gets, and the last that others have.
fn accept(
    state: &State,
    me: &Object,
    definition: &DefinitionDigest,
) -> (Names, Option<(&'static str, String)>) {
    let (mut resources, mut kinds) = (Vec::new(), Vec::new());
    for other in state.list(Kind::CUSTOM_RESOURCE_DEFINITION, None).filter(|other| other.key != me.key) {
        let Some(other) = other.definition().filter(|other| other.group == definition.group) else {
            continue;
        };
        let names = &other.status.accepted_names;
        resources.extend([&names.plural, &names.singular].into_iter().chain(&names.short_names).cloned());
        kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
    let (wanted, mut accepted) = (&definition.names, definition.status.accepted_names.clone());
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (reason, wanted, got, taken) in [
        ("PluralConflict", &wanted.plural, &mut accepted.plural, &resources),
        ("SingularConflict", &wanted.singular, &mut accepted.singular, &resources),
        ("KindConflict", &wanted.kind, &mut accepted.kind, &kinds),
        ("ListKindConflict", &wanted.list_kind, &mut accepted.list_kind, &kinds),
    ] {
        if taken.contains(wanted) {
            conflict = Some((reason, in_use(wanted)));
        } else {
            got.clone_from(wanted);
        }
    }
    let taken: Vec<String> =
        wanted.short_names.iter().filter(|n| resources.contains(n)).map(|n| in_use(n)).collect();
    match taken.as_slice() {
        [] => accepted.short_names.clone_from(&wanted.short_names),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
    accepted.categories.clone_from(&wanted.categories);
    (accepted, conflict)
}

fn written(names: &Names) -> Value {
    let mut value = json!({"plural": names.plural, "kind": names.kind});
    for (key, text) in [("singular", &names.singular), ("listKind", &names.list_kind)] {
        if !text.is_empty() {
            value[key] = text.as_str().into();
        }
    }
    for (key, list) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !list.is_empty() {
            value[key] = json!(list);
        }
    }
    value
}

/// Deletes the objects of the kind; lets the definition go when none is left.
fn empty(turn: &mut Turn, me: &Object, definition: &DefinitionDigest) {
    if !me.meta.finalizers.iter().any(|f| f == FINALIZER) {
        return;
    }
    if turn.state().wake_of(&me.key) == Some(turn.now_ms()) {
        // Asked for in this turn: the rest is a next turn's.
        return;
    }
    let kind = definition.kind();
    // One that never was served has none, whatever others of that name have.
    let served = definition.established();
    let state = turn.state();
    let all = state.list(kind, None).filter(|o| served && !o.meta.deleting());
    let keys: Vec<ObjectKey> = all.take(BATCH).map(|o| o.key.clone()).collect();
    let mut more = keys.len() == BATCH;
    for key in keys {
        if turn.full() {
            more = true;
            break;
        }
        // What its owner's deletion took along before is gone already: nothing to refuse, nothing to say.
        let _ = turn.delete(&key, &DeleteOptions::default());
    }
    if more {
        let now = turn.now_ms();
        turn.wake(&me.key, Some(now));
    }
    if !more && (!served || turn.state().list(kind, None).next().is_none()) {
        turn.edit_metadata(&me.key, |metadata| {
            if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
                list.retain(|finalizer| finalizer != FINALIZER);
                if list.is_empty() {
                    metadata.remove("finalizers");
                }
            }
        });
        turn.finish_deletion(&me.key);
        return;
    }
    let now = turn.now();
    let mut status = me.document.status_value();
    let message = "CustomResource deletion is in progress";
    condition::set(&mut status, "Terminating", "True", "InstanceDeletionInProgress", message, &now);
    turn.put_status(me, status);
}
