//! What a person reads of a run: one HTML page that needs nothing else, and a summary for the terminal.

mod around;
mod chart;
mod faults;
mod invariant;
mod leaders;
mod ops;
mod page;
mod pods;
mod text;

pub use self::{page::html, text::text};

#[cfg(test)]
mod tests;
