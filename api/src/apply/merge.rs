//! What an object becomes when a document is applied to it: everything that the document says, and everything else as it was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::{element::Element, shape::Owning};

/// A document that cannot be applied: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Unfit {
    /// `.spec.ports`.
    pub path: String,
    /// `duplicate entries for key [name="x"]`.
    pub why: String,
}

impl Unfit {
    fn under(self, step: &Element) -> Unfit {
        Unfit { path: format!("{step}{}", self.path), ..self }
    }
}

/// Merges a document into an object of the same type.
pub(super) fn merge(of: Owning<'_>, live: &Value, config: &Value) -> Result<Value, Unfit> {
    Ok(both(of, Some(live), Some(config))?.unwrap_or(Value::Null))
}

fn both(owning: Owning<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<Option<Value>, Unfit> {
    let kept = || Ok(new.or(old).cloned());
    match owning.seen(old, new) {
        Owning::Whole => kept(),
        owning if !owning.is_list() => objects(owning, old, new),
        owning => {
            if as_list(old).is_empty() && as_list(new).is_empty() {
                return kept();
            }
            let merged = lists(owning, as_list(old), as_list(new))?;
            Ok(Some(merged).filter(|list| !list.is_empty()).map(Value::Array))
        }
    }
}

fn as_list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn objects(owning: Owning<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<Option<Value>, Unfit> {
    let (a, b) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let filled = |map: Option<&Map<String, Value>>| map.is_some_and(|map| !map.is_empty());
    if !filled(a) && !filled(b) {
        return Ok(new.or(old).cloned());
    }
    let mut out = Map::new();
    let names: BTreeSet<&String> =
        a.into_iter().flatten().chain(b.into_iter().flatten()).map(|(k, _)| k).collect();
    for name in names {
        let (old, new) = (a.and_then(|map| map.get(name)), b.and_then(|map| map.get(name)));
        let merged = both(owning.field(name), old, new).map_err(|e| e.under(&Element::field(name)))?;
        if let Some(merged) = merged {
            out.insert(name.clone(), merged);
        }
    }
    Ok(Some(out).filter(|out| !out.is_empty()).map(Value::Object))
}

/// The elements of a list with their steps. A step that several elements of the stored list have leads to none of them.
struct Indexed<'a> {
    steps: Vec<Element>,
    items: BTreeMap<Element, Option<&'a Value>>,
}

fn index<'v>(owning: Owning<'_>, list: &'v [Value], repeats: bool) -> Result<Indexed<'v>, Unfit> {
    let mut out = Indexed { steps: Vec::with_capacity(list.len()), items: BTreeMap::new() };
    for (at, item) in list.iter().enumerate() {
        let unfit = |why: String| Unfit { path: String::new(), why };
        let step = owning.step(item).map_err(|error| unfit(format!("element {at}: {error}")))?;
        let again = out.items.contains_key(&step);
        if again && !repeats {
            return Err(unfit(format!("duplicate entries for key {step}")));
        }
        out.items.insert(step.clone(), (!again).then_some(item));
        out.steps.push(step);
    }
    Ok(out)
}

/// Merges two lists: in the order of the new one where it says something, and else in that of the old one.
fn lists(owning: Owning<'_>, old: &[Value], new: &[Value]) -> Result<Vec<Value>, Unfit> {
    let right = index(owning, new, false)?;
    let left = index(owning, old, true)?;
    let mut shared: VecDeque<&Element> =
        right.steps.iter().filter(|step| left.items.contains_key(*step)).collect();
    let mut next = shared.pop_front();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let mut take = |step: &Element, old: Option<&Value>, new: Option<&Value>| -> Result<(), Unfit> {
        out.extend(both(owning.element(), old, new).map_err(|error| error.under(step))?);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    while l < left.steps.len() || r < right.steps.len() {
        if let (Some(a), Some(b)) = (left.steps.get(l), right.steps.get(r)) {
            if a == b {
                done.insert(a);
                take(a, left.items[a], right.items[a])?;
                (l, r) = (l + 1, r + 1);
                next = shared.pop_front();
                continue;
            }
            if right.items.contains_key(a) && next.is_some_and(|next| next != a) {
                // Shared, but its place in the new order is a later one.
                l += 1;
                continue;
            }
        }
        if let Some(a) = left.steps.get(l) {
            if !right.items.contains_key(a) {
                take(a, old.get(l), None)?;
                l += 1;
                continue;
            }
            if done.contains(a) {
                l += 1;
            }
        }
        if let Some(b) = right.steps.get(r) {
            done.insert(b);
            take(b, left.items.get(b).copied().flatten(), right.items[b])?;
            r += 1;
            if next == Some(b) {
                next = shared.pop_front();
            }
        }
    }
    Ok(out)
}
