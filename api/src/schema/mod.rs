//! What the Kubernetes API's types look like, as one table that drives decoding, checking, patching and the OpenAPI
//! documents, so that none of them has code per kind.
//!
//! ```text
//!   schema/kubernetes.schema (generated, checked in) -> table.rs parses it once -> Registry
//!       reader.rs   JSON bytes -> value, reporting duplicate keys
//!       strict.rs   value against a type: unknown fields, wrong types, normal forms
//!       openapi/    OpenAPI v3 documents built from the table on demand
//! ```
//! It knows shapes only. Defaults, validation rules and custom resources are not here.

pub mod openapi;
pub mod reader;
pub mod scalar;
pub mod strict;
mod table;
mod types;

pub use types::{Embed, Field, ListType, Numbered, PatchMarks, Registry, Shape, Type, TypeId, TypeRef};

/// The type of a kind in a group and version, when this API serves it.
///
/// ```
/// let deployment = kontiki_api::schema::type_for("apps", "v1", "Deployment").expect("served");
/// assert!(deployment.field("spec").is_some());
/// ```
pub fn type_for(group: &str, version: &str, kind: &str) -> Option<TypeRef> {
    Registry::global().type_for(group, version, kind)
}

/// The same, for an `apiVersion` as it stands in documents (`v1`, `apps/v1`).
pub fn type_for_api_version(api_version: &str, kind: &str) -> Option<TypeRef> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    type_for(group, version, kind)
}

/// A type's field by its JSON name.
pub fn field(of: TypeRef, name: &str) -> Option<&'static Field> {
    of.field(name)
}

#[cfg(test)]
mod tests;
