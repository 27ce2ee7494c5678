//! What a request costs inside one controller's process, step by step on its way: without network, disk, consensus, and without a second
//! thread. Beside the black-box measurements it says which step took the time, and how a step grows with the cluster.
//!
//! ```text
//!   JSON -> request -> turn (with scheduling) -> codec: entry, fold
//! ```
//!
//! A file each for what is asked. An operation is written down once and measured twice: its time by criterion (`benches/times.rs`), its
//! allocations by `kontiki-inside` and against limits by `tests/allocations.rs`. Not for goals: those are of the whole.

mod codec;
mod crowd;
mod fixture;
pub mod memory;
mod reports;
mod request;
mod scheduling;
mod turn;
mod zone;

/// One operation, to be done again and again: each time finds the same and leaves nothing behind.
pub type Action = Box<dyn FnMut()>;

/// Something that a controller does.
pub struct Operation {
    /// The step that it belongs to: `turn`.
    pub step: &'static str,
    /// Its name among those: `config-map-1000`.
    pub name: String,
    /// In words.
    pub what: String,
    /// How many pods, creates or changes it works through at once.
    pub elements: u64,
    prepare: Box<dyn Fn() -> Action>,
}

impl Operation {
    fn new(
        step: &'static str,
        name: impl Into<String>,
        what: impl Into<String>,
        elements: usize,
        prepare: impl Fn() -> Action + 'static,
    ) -> Operation {
        let (name, what) = (name.into(), what.into());
        Operation { step, name, what, elements: elements as u64, prepare: Box::new(prepare) }
    }

    /// `turn/config-map-1000`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.step, self.name)
    }

    /// Builds what it is done on, which takes up to seconds, and has done it once: what is made at first use is made then.
    pub fn prepare(&self) -> Action {
        let mut action = (self.prepare)();
        action();
        action
    }
}

/// All operations, in the order of a request's way.
pub fn operations() -> Vec<Operation> {
    [
        request::operations(),
        turn::operations(),
        scheduling::operations(),
        reports::operations(),
        zone::operations(),
        codec::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{},{:03}", grouped(number / 1000), number % 1000)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_folders_and_none_stands_twice() {
        let ids: Vec<String> = operations().iter().map(Operation::id).collect();
        let once: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(once.len(), ids.len());
        // criterion would write other names otherwise, and figures would not be found.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        for operation in operations() {
            assert!(operation.name.chars().all(plain) && operation.name.len() < 64, "{}", operation.id());
        }
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_002_003].map(grouped), ["0", "999", "1,000", "1,002,003"]);
    }
}
