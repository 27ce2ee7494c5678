//! The REST API end to end: requests through the router, decided by the real turns on a cluster in memory.

#![allow(missing_docs, clippy::unwrap_used)]

mod access;
mod client;
mod kinds;
mod memory;
mod objects;
mod pages;
mod refusals;
mod updates;
mod watches;
