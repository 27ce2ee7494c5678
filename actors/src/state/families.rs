//! Families: objects of which many are alike, as the pods of one ReplicaSet and what was told of them. Their members hold a document by what is
//! different from a model of the family, and what they have in common once. All of that shows in memory only: whether an object is told by a
//! model, and by which, says nothing about it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use imbl::OrdMap;

use crate::{
    kind::Kind,
    object::{Digest, Document, Object, Packed, PodWants, difference::Model, meta::CommonMeta},
};

/// How many families are known. A model and its places take some 5 KB for a pod, so these are some tens of megabytes at the most. Of one that
/// is forgotten, members keep the model; those to come get another one.
const FAMILIES_MAX: usize = 4096;
/// Longer documents are held whole. With it no model takes more than twice as much.
const TEXT_MAX: usize = 16 << 10;
/// A model is good for what takes at most one part in so many when it is told by it: in a family of its own, and in that of all of its kind.
const GOOD: [usize; 2] = [3, 2];

/// The families that are known, by the hash of what makes them one.
#[derive(Clone, Default)]
pub(super) struct Families(OrdMap<u64, Known>);

#[derive(Clone)]
enum Known {
    /// One member was seen, with this hash of its key: who is alone needs no model.
    One(u64),
    Family(Arc<Family>),
}

struct Family {
    model: Model,
    meta: Arc<CommonMeta>,
    wants: Option<Arc<PodWants>>,
}

impl Families {
    /// Has a new object hold its document as its family does.
    pub(super) fn hold(&mut self, object: &mut Object) {
        if !matches!(object.key.kind, Kind::POD | Kind::EVENT) || object.document.len() > TEXT_MAX {
            return;
        }
        let document = &object.document.whole();
        let families = families(object, document);
        let Document { metadata, spec, status, rest } = document;
        let text = [&metadata[..], spec, status, rest].concat();
        let me = hash(&object.key);
        // Where its own family has no model yet, that of all of the kind is better than none.
        for (id, good) in families.into_iter().zip(GOOD) {
            let family = match self.0.get(&id) {
                None => {
                    self.know(id, Known::One(me));
                    continue;
                }
                Some(Known::One(other)) if *other == me => continue,
                Some(Known::One(_)) => None,
                Some(Known::Family(family)) => Some(family.clone()),
            };
            let told = family.map(|family| (Packed::told_by(document, &text, &family.model), family));
            let told = told.filter(|(told, _)| told.held() * good <= text.len());
            let Some((told, family)) = told.or_else(|| self.renewed(id, object, document, &text)) else {
                return;
            };
            family.share(object);
            object.document = told;
            return;
        }
    }

    /// The family after this member, which is not like those before it.
    fn renewed(
        &mut self,
        id: u64,
        object: &Object,
        document: &Document,
        text: &[u8],
    ) -> Option<(Packed, Arc<Family>)> {
        let wants = object.pod().map(|pod| pod.wants().clone());
        let family = Arc::new(Family { model: Model::of(text)?, meta: object.meta.common().clone(), wants });
        self.know(id, Known::Family(family.clone()));
        Some((Packed::told_by(document, text, &family.model), family))
    }

    fn know(&mut self, id: u64, known: Known) {
        self.0.insert(id, known);
        if self.0.len() > FAMILIES_MAX {
            // Any will do: hashes have no order.
            let next = self.0.range((Bound::Excluded(id), Bound::Unbounded)).next().map(|(id, _)| *id);
            if let Some(gone) = next.or_else(|| self.0.get_min().map(|(id, _)| *id)) {
                self.0.remove(&gone);
            }
        }
    }
}

impl Family {
    fn share(&self, object: &mut Object) {
        let common = object.meta.common();
        if !Arc::ptr_eq(common, &self.meta) && **common == *self.meta {
            Arc::make_mut(&mut object.meta).share(&self.meta);
        }
        if let (Digest::Pod(pod), Some(wants)) = (&mut object.digest, &self.wants) {
            pod.share(wants);
        }
    }
}

/// The families that an object is of, the closest first: pods are like those of the same owner, events like those of the same reason.
fn families(object: &Object, document: &Document) -> [u64; 2] {
    let kind = object.key.kind;
    let close = match object.meta.controller() {
        _ if kind == Kind::EVENT => hash(&(kind, reason(&document.rest))),
        Some(owner) => hash(&(kind, &owner.uid)),
        None => hash(&(kind, &object.key.namespace)),
    };
    [close, hash(&kind)]
}

