//! What two versions of an object differ in, as paths.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use super::{
    element::{Element, equal},
    set::Set,
    shape::Owning,
    zeros::{has_zeros, zero},
};
/// The paths in which two versions of an object differ. None is in two of the sets.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Only the new one has them.
    pub(super) added: Set,
    /// Both have them, with other values.
    pub(super) modified: Set,
    /// Only the old one has them.
    pub(super) removed: Set,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Removed,
}

/// What was found at a step: of it itself, and below it.
#[derive(Default)]
struct Found {
    itself: Option<Change>,
    below: Comparison,
}

/// Compares two versions of an object of a type, as they are or would be stored.
pub(super) fn compare(of: Owning<'_>, old: &Value, new: &Value) -> Comparison {
    Walk { literal: false }.walk(of, Some(old), Some(new)).below
}

/// The same where zeros and nulls that the new version holds are meant: somebody applies them.
pub(super) fn compare_literally(of: Owning<'_>, old: &Value, new: &Value) -> Comparison {
    Walk { literal: true }.walk(of, Some(old), Some(new)).below
}

impl Comparison {
    fn put(&mut self, element: impl Fn() -> Element, found: Found) {
        let Found { itself, below } = found;
        for (set, below, change) in [
            (&mut self.added, below.added, Change::Added),
            (&mut self.modified, below.modified, Change::Modified),
            (&mut self.removed, below.removed, Change::Removed),
        ] {
            let member = itself == Some(change);
            if member || !below.is_empty() {
                set.put(element(), member, below);
            }
        }
    }
}

struct Walk {
    /// Whether what Go would leave out counts as there.
    literal: bool,
}

impl Walk {
    fn walk(&self, owning: Owning<'_>, old: Option<&Value>, new: Option<&Value>) -> Found {
        if let (Some(old), Some(new)) = (old, new)
            && old == new
        {
            return Found::default();
        }
        match owning.seen(old, new) {
            Owning::Whole => leaf(old, new),
            owning if owning.is_list() => self.list(owning, old, new),
            owning => self.object(owning, old, new),
        }
    }

    fn object(&self, owning: Owning<'_>, old: Option<&Value>, new: Option<&Value>) -> Found {
        let (a, b) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
        let written = |map: Option<&Map<String, Value>>| map.is_some_and(|map| !map.is_empty());
        let zeros = match owning {
            Owning::Struct(of) => a.is_some() != b.is_some() && has_zeros(of),
            _ => false,
        };
        if !written(a) && !written(b) && !zeros {
            return leaf(old, new);
        }
        let mut below = Comparison::default();
        let mut step = |name: &str| {
            let (old, new) = (self.child(owning, a, name), self.child(owning, b, name));
            let found = self.walk(owning.field(name), old.as_deref(), new.as_deref());
            below.put(|| Element::field(name), found);
        };
        for name in a.into_iter().flat_map(Map::keys) {
            step(name);
        }
        for name in b.into_iter().flat_map(Map::keys).filter(|name| a.is_none_or(|a| !a.contains_key(*name)))
        {
            step(name);
        }
        if let Owning::Struct(of) = owning
            && zeros
        {
            let there = |name: &str| a.or(b).is_some_and(|map| map.contains_key(name));
            for field in of.fields.iter().filter(|field| zero(field).is_some() && !there(field.name)) {
                step(field.name);
            }
        }
        Found { itself: came_or_went(old, new), below }
    }

    /// A field of an object as Go has it: what is as good as absent is absent, and what cannot be absent is there.
    fn child<'a>(
        &self,
        owning: Owning<'_>,
        map: Option<&'a Map<String, Value>>,
        name: &str,
    ) -> Option<Cow<'a, Value>> {
        let value = map?.get(name);
        let Owning::Struct(of) = owning else { return value.map(Cow::Borrowed) };
        let Some(field) = of.field(name) else { return value.map(Cow::Borrowed) };
        match value {
            Some(value) if !self.literal && field.leaves_out(value) => None,
            Some(value) => Some(Cow::Borrowed(value)),
            None => zero(field).map(Cow::Owned),
        }
    }

    fn list(&self, owning: Owning<'_>, old: Option<&Value>, new: Option<&Value>) -> Found {
        let items =
            |value: Option<&'_ Value>| value.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        if !items(old) && !items(new) {
            return leaf(old, new);
        }
        let mut pairs: BTreeMap<Element, Pair<'_>> = BTreeMap::new();
        for item in old.and_then(Value::as_array).into_iter().flatten() {
            // What no step leads to is owned by nobody.
            if let Ok(step) = owning.step(item) {
                pairs.entry(step).or_default().old.push(item);
            }
        }
        for item in new.and_then(Value::as_array).into_iter().flatten() {
            if let Ok(step) = owning.step(item) {
                pairs.entry(step).or_default().new.push(item);
            }
        }
        let mut below = Comparison::default();
        for (step, pair) in pairs {
            self.element(owning.element(), &step, &pair, &mut below);
        }
        Found { itself: came_or_went(old, new), below }
    }

    /// Compares elements of the same keys. Several of them in one list are owned like one value.
    fn element(&self, owning: Owning<'_>, step: &Element, pair: &Pair<'_>, out: &mut Comparison) {
        let mark = |change| Found { itself: Some(change), ..Found::default() };
        match (pair.old.as_slice(), pair.new.as_slice()) {
            (old @ ([] | [_]), new @ ([] | [_])) => {
                out.put(|| step.clone(), self.walk(owning, old.first().copied(), new.first().copied()));
            }
            (old, new) if old.len() > 1 && new.len() > 1 => {
                if old != new {
                    out.put(|| step.clone(), mark(Change::Modified));
                }
            }
            (old, new) if old.len() > 1 => {
                if let Some(new) = new.first() {
                    out.put(|| step.clone(), self.walk(owning, None, Some(new)));
                }
                out.put(|| step.clone(), mark(Change::Removed));
            }
            (old, _) => {
                if let Some(old) = old.first() {
                    out.put(|| step.clone(), self.walk(owning, Some(old), None));
                }
                out.put(|| step.clone(), mark(Change::Added));
            }
        }
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Found {
    let itself = match (old, new) {
        (None, None) => None,
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(old), Some(new)) => (!equal(old, new)).then_some(Change::Modified),
    };
    Found { itself, ..Found::default() }
}

fn came_or_went(old: Option<&Value>, new: Option<&Value>) -> Option<Change> {
    match (old, new) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        _ => None,
    }
}

/// The elements of two lists that are told apart by the same step.
#[derive(Default)]
struct Pair<'a> {
    old: Vec<&'a Value>,
    new: Vec<&'a Value>,
}
