#![allow(clippy::unwrap_used)]

mod access;
mod life;
mod links;
mod stepping;
