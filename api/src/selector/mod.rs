//! Which objects a request or another object means: label selectors, as text and as objects, and field selectors. The
//! error texts are those that Kubernetes clients know.

mod field;
mod label;
mod names;
mod object;
mod text;

pub use field::{FieldSelector, FieldTerm};
pub use label::{Labels, Operator, Requirement, Selector};

use thiserror::Error;

/// Why a selector was refused: 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// Longer selectors are refused.
const MAX_TEXT: usize = 64 << 10;

#[cfg(test)]
mod tests;
