//! Definitions that were read, so that a request does not read its definition again. By generation: what counts of a definition changes
//! with it only.

use std::{collections::HashMap, sync::Arc};

use kontiki_actors::{Object, State, Uid, kinds::definition, level::VERSIONED};
use parking_lot::Mutex;

use super::Version;

/// Read definitions, by name.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Mutex<HashMap<String, Read>>);

#[derive(Debug)]
struct Read {
    uid: Uid,
    generation: i64,
    /// Whether documents may say in which version they are, by the level of the cluster.
    versioned: bool,
    versions: HashMap<String, Arc<Version>>,
}

impl Definitions {
    /// A version of a definition in a state, if clients may use it.
    pub(crate) fn version(&self, state: &State, definition: &Object, version: &str) -> Option<Arc<Version>> {
        let versioned = state.level() >= VERSIONED;
        let name = definition.key.name.as_str();
        let current = |read: &Read| {
            read.uid == definition.meta.uid
                && read.generation == definition.meta.generation
                && read.versioned == versioned
        };
        if let Some(read) = self.0.lock().get(name).filter(|read| current(read)) {
            return read.versions.get(version).cloned();
        }
        // Others may read it at the same time: no harm in that, and nobody waits.
        let versions = Version::all(definition, versioned);
        let found = versions.get(version).cloned();
        let mut known = self.0.lock();
        if known.len() >= 2 * definition::LIMIT {
            // Most of them are gone.
            known.clear();
        }
        let (uid, generation) = (definition.meta.uid.clone(), definition.meta.generation);
        let read = Read { uid, generation, versioned, versions };
        known.insert(name.to_owned(), read);
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Context, Document, Input, Kind, LEVEL, ObjectKey, decide};
    use serde_json::{Value, json};

    use super::*;

    /// What documents say of their version, in a state.
    fn said(state: &State, versions: &[&str], strategy: &str) -> Option<String> {
        let declared = |name: &&str| {
            let schema = json!({"openAPIV3Schema": {"type": "object"}});
            json!({"name": name, "served": true, "storage": *name == "v1", "schema": schema})
        };
        let versions: Vec<Value> = versions.iter().map(declared).collect();
        let document = Document::from_value(json!({"metadata": {"uid": "u", "generation": 1}, "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "hosts", "kind": "Host"},
            "versions": versions, "conversion": {"strategy": strategy}}}));
        let key = ObjectKey::new(Kind::CUSTOM_RESOURCE_DEFINITION, "", "hosts.example.com");
        let version = Definitions::default().version(state, &Object::new(key, 1, document), "v1").unwrap();
        assert_eq!(version.converter.is_some(), strategy == "Webhook");
        version.stored.clone()
    }

    #[test]
    fn documents_say_their_version_where_there_are_several_and_everybody_can_read_it() {
        let old = State::default();
        assert_eq!(said(&old, &["v1", "v2"], "None"), None);
        let raise = Input::Raise { level: LEVEL, objects: Vec::new() };
        let state = decide(&old, &raise, Context::new(0, 0)).state;
        assert_eq!(said(&state, &["v1"], "None"), None);
        assert_eq!(said(&state, &["v2", "v1"], "None").as_deref(), Some("v1"));
        assert_eq!(said(&state, &["v1"], "Webhook").as_deref(), Some("v1"));
    }
}
