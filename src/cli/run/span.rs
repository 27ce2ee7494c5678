//! Spans of time as people write them.

/// Reads `90`, `90s`, `15m`, `2h` or `1d` as seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => return Err(format!("unit {other:?} is not s, m, h or d")),
    };
    let number: u64 =
        digits.parse().map_err(|_| "a number is expected, with s, m, h or d after it".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("more than 0 is expected".into()),
        Some(seconds) => Ok(seconds),
        None => Err("that is too long".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count() {
        let read = ["90", "90s", "15m", "2h", "1d"].map(seconds);
        assert_eq!(read, [90, 90, 900, 7200, 86_400].map(Ok));
        for bad in ["", "h", "1w", "-1s", "0", "99999999999999999999d", "9999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
