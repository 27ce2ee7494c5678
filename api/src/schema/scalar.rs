//! Texts with a form of their own: times, durations, base64. Each function brings one to the form in which it is stored,
//! or says what is wrong in the words that Kubernetes clients know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

/// Seconds since 1970 of an RFC 3339 time, rounded down, and the nanoseconds after them.
pub fn seconds_and_nanos(text: &str) -> Result<(i64, u32), String> {
    const SECOND: i128 = 1_000_000_000;
    let nanos = parse_time(text, "2006-01-02T15:04:05Z07:00")?.as_nanosecond();
    Ok((nanos.div_euclid(SECOND) as i64, nanos.rem_euclid(SECOND) as u32))
}

/// RFC 3339 in UTC with whole seconds.
pub fn normal_time(text: &str) -> Result<String, String> {
    Ok(format_time(parse_time(text, "2006-01-02T15:04:05Z07:00")?.as_second()))
}

/// RFC 3339 in UTC with microseconds.
pub fn normal_micro_time(text: &str) -> Result<String, String> {
    let time = parse_time(text, "2006-01-02T15:04:05.000000Z07:00")?;
    Ok(format_micro_time(
        time.as_microsecond().div_euclid(1_000_000),
        time.as_microsecond().rem_euclid(1_000_000) as u32,
    ))
}

fn parse_time(text: &str, layout: &str) -> Result<Timestamp, String> {
    let refused = || format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as {:?}", "2006");
    // The parser knows more notations than RFC 3339; those stay out.
    let rfc3339 = text.len() >= 20
        && text.len() <= 64
        && text.as_bytes()[..19].iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            10 => *b == b'T',
            13 | 16 => *b == b':',
            _ => b.is_ascii_digit(),
        })
        && !text.contains('[');
    if !rfc3339 {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

/// Seconds since 1970 as RFC 3339 in UTC; out of range is cut to the calendar.
pub fn format_time(seconds: i64) -> String {
    clamp(seconds).to_string()
}

/// The same with six digits of fraction.
pub fn format_micro_time(seconds: i64, micros: u32) -> String {
    let whole = clamp(seconds).to_string();
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), micros.min(999_999))
}

fn clamp(seconds: i64) -> Timestamp {
    // Years 0 to 9999, as RFC 3339 can say.
    Timestamp::from_second(seconds.clamp(-62_167_219_200, 253_402_207_200)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Nanoseconds as Go prints a duration: `1h30m0s`, `1.5s`, `250ms`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < 1_000_000_000 {
        let (unit, name) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{name}", decimal(total, unit));
    }
    let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
    let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

fn decimal(amount: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", amount % unit);
    let fraction = fraction.trim_end_matches('0');
    if unit == 1 || fraction.is_empty() {
        format!("{}", amount / unit)
    } else {
        format!("{}.{fraction}", amount / unit)
    }
}

/// Refuses what Go does not read as a duration.
pub fn check_duration(text: &str) -> Result<(), String> {
    parse_duration(text).map(drop)
}

/// The nanoseconds of a duration as Go reads it; what is longer than it can say is cut to that.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let refused = || Err(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0.0;
    if rest.is_empty() || text.len() > 64 {
        return refused();
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let digits = &rest[..number];
        if !digits.contains(|c: char| c.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return refused();
        }
        rest = &rest[number..];
        const UNITS: [(&str, f64); 8] = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("h", 3600e9),
        ];
        let unit = UNITS.into_iter().find(|(unit, _)| {
            rest.strip_prefix(unit).is_some_and(|after| {
                after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            })
        });
        let Some((unit, nanos)) = unit else { return refused() };
        total += digits.parse::<f64>().unwrap_or_default() * nanos;
        rest = &rest[unit.len()..];
    }
    Ok(if text.starts_with('-') { -total } else { total }.round() as i64)
}

/// Bytes as they stand in JSON.
pub fn encode_bytes(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of standard base64.
pub fn decode_bytes(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| error.to_string())
}

/// Refuses text that is not standard base64; line breaks are let through, as Go does.
pub fn check_bytes(text: &str) -> Result<Option<String>, String> {
    let clean = text.contains(['\r', '\n']).then(|| text.replace(['\r', '\n'], ""));
    match STANDARD.decode(clean.as_deref().unwrap_or(text)) {
        Ok(_) => Ok(clean),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_become_utc_with_fixed_precision() {
        assert_eq!(normal_time("2024-05-01T12:00:00+02:00").unwrap(), "2024-05-01T10:00:00Z");
        assert_eq!(normal_time("2024-05-01T12:00:00.987Z").unwrap(), "2024-05-01T12:00:00Z");
        assert_eq!(normal_micro_time("2024-05-01T12:00:00Z").unwrap(), "2024-05-01T12:00:00.000000Z");
        assert_eq!(normal_micro_time("2024-05-01T12:00:00.1234567Z").unwrap(), "2024-05-01T12:00:00.123456Z");
        for bad in [
            "",
            "yesterday",
            "2024-05-01",
            "2024-05-01 12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-05-01T12:00:00",
        ] {
            assert!(normal_time(bad).unwrap_err().starts_with("parsing time"), "{bad}");
        }
        assert_eq!(format_time(i64::MAX), "9999-12-30T22:00:00Z");
    }

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500_000_000, "1.5s"),
            (250_000_000, "250ms"),
            (-1_000, "-1µs"),
            (1, "1ns"),
        ] {
            assert_eq!(format_duration(nanos), text);
            assert_eq!(parse_duration(text), Ok(nanos));
        }
        for bad in ["", "5", "s", "1x", "1h-5m", "1..5s", "."] {
            assert!(check_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_is_checked() {
        assert_eq!(check_bytes("aGk=").unwrap(), None);
        assert_eq!(check_bytes("aG\nk=").unwrap().as_deref(), Some("aGk="));
        assert_eq!(check_bytes("aG!=").unwrap_err(), "illegal base64 data at input byte 2");
    }
}
