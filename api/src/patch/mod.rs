//! The three patches that are computed from a patch and a document alone: JSON patch, merge patch, strategic merge
//! patch. Server-side apply, which needs to know who owns what, is not here.

mod json;
mod merge;
mod strategic;

pub use json::{MAX_OPERATIONS, json};
pub use merge::merge;
pub use strategic::strategic;

use thiserror::Error;

/// Why a patch was not applied. The class decides the HTTP code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The patch itself makes no sense: 400 BadRequest.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well-formed, but this document cannot take it: 422 Invalid.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch asks for more than is allowed: 413 RequestEntityTooLarge.
    #[error("{0}")]
    TooLarge(String),
}

impl PatchError {
    fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    fn unprocessable(text: impl Into<String>) -> Self {
        Self::Unprocessable(text.into())
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        match self {
            PatchError::Malformed(_) => 400,
            PatchError::TooLarge(_) => 413,
            PatchError::Unprocessable(_) => 422,
        }
    }
}

#[cfg(test)]
mod tests;