/// The reason of an event, roughly: it only has to be the same for those that are alike. Within a text its quotes would be escaped.
fn reason(rest: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"\"reason\":\"";
    let found = rest.windows(NAME.len()).rposition(|here| here == NAME);
    let after = found.map_or(&b""[..], |at| &rest[at + NAME.len()..]);
    &after[..after.iter().position(|byte| *byte == b'"').unwrap_or(0)]
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{change::Change, object::ObjectKey, state::State};

    fn pod(name: &str, owner: &str, phase: &str) -> (ObjectKey, Document) {
        let document = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-of-{name}"), "labels": {"app": owner},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]},
            "spec": {"containers": [{"name": "main", "image": format!("registry.example.com/{owner}:1"), "resources": {}}]},
            "status": {"phase": phase, "qosClass": "BestEffort"}});
        (ObjectKey::new(Kind::POD, "n", name), Document::from_value(document))
    }

    fn put(state: &mut State, (key, document): (ObjectKey, Document)) -> Arc<Object> {
        let old = state.get(&key).map(|old| old.document.whole());
        state.apply(&Change::between(key.clone(), old.as_ref(), &document).expect("a change"));
        let object = state.get(&key).expect("just put").clone();
        assert_eq!(object.document.whole(), document);
        let fresh = Object::new(key, object.revision, document);
        assert_eq!((&object.meta, object.pod()), (&fresh.meta, fresh.pod()));
        object
    }

    #[test]
    fn members_of_a_family_hold_what_is_their_own() {
        let mut state = State::default();
        let first = put(&mut state, pod("a-1", "a", "Pending"));
        assert_eq!(first.document.held(), first.document.len(), "alone");
        put(&mut state, pod("a-2", "a", "Pending"));
        let (one, two) =
            (put(&mut state, pod("a-1", "a", "Running")), put(&mut state, pod("a-3", "a", "Pending")));
        for pod in [&one, &two] {
            assert!(pod.document.held() * 4 < pod.document.len(), "{}", pod.document.held());
        }
        assert!(Arc::ptr_eq(one.meta.common(), two.meta.common()));
        let wants = |object: &Arc<Object>| object.pod().map(|pod| pod.wants().clone()).expect("a pod");
        assert!(Arc::ptr_eq(&wants(&one), &wants(&two)));
        // One that is alone in its family is told by the model of its kind.
        let (_, other) = pod("b-1", "b", "Pending");
        let other = put(&mut state, (ObjectKey::new(Kind::POD, "n", "b-1"), other));
        assert!(other.document.held() < other.document.len());
        assert!(!Arc::ptr_eq(one.meta.common(), other.meta.common()));
    }

    #[test]
    fn a_family_that_changed_gets_another_model() {
        let mut state = State::default();
        for name in ["a-1", "a-2", "a-3"] {
            put(&mut state, pod(name, "a", "Pending"));
        }
        let grown = |name: &str| {
            let (key, document) = pod(name, "a", "Running");
            let said: String = (0..200).map(|n| format!("{:x}", n * n * 7919)).collect();
            (key, document.with_status(json!({"phase": "Running", "message": said})))
        };
        put(&mut state, grown("a-1"));
        let two = put(&mut state, grown("a-2"));
        assert!(two.document.held() * 4 < two.document.len(), "{}", two.document.held());
    }

    #[test]
    fn families_are_bounded_and_what_is_too_long_is_whole() {
        let mut state = State::default();
        for n in 0..FAMILIES_MAX + 50 {
            let owner = format!("owner-{n}");
            for member in ["x", "y"] {
                put(&mut state, pod(&format!("{owner}-{member}"), &owner, "Pending"));
            }
        }
        assert_eq!(state.families.0.len(), FAMILIES_MAX);
        let (key, document) = pod("long", "owner-1", "Pending");
        let long = put(&mut state, (key, document.with_status(json!({"message": "x".repeat(TEXT_MAX)}))));
        assert_eq!(long.document.held(), long.document.len());
    }

    #[test]
    fn events_of_one_reason_are_a_family() {
        let event = |name: &str, reason: &str| {
            let document = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-of-{name}")},
                "involvedObject": {"kind": "Pod", "name": name}, "message": format!("said \"reason\":\"of {name}\""),
                "reason": reason, "source": {"component": "kubelet"}, "type": "Normal", "reportingComponent": "kubelet"});
            (ObjectKey::new(Kind::EVENT, "n", name), Document::from_value(document))
        };
        let (_, one) = event("one", "Pulled");
        assert_eq!(reason(&one.rest), b"Pulled");
        assert_eq!(reason(b"{}"), b"");
        assert_eq!(reason(b"\"reason\":\"cut"), b"");
        let mut state = State::default();
        put(&mut state, event("one", "Pulled"));
        put(&mut state, event("two", "Pulled"));
        let three = put(&mut state, event("three", "Pulled"));
        assert!(three.document.held() * 4 < three.document.len(), "{}", three.document.held());
    }
}
