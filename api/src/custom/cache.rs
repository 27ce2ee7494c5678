//! Definitions that were read, so that a request does not read its definition again. By generation: what counts of a definition changes
//! with it only.

use std::{collections::HashMap, sync::Arc};

use kontiki_actors::{Object, Uid, kinds::definition};
use parking_lot::Mutex;

use super::Version;

/// Read definitions, by name.
#[derive(Debug, Default)]
pub(crate) struct Definitions(Mutex<HashMap<String, Read>>);

#[derive(Debug)]
struct Read {
    uid: Uid,
    generation: i64,
    versions: HashMap<String, Arc<Version>>,
}

impl Definitions {
    /// A version of a definition, if clients may use it.
    pub(crate) fn version(&self, definition: &Object, version: &str) -> Option<Arc<Version>> {
        let name = definition.key.name.as_str();
        let current =
            |read: &Read| read.uid == definition.meta.uid && read.generation == definition.meta.generation;
        if let Some(read) = self.0.lock().get(name).filter(|read| current(read)) {
            return read.versions.get(version).cloned();
        }
        // Others may read it at the same time: no harm in that, and nobody waits.
        let versions = Version::all(definition);
        let found = versions.get(version).cloned();
        let mut known = self.0.lock();
        if known.len() >= 2 * definition::LIMIT {
            // Most of them are gone.
            known.clear();
        }
        let read =
            Read { uid: definition.meta.uid.clone(), generation: definition.meta.generation, versions };
        known.insert(name.to_owned(), read);
        found
    }
}
