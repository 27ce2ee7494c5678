//! A host: what runs on it, and whether it does.

use std::task::Waker;

/// A host.
pub(super) struct Host {
    /// For people.
    #[allow(dead_code, reason = "it is read in a debugger")]
    pub(super) name: String,
    /// Each process on it is another one.
    pub(super) incarnation: u64,
    /// It has no power.
    pub(super) dark: bool,
    /// Its process stands still.
    pub(super) held: bool,
    pub(super) waiting: Vec<Waker>,
}

impl Host {
    pub(super) fn new(name: &str) -> Host {
        Host { name: name.into(), incarnation: 1, dark: false, held: false, waiting: Vec::new() }
    }
}
