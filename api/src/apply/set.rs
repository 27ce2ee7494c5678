//! A set of paths into an object, kept as a tree: what somebody owns, and what two versions of an object differ in. A path may be in the
//! set without those below it, and the other way round.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::element::{Element, ElementError};
use crate::schema::reader;

/// Deeper trees are refused before the stack is at risk; no object is that deep: a tree has a level more than the object, for its leaves.
const MAX_DEPTH: usize = reader::MAX_DEPTH + 1;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(BTreeMap<Element, Node>);

/// What is in a set of one step and of what is below it. Never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

/// A `fieldsV1` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A step of it.
    #[error(transparent)]
    Element(#[from] ElementError),
    /// Something else than objects in objects.
    #[error("fieldsV1 must be objects in objects")]
    Shape,
    /// Deeper than any object.
    #[error("fieldsV1 is deeper than {MAX_DEPTH} steps")]
    Depth,
}

impl Set {
    /// No path at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a step, and paths below it.
    pub(super) fn put(&mut self, element: Element, member: bool, below: Set) {
        if !member && below.is_empty() {
            return;
        }
        match self.0.get_mut(&element) {
            None => {
                self.0.insert(element, Node { member, below });
            }
            Some(node) => {
                node.member |= member;
                node.below = std::mem::take(&mut node.below).union(below);
            }
        }
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Element]) {
        if let Some((first, rest)) = path.split_first() {
            let mut below = Set::default();
            below.insert(rest);
            self.put(first.clone(), rest.is_empty(), below);
        }
    }

    /// The set of one path of fields.
    pub fn of_fields(path: &[&str]) -> Set {
        let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
        let mut set = Set::default();
        set.insert(&path);
        set
    }

    /// Whether this very path is in the set.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.0.get(first).is_some_and(|node| if rest.is_empty() { node.member } else { node.below.has(rest) })
    }

    /// Whether a step by itself is in the set.
    pub(super) fn has_step(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What is in the set below a step.
    pub(super) fn below(&self, element: &Element) -> Option<&Set> {
        self.0.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// What is in either.
    pub fn union(mut self, other: Set) -> Set {
        if self.is_empty() {
            return other;
        }
        for (element, node) in other.0 {
            self.put(element, node.member, node.below);
        }
        self
    }

    /// What is in both.
    pub fn intersection(&self, other: &Set) -> Set {
        self.combine(|element, node| {
            let other = other.0.get(element)?;
            Some((node.member && other.member, node.below.intersection(&other.below)))
        })
    }

    /// What is in this one and not in the other.
    pub fn difference(&self, other: &Set) -> Set {
        self.combine(|element, node| match other.0.get(element) {
            None => Some((node.member, node.below.clone())),
            Some(other) => Some((node.member && !other.member, node.below.difference(&other.below))),
        })
    }

    fn combine(&self, with: impl Fn(&Element, &Node) -> Option<(bool, Set)>) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.0 {
            if let Some((member, below)) = with(element, node) {
                out.put(element.clone(), member, below);
            }
        }
        out
    }

    /// Keeps the first steps that are told, with all below them.
    pub(super) fn retain(&mut self, keep: impl Fn(&Element) -> bool) {
        self.0.retain(|element, _| keep(element));
    }

    /// Changes what is in the set below a step, which itself goes.
    pub(super) fn only_below(&mut self, element: &Element, change: impl FnOnce(&mut Set)) {
        if let Some(node) = self.0.get_mut(element) {
            node.member = false;
            change(&mut node.below);
            if node.below.is_empty() {
                self.0.remove(element);
            }
        }
    }

    /// The first steps: whether each by itself is in the set, and what is below.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Element, bool, &Set)> {
        self.0.iter().map(|(element, node)| (element, node.member, &node.below))
    }

    /// Every path, as messages show it, in order: a step itself before what is below any.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for (element, _, _) in self.steps().filter(|(_, member, _)| *member) {
            out.push([path.as_slice(), std::slice::from_ref(element)].concat());
        }
        for (element, _, below) in self.steps() {
            path.push(element.clone());
            below.collect(path, out);
            path.pop();
        }
    }

    /// As `fieldsV1`.
    pub fn to_fields(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.0 {
            let mut below = node.below.to_fields();
            if node.member && !node.below.is_empty() {
                below["."] = json!({});
            }
            out.insert(element.to_text(), below);
        }
        Value::Object(out)
    }

    /// Reads a `fieldsV1`. Steps of unknown kinds are left out.
    pub fn from_fields(fields: &Value) -> Result<Set, SetError> {
        Ok(read(fields, MAX_DEPTH)?.0)
    }
}

/// What is below a step, and whether that itself is in the set.
fn read(fields: &Value, depth: usize) -> Result<(Set, bool), SetError> {
    let depth = depth.checked_sub(1).ok_or(SetError::Depth)?;
    let mut set = Set::default();
    let mut member = false;
    for (key, value) in fields.as_object().ok_or(SetError::Shape)? {
        if key == "." {
            member = true;
            continue;
        }
        let element = match Element::parse(key) {
            Ok(element) => element,
            Err(ElementError::Unknown(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let (below, itself) = read(value, depth)?;
        set.put(element, itself, below);
    }
    let leaf = set.is_empty();
    Ok((set, member || leaf))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(fields: Value) -> Set {
        Set::from_fields(&fields).unwrap()
    }

    #[test]
    fn fields_survive_the_way_there_and_back() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a:b": {}}, "f:finalizers": {"v:\"x\"": {}, "v:1": {}}},
            "f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}, "i:3": {}},
        });
        assert_eq!(set(fields.clone()).to_fields(), fields);
        // Keys in any order, unknown kinds of steps, a step with nothing below it but itself.
        let odd = json!({"f:p": {"k:{\"b\":1,\"a\":2}": {".": {}}}, "x:y": {}});
        assert_eq!(set(odd).to_fields(), json!({"f:p": {"k:{\"a\":2,\"b\":1}": {}}}));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in [json!({"f:a": 1}), json!({"a": {}}), json!({"k:[]": {}}), json!({"i:x": {}}), json!([])]
        {
            assert!(Set::from_fields(&wrong).is_err(), "{wrong}");
        }
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"f:a": deep});
        }
        assert_eq!(Set::from_fields(&deep), Err(SetError::Depth));
    }

    #[test]
    fn a_step_and_what_is_below_it_are_owned_apart() {
        let (both, outer) = (set(json!({"f:a": {".": {}, "f:b": {}}})), set(json!({"f:a": {}})));
        let inner = set(json!({"f:a": {"f:b": {}}}));
        assert_eq!(both.difference(&outer), inner);
        assert_eq!(both.difference(&inner), outer);
        assert_eq!(outer.clone().union(inner.clone()), both);
        assert_eq!(both.intersection(&inner), inner);
        assert!(outer.intersection(&inner).is_empty());
        let path = [Element::field("a"), Element::field("b")];
        assert!(inner.has(&path) && !outer.has(&path) && !inner.has(&path[..1]));
    }

    #[test]
    fn paths_read_as_in_messages() {
        let fields = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}});
        let text = |path: &Vec<Element>| path.iter().map(Element::to_string).collect::<String>();
        let paths: Vec<String> = set(fields).paths().iter().map(text).collect();
        assert_eq!(
            paths,
            [
                ".metadata.finalizers[=\"x\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name"
            ]
        );
    }
}
