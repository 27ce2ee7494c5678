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
