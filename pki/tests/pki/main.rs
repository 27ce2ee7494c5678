//! What the cluster's identities promise, tested from outside over real connections.
#![allow(clippy::unwrap_used, missing_docs)]

mod certificates;
mod connections;
mod joining;
mod keeping;
mod refusals;
mod serving;
mod stage;
