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
use std::sync::OnceLock;

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
    /// The OpenAPI schema of a custom resource; built-in kinds have theirs in the table.
    pub schema: Option<Value>,
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
    let schemas = components::schemas(&resources, group, version);
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
