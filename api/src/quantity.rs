//! Kubernetes quantities (`500m`, `1.5Gi`, `1e3`): exact amounts in billionths, with the family of suffixes that the
//! writer used, so that the canonical text stays in it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const NANO: i128 = 1_000_000_000;
/// The greatest amount Kubernetes keeps; greater ones are cut to it.
const MAX_NANOS: i128 = i64::MAX as i128 * NANO;
/// Longer texts are refused before any arithmetic.
const MAX_TEXT: usize = 128;

/// Why a text is no quantity; the words are those that Kubernetes clients match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not of the form number-suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number before the suffix is none.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Which suffixes the canonical text uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `Ki`, `Mi`, `Gi`, ...
    Binary,
    /// `m`, none, `k`, `M`, ...
    Decimal,
    /// `e3`, `e6`, ...
    Exponent,
}

/// An amount. Equality and order look at the amount only, not at how it was written.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    family: Family,
}

impl Quantity {
    /// A whole amount in decimal notation.
    pub fn from_value(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANO, family: Family::Decimal }
    }

    /// An amount of thousandths in decimal notation.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), family: Family::Decimal }
    }

    /// The amount in billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// The family of suffixes it was written in.
    pub fn family(self) -> Family {
        self.family
    }

    /// The whole amount, rounded up (away from zero below zero as well).
    pub fn value(self) -> i64 {
        clamp(divide_away(self.nanos, NANO))
    }

    /// The amount in thousandths, rounded up, at most `i64::MAX`.
    pub fn milli(self) -> i64 {
        clamp(divide_away(self.nanos, NANO / 1000))
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, in the family of the first, cut at the greatest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(self.nanos + other.nanos, other)
    }

    /// The difference, in the family of the first, cut at the greatest amount.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(self.nanos - other.nanos, other)
    }

    fn with(self, nanos: i128, other: Self) -> Self {
        // Zero has no family of its own: a sum that starts from it takes that of what is added.
        let family = if self.is_zero() { other.family } else { self.family };
        Self { nanos: nanos.clamp(-MAX_NANOS, MAX_NANOS), family }
    }
}

fn divide_away(nanos: i128, unit: i128) -> i128 {
    let whole = nanos / unit;
    if nanos % unit == 0 { whole } else { whole + nanos.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > MAX_TEXT || !text.is_ascii() {
            return Err(QuantityError::Format);
        }
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || !suffix_is_well_formed(suffix) {
            return Err(QuantityError::Format);
        }
        if whole.is_empty() && fraction.is_empty() {
            // A bare sign or suffix is malformed, a lone point has no digits.
            return Err(if number.is_empty() { QuantityError::Format } else { QuantityError::Number });
        }
        let (family, scale) = parse_suffix(suffix)?;
        let nanos = scaled(whole, fraction, scale);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, family })
    }
}

/// Letters of the suffixes, then optionally a signed number.
fn suffix_is_well_formed(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    digits.bytes().all(|b| b.is_ascii_digit())
}

#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn parse_suffix(suffix: &str) -> Result<(Family, Scale), QuantityError> {
    let decimal = |exponent| Ok((Family::Decimal, Scale::Ten(exponent)));
    let binary = |exponent| Ok((Family::Binary, Scale::Two(exponent)));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((Family::Exponent, Scale::Ten(exponent)))
        }
    }
}

