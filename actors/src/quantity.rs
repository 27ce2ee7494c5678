//! Kubernetes quantities (`100m`, `64Mi`), as far as amounts are concerned.

use serde_json::Value;

/// The most digits before the point: so many has the greatest amount of the API in billionths, the smallest unit that it writes.
const DIGITS: usize = 28;

/// The amount of a JSON string or number in thousandths, rounded up; none if it is not a quantity.
pub fn milli_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => milli(text),
        Value::Number(number) => milli(&number.to_string()),
        _ => None,
    }
}

/// The same, however large.
pub fn wide_of(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => wide(text),
        Value::Number(number) => wide(&number.to_string()),
        _ => None,
    }
}

/// The amount of a quantity in thousandths, rounded up; none if it is not one or does not fit.
pub fn milli(text: &str) -> Option<i64> {
    wide(text).and_then(|amount| i64::try_from(amount).ok())
}

/// The same, however large: all that the API takes fits, and what it would not take is cut.
pub fn wide(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > DIGITS
        || fraction.len() > 12
        || fraction.contains('.')
    {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale: i128 = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000_i128 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.saturating_pow(power.unsigned_abs());
            if power >= 0 { (factor.saturating_mul(1_000), 1) } else { (1_000, factor) }
        }
    };
    let (numerator, denominator) = (digits.saturating_mul(numerator), scale.saturating_mul(denominator));
    let amount = numerator / denominator + i128::from(numerator % denominator > 0);
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_those_of_kubernetes() {
        for (text, amount) in [
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("64Mi", 67_108_864_000),
            ("1e3", 1_000_000),
            ("1n", 1),
            ("-1", -1000),
        ] {
            assert_eq!(milli(text), Some(amount), "{text}");
        }
        for text in ["", "x", "1.2.3", "1Zi", ".", "99999999999999999999"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }

    #[test]
    fn large_amounts_are_not_nothing() {
        for (text, amount) in [
            ("9Pi", (9_i128 << 50) * 1000),
            ("10P", 10_i128.pow(19)),
            ("9223372036854775807", i128::from(i64::MAX) * 1000),
            ("9223372036854775806999999999n", i128::from(i64::MAX) * 1000),
            ("-9Pi", (-9_i128 << 50) * 1000),
            ("20Ei", (20_i128 << 60) * 1000),
            ("9e99", i128::MAX),
            ("0e99", 0),
        ] {
            assert_eq!((wide(text), milli(text)), (Some(amount), i64::try_from(amount).ok()), "{text}");
        }
        assert_eq!(wide_of(&Value::from(i64::MAX)), Some(i128::from(i64::MAX) * 1000));
        assert_eq!((wide("x"), wide_of(&Value::Null)), (None, None));
    }
}
