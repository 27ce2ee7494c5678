//! What runs have come to, counted per process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static COUNTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

pub(crate) fn note(name: &'static str) {
    *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
}

/// How often each mark was reached since the last reset.
pub fn reached_counts() -> BTreeMap<&'static str, u64> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Begins to count anew.
pub fn reset_reached() {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
