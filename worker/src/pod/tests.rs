#![allow(clippy::unwrap_used)]

mod life;
mod stepping;
