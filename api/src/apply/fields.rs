//! The paths that a document mentions: what somebody who applies it wants to own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{element::Element, set::Set, shape::Owning};

/// The paths of a document of a type.
pub(super) fn fields(of: Owning<'_>, value: &Value) -> Set {
    below(of, value).1
}

/// Whether the value itself is one of them, and what is below it.
fn below(owning: Owning<'_>, value: &Value) -> (bool, Set) {
    match (owning.seen(Some(value), None), value) {
        (Owning::Whole, _) => (true, Set::default()),
        (owning, Value::Array(items)) if owning.is_list() => (false, elements(owning, items)),
        (owning, Value::Object(map)) if !owning.is_list() => {
            let mut set = Set::default();
            for (name, value) in map {
                let (leaf, below) = below(owning.field(name), value);
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                set.put(Element::field(name), leaf || empty || !owning.declares(name), below);
            }
            (false, set)
        }
        _ => (false, Set::default()),
    }
}

fn elements(owning: Owning<'_>, items: &[Value]) -> Set {
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    let steps: Vec<(Element, &Value)> =
        items.iter().filter_map(|item| Some((owning.step(item).ok()?, item))).collect();
    for (step, _) in &steps {
        if !seen.insert(step) {
            repeated.insert(step);
        }
    }
    let mut set = Set::default();
    for (step, item) in &steps {
        let below = if repeated.contains(step) { Set::default() } else { below(owning.element(), item).1 };
        set.put(step.clone(), true, below);
    }
    set
}

/// The same set with the declared fields that lead to what is in it: those are owned with what they hold.
pub(super) fn with_named(of: Owning<'_>, set: &Set) -> Set {
    named(of, set)
}

fn named(owning: Owning<'_>, set: &Set) -> Set {
    let mut out = Set::default();
    for (element, member, below) in set.steps() {
        let (inner, declared) = match element {
            Element::Field(name) if !owning.is_list() => (owning.field(name), owning.declares(name)),
            Element::Key(_) => (owning.element(), false),
            _ => (Owning::Whole, false),
        };
        out.put(element.clone(), member || (declared && !below.is_empty()), named(inner, below));
    }
    out
}