/// The amount in billionths: rounded away from zero below that, cut at the greatest amount.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // The third is how great the digits may grow so that no product overflows.
    let (shift, factor, enough) = match scale {
        Scale::Ten(exponent) => (i64::from(exponent) + 9, 1, 10_i128.pow(28)),
        Scale::Two(exponent) => (9, 1_i128 << exponent, 10_i128.pow(18)),
    };
    // digits * 10^point * factor, where point counts from the last digit of the fraction.
    let digits = whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0'));
    let mut point = shift - fraction.len() as i64;
    let mut mantissa: i128 = 0;
    let mut dropped = false;
    let mut full = false;
    for digit in digits {
        if full {
            // Beyond what fits exactly: far past the cap or far below a billionth.
            dropped |= digit != 0;
            point += 1;
        } else {
            mantissa = mantissa * 10 + digit;
            full = mantissa > enough;
        }
    }
    if mantissa == 0 {
        return 0;
    }
    let mut nanos = mantissa * factor;
    while point > 0 {
        if nanos >= MAX_NANOS {
            return MAX_NANOS;
        }
        nanos *= 10;
        point -= 1;
    }
    while point < 0 {
        dropped |= nanos % 10 != 0;
        nanos /= 10;
        point += 1;
        if nanos == 0 {
            break;
        }
    }
    (nanos + i128::from(dropped)).min(MAX_NANOS)
}

impl fmt::Display for Quantity {
    /// The canonical text: no fraction, the greatest suffix of the family that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        let value = self.nanos / NANO;
        // Small and fractional amounts leave the binary family, which could not write them exactly.
        if self.family == Family::Binary && whole && value.abs() >= 1024 {
            let (mut number, mut suffix) = (value, 0);
            while number % 1024 == 0 && suffix < 6 {
                number /= 1024;
                suffix += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix]);
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        match (self.family, exponent) {
            (_, 0) => write!(f, "{number}"),
            (Family::Exponent, _) => write!(f, "{number}e{exponent}"),
            (_, _) => write!(
                f,
                "{number}{}",
                ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][(exponent / 3 + 3) as usize]
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().unwrap().to_string()
    }

    #[test]
    fn canonical_text_keeps_the_family() {
        for (text, expected) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("100k", "100k"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.1Ki", "102400m"),
            ("512Ki", "512Ki"),
            ("1Ki", "1Ki"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            ("1E", "1E"),
            ("1E3", "1e3"),
            ("1.", "1"),
            (".5", "500m"),
            ("12e6", "12e6"),
            ("2500e-3", "2500e-3"),
            ("1u", "1u"),
            ("10Ei", "9223372036854775807"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn too_fine_amounts_round_up_and_too_great_ones_are_cut() {
        assert_eq!(canonical("1e-12"), "1e-9");
        assert_eq!(canonical("0.0000000001"), "1n");
        assert_eq!("1e30".parse::<Quantity>().unwrap().value(), i64::MAX);
        assert_eq!("1e-2147483648".parse::<Quantity>().unwrap().nanos(), 1);
        assert_eq!("9".repeat(100).parse::<Quantity>().unwrap().value(), i64::MAX);
        assert_eq!(format!("0.{}1", "0".repeat(90)).parse::<Quantity>().unwrap().nanos(), 1);
    }

    #[test]
    fn values_round_up() {
        let q: Quantity = "1500m".parse().unwrap();
        assert_eq!((q.value(), q.milli()), (2, 1500));
        let q: Quantity = "1u".parse().unwrap();
        assert_eq!((q.value(), q.milli()), (1, 1));
        let q: Quantity = "-1500m".parse().unwrap();
        assert_eq!(q.value(), -2);
    }

    #[test]
    fn compares_by_amount() {
        let q = |t: &str| t.parse::<Quantity>().unwrap();
        assert_eq!(q("1Gi"), q("1024Mi"));
        assert!(q("1G") < q("1Gi"));
        assert_eq!(q("0").plus(q("1Gi")).plus(q("512Mi")).to_string(), "1536Mi");
        assert_eq!(q("1").minus(q("1500m")).to_string(), "-500m");
    }

    #[test]
    fn refuses_with_the_words_of_kubernetes() {
        for (text, error) in [
            ("", QuantityError::Format),
            ("1 ", QuantityError::Format),
            ("one", QuantityError::Format),
            ("1.2.3", QuantityError::Format),
            ("1Kib", QuantityError::Format),
            ("-", QuantityError::Format),
            (".", QuantityError::Number),
            ("1kk", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1i", QuantityError::Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), error, "{text:?}");
        }
    }
}
