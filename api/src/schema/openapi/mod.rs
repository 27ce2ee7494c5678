//! OpenAPI v3 documents, one per group and version, built from the schema table and the served resources when somebody
//! asks. Nothing is kept: clients cache by the hash in the index.
//!
//! kubectl reads from them whether PATCH knows `fieldValidation` (else it refuses to validate), how lists merge, and what
//! `explain` prints.

mod components;
mod descriptions;
mod paths;
mod v2;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kontiki_actors::Object;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
pub use v2::{Form, document_v2, hash_v2};

/// A served resource, as far as documents tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceDoc {
    /// API group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Name in URLs.
    pub plural: String,
    /// Lives in namespaces.
    pub namespaced: bool,
    /// What can be done with it (`create`, `get`, `list`, ...).
    pub verbs: Vec<String>,
    /// What stands below its objects.
    pub subresources: Vec<SubresourceDoc>,
    /// The schema of a custom resource; built-in kinds have theirs in the table.
    pub schema: Option<DefinedSchema>,
}

/// The schema of a custom resource: read from its definition when a document is made of it.
#[derive(Clone)]
pub struct DefinedSchema {
    definition: Arc<Object>,
    version: String,
}

impl DefinedSchema {
    /// That of a version of a definition.
    pub fn new(definition: &Arc<Object>, version: &str) -> DefinedSchema {
        DefinedSchema { definition: definition.clone(), version: version.to_owned() }
    }

    fn read(&self) -> Value {
        let mut spec = self.definition.document.spec_value();
        let versions = spec["versions"].as_array_mut().into_iter().flatten();
        let found = versions.into_iter().find(|version| version["name"] == self.version.as_str());
        found.map_or(Value::Null, |version| version["schema"]["openAPIV3Schema"].take())
    }
}

impl PartialEq for DefinedSchema {
    fn eq(&self, other: &DefinedSchema) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Eq for DefinedSchema {}

/// What stands for it in hashes: the generation of its definition, the same on all controllers.
impl std::fmt::Debug for DefinedSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let meta = &self.definition.meta;
        write!(f, "{}/{}/{}", meta.uid, meta.generation, self.version)
    }
}

/// A subresource (`scale`, `status`, `eviction`, ...); its kind may be of another group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubresourceDoc {
    /// Last step of the URL.
    pub name: String,
    /// Group of its kind.
    pub group: String,
    /// Version of its kind.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// JSON text.
    pub bytes: Vec<u8>,
    /// The hash that the index names it by.
    pub hash: String,
}

/// The path of a group and version in the index: `api/v1`, `apis/apps/v1`.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Group and version of such a path.
pub fn parse_path(path: &str) -> Option<(&str, &str)> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

/// The index at `/openapi/v3`: where each group and version has its document.
pub fn index(resources: &[ResourceDoc]) -> Vec<u8> {
    let mut paths = Map::new();
    for ((group, version), resources) in by_group_version(resources) {
        let path = path_of(group, version);
        let url = format!("/openapi/v3/{path}?hash={}", hash(&resources));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths }).to_string().into_bytes()
}

/// The document of a group and version, when any resource is in it.
pub fn document(resources: &[ResourceDoc], group: &str, version: &str) -> Option<Document> {
    let resources = by_group_version(resources).remove(&(group, version))?;
    let schemas = components::schemas(&resources, (group, version), components::Edition::V3);
    let document = json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths::paths(&resources),
        "components": { "schemas": schemas },
    });
    Some(Document { bytes: document.to_string().into_bytes(), hash: hash(&resources) })
}

fn by_group_version(resources: &[ResourceDoc]) -> BTreeMap<(&str, &str), Vec<&ResourceDoc>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for resource in resources {
        groups.entry((resource.group.as_str(), resource.version.as_str())).or_default().push(resource);
    }
    groups
}

/// Counts how documents are made: another number where this code makes another document of the same table.
const MADE: &str = "2";

/// A document is a function of the table, this build and the resources; so is its hash, which spares building the
/// document to learn it.
fn hash(resources: &[&ResourceDoc]) -> String {
    static TABLE: OnceLock<[u8; 32]> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let table = Sha256::new().chain_update(super::table::TABLE).chain_update(descriptions::COMPRESSED);
        table.chain_update(env!("CARGO_PKG_VERSION")).chain_update(MADE).finalize().into()
    });
    let mut hash = Sha256::new().chain_update(table);
    for resource in resources {
        hash.update(format!("{resource:?}\n"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
