//! SIGINT and SIGTERM: the runs of this process are removed before it ends.

use std::{collections::BTreeSet, sync::Once};

use anyhow::Context;
use parking_lot::Mutex;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

static RUNS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static WATCHING: Once = Once::new();

/// From now on this run ends with the process.
pub(super) fn watch(id: &str) -> anyhow::Result<()> {
    RUNS.lock().insert(id.to_owned());
    let mut outcome = Ok(());
    WATCHING.call_once(|| {
        outcome = Signals::new([SIGINT, SIGTERM]).map(|mut signals| {
            std::thread::spawn(move || {
                if signals.forever().next().is_some() {
                    for id in RUNS.lock().iter() {
                        eprintln!("told to stop: cleaning up run {id}");
                        if let Err(error) = super::remove(id) {
                            eprintln!("cleaning up run {id}: {error:#}");
                        }
                    }
                    std::process::exit(130);
                }
            });
        });
    });
    outcome.context("signals cannot be watched")
}

/// It is removed already.
pub(super) fn forget(id: &str) {
    RUNS.lock().remove(id);
}
