//! What a container leaves behind to say about its end.

use std::io::Read;
use std::path::Path;

use super::log::tail;

const BYTES_MAX: usize = 4096;
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;

/// The start of the file in which it may leave a message; where that is empty, the end of its log, if one is given.
pub(crate) fn last_words(file: &Path, log: Option<&Path>) -> String {
    let message = start(file);
    match log {
        Some(log) if message.is_empty() => tail(log, LOG_BYTES_MAX, LOG_LINES_MAX),
        _ => message,
    }
}

fn start(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        file.take(BYTES_MAX as u64).read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
