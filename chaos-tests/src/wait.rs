//! Waiting for what must become true. The limit is generous: it says that something hangs, not how fast it is.

use std::time::{Duration, Instant};

/// How long anything may take on a slow, shared machine.
const LIMIT: Duration = Duration::from_secs(90);
/// How often is looked.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until the answer is there. After the limit it fails with what was seen last.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > LIMIT => {
                panic!("{what}: not within {LIMIT:?}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
