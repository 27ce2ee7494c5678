//! What tests of real processes have in common: where they can be played, with what, and one at a time.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, reason = "each test takes what it needs")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kontiki_chaos_real::ground;

/// Two clusters at once would make each other slow, and plans have a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// The machine for this test alone. None where nothing can be played: whoever runs the tests is told so, though they pass.
pub fn machine() -> Option<MutexGuard<'static, ()>> {
    // A test that failed has cleaned up after itself.
    let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    match ground::able() {
        Ok(()) => Some(machine),
        Err(reason) => {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            say(&format!("SKIPPED {test}: no plans with real processes are played, since {reason}"));
            None
        }
    }
}

/// Past the test runner, which shows nothing of what a test prints that passes.
pub fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// The binary that is tested.
pub fn binary() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/kontiki");
    let path = std::env::var_os("KONTIKI_BINARY").map_or(default, PathBuf::from);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}; build it first", path.display()))
}
