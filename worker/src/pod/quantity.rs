//! Kubernetes quantities such as `250m`, `64Mi`, `1.5`, `2e3`.

use serde_json::Value;

/// A quantity in thousandths, rounded up; nothing if it is none.
pub fn milli(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let split =
        text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, denominator) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1000, power) } else { (power.checked_mul(1000)?, 1) }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let digits = format!("{}{fraction}", whole.trim_start_matches(['+', '-']));
    let digits: i128 = digits.parse().ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let numerator = digits.checked_mul(numerator)?;
    let denominator = scale.checked_mul(denominator)?;
    let rounded_up = numerator.checked_add(denominator - 1)? / denominator;
    Some(if negative { -rounded_up } else { rounded_up })
}

/// A quantity in whole units, rounded up, such as bytes.
pub fn units(value: &Value) -> Option<u64> {
    let milli = milli(value)?;
    u64::try_from(milli.checked_add(999)? / 1000).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in
            [("250m", 250), ("1.5", 1500), ("2", 2000), ("2e3", 2_000_000), ("100u", 1), ("1Ki", 1_024_000)]
        {
            assert_eq!(milli(&Value::from(text)), Some(expected), "{text}");
        }
        assert_eq!(units(&Value::from("64Mi")), Some(64 << 20));
        assert_eq!(units(&Value::from(3)), Some(3));
        assert_eq!(milli(&Value::from("abc")), None);
        assert_eq!(milli(&Value::from("9e99")), None, "too big is refused, not wrapped");
    }
}
