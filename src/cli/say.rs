//! Words for whoever started the command. A reader that went away (`kontiki status | head -1`) is no failure.

use std::fmt::Display;
use std::io::Write;

/// Prints a line.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a text as it is.
pub(crate) fn say_text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
