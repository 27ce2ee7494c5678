#![allow(clippy::unwrap_used)]

mod access;
mod life;
mod stepping;
