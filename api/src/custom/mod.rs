//! Custom resources: what a CustomResourceDefinition says of the objects of its kind, read once and used with every request.
//!
//! ```text
//!   structural.rs   is the schema of a definition one by which objects can be handled?
//!   schema.rs       the schema, as it is used          pattern.rs, formats.rs   parts of it
//!   prune.rs        what is not declared goes          default.rs               what is not said is completed
//!   validate.rs     what is wrong, in words            rules.rs                 rules in CEL, by ../cel/
//!   columns.rs      tables, by jsonpath.rs
//!   cache.rs        read definitions, by generation
//! ```
//! Definitions themselves are a built-in kind: `resource/definition.rs`. Which of them are served is decided in the turn.

mod cache;
pub(crate) mod columns;
pub(crate) mod default;
mod formats;
pub(crate) mod jsonpath;
mod pattern;
pub(crate) mod prune;
pub(crate) mod rules;
pub(crate) mod schema;
pub(crate) mod structural;
pub(crate) mod validate;
mod version;

pub(crate) use cache::Definitions;
pub(crate) use formats::fits as is_format;
pub(crate) use pattern::{Pattern, Patterns};
pub(crate) use version::{Scale, Version, at, metadata_shape, set};
