//! Quantities against exact arithmetic, and the two readers of them against each other.

use kontiki_actors::quantity::wide;
use kontiki_api::quantity::Quantity;

use super::{Target, owned, same, text};

pub(super) const QUANTITY: Target = Target::bytes(
    "quantity",
    || {
        owned(&[
            b"100m",
            b"1.5Gi",
            b"-64Mi",
            b"12e3",
            b"1E-6",
            b"0.000000001",
            b"9223372036854775807",
            b"+.5Ei",
            b"7n",
        ])
    },
    quantity,
);

const NANO: i128 = 1_000_000_000;
const GREATEST: i128 = i64::MAX as i128 * NANO;
/// So many digits times the largest suffix in billionths fit the reference's numbers.
const DIGITS: usize = 10;

fn quantity(input: &[u8]) -> Result<bool, String> {
    let Some(text) = text(input) else { return Ok(false) };
    // The turn's reader is given what the API stores, but must take anything.
    let _ = wide(text);
    let Ok(read) = text.parse::<Quantity>() else { return Ok(false) };
    if let Some(nanos) = reference(text) {
        same("billionths", &read.nanos(), &nanos)?;
    }
    let canonical = read.to_string();
    let again: Quantity = canonical.parse().map_err(|error| format!("{canonical:?} is refused: {error}"))?;
    same("billionths of the canonical text", &again.nanos(), &read.nanos())?;
    same("thousandths by the turn's reader", &wide(&canonical), &Some(away(read.nanos(), NANO / 1000)))?;
    Ok(true)
}

/// Divided, rounded away from zero.
fn away(amount: i128, unit: i128) -> i128 {
    amount / unit + if amount % unit == 0 { 0 } else { amount.signum() }
}

/// The exact amount in billionths, of texts with few digits and a suffix of letters.
fn reference(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > DIGITS {
        return None;
    }
    let digits: i128 = digits.parse().ok()?;
    let nanos = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        _ => {
            let (letter, base) = match suffix.strip_suffix('i') {
                Some(letter) => (letter, 1024_i128),
                None => (suffix, 1000),
            };
            let letters = if base == 1024 { "KMGTPE" } else { "kMGTPE" };
            let power = (letter.len() == 1).then(|| letters.find(letter)).flatten()? + 1;
            base.pow(u32::try_from(power).ok()?) * NANO
        }
    };
    let amount = away(digits * nanos, 10_i128.pow(u32::try_from(fraction.len()).ok()?));
    Some(sign * amount.min(GREATEST))
}
