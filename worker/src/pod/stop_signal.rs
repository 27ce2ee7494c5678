//! The signal by which a container is asked to end: TERM, unless its image names another.

use std::str::FromStr;

use nix::sys::signal::Signal;

/// The number of a signal as images write it (`SIGQUIT`, `QUIT` or `3`), or TERM. Real-time signals are not supported.
pub(super) fn number(name: &str) -> i32 {
    if name.is_empty() {
        return Signal::SIGTERM as i32;
    }
    let of_number = name.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let named = of_number.or_else(|| Signal::from_str(&full).ok());
    if named.is_none() {
        tracing::warn!(signal = name, "the stop signal of an image is not known here: TERM is sent instead");
    }
    named.unwrap_or(Signal::SIGTERM) as i32
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (name, expected) in
            [("", 15), ("SIGQUIT", 3), ("quit", 3), ("28", 28), ("SIGRTMIN+3", 15), ("0", 15), ("x", 15)]
        {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
