//! The REST API end to end: requests through the router, decided by the real turns on a cluster in memory.

#![allow(missing_docs, clippy::unwrap_used)]

mod access;
mod apply;
mod audit;
mod candidates;
mod client;
mod conversion;
mod custom;
mod ephemeral;
mod flow;
mod issuer;
mod kinds;
mod memory;
mod objects;
mod oidc;
mod pages;
mod pod_security;
mod policies;
mod protobuf;
mod proxy;
mod rbac;
mod refusals;
mod streams;
mod tokens;
mod updates;
mod usage;
mod watches;
mod webhook;
mod webhooks;
mod zeros;
