//! Lists: objects of one kind in order of namespace and name, from anywhere.

use std::{ops::Bound, sync::Arc};

use super::State;
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
};

/// An iterator over objects of one kind, in order of namespace and name.
pub struct List<'a> {
    range: Box<dyn Iterator<Item = (&'a ObjectKey, &'a Arc<Object>)> + Send + 'a>,
    kind: Kind,
    namespace: Option<String>,
}

impl<'a> Iterator for List<'a> {
    type Item = &'a Arc<Object>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, object) = self.range.next()?;
        let inside = key.kind == self.kind && self.namespace.as_deref().is_none_or(|n| n == key.namespace);
        inside.then_some(object)
    }
}

impl State {
    /// All objects of a kind, of one namespace or of all.
    pub fn list<'a>(&'a self, kind: Kind, namespace: Option<&str>) -> List<'a> {
        let first = ObjectKey::new(kind, namespace.unwrap_or(""), "");
        self.list_from(Bound::Included(first), kind, namespace)
    }

    /// The objects that follow a key, of one namespace or of all.
    pub fn list_after<'a>(&'a self, after: &ObjectKey, namespace: Option<&str>) -> List<'a> {
        self.list_from(Bound::Excluded(after.clone()), after.kind, namespace)
    }

    fn list_from<'a>(&'a self, from: Bound<ObjectKey>, kind: Kind, namespace: Option<&str>) -> List<'a> {
        let range = Box::new(self.objects.range((from, Bound::Unbounded)));
        List { range, kind, namespace: namespace.map(String::from) }
    }

    /// Every object, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }
}
