//! `'%s of %d'.format([a, b])`: texts with values in them.
//! <https://github.com/google/cel-spec/blob/master/doc/extensions/strings.md#format>
//!
//! What is written was paid for: of a list, all of it is paid before a function is called with it.

use super::{functions::text_of, value::Val};

/// Digits after the point: those that are asked for, at most, and those of whoever asks for none.
const PRECISION: usize = 100;
const DIGITS: usize = 6;

/// Writes values into a text.
///
/// # Errors
/// A clause is none, has no value, or one that it is not for.
pub(super) fn text(template: &str, values: &[Val<'_>]) -> Result<String, String> {
    let (mut out, mut values, mut signs) =
        (String::new(), values.iter().enumerate(), template.chars().peekable());
    while let Some(sign) = signs.next() {
        if sign != '%' {
            out.push(sign);
            continue;
        }
        let mut precision = None;
        if signs.next_if_eq(&'.').is_some() {
            let mut told = 0_usize;
            while let Some(digit) = signs.peek().and_then(|sign| sign.to_digit(10)) {
                signs.next();
                told = told.saturating_mul(10).saturating_add(digit as usize);
            }
            if told > PRECISION {
                return Err(format!("a precision of {told} is more than {PRECISION}"));
            }
            precision = Some(told);
        }
        let Some(clause) = signs.next() else { return Err("unexpected end of string".into()) };
        if clause == '%' {
            out.push('%');
            continue;
        }
        let Some((at, value)) = values.next() else {
            return Err("index out of range: there are more clauses than values".into());
        };
        one(clause, precision, value, &mut out).map_err(|why| format!("at value {at}: {why}"))?;
    }
    Ok(out)
}

fn one(clause: char, precision: Option<usize>, value: &Val<'_>, out: &mut String) -> Result<(), String> {
    let digits = precision.unwrap_or(DIGITS);
    let made = match (clause, value) {
        ('s', value) => {
            shown(value, out);
            return Ok(());
        }
        ('d', Val::Int(_) | Val::Uint(_)) => text_of(value),
        ('f', Val::Double(n)) => Some(format!("{n:.digits$}")),
        ('f', Val::Int(n)) => Some(format!("{:.digits$}", *n as f64)),
        ('f', Val::Uint(n)) => Some(format!("{:.digits$}", *n as f64)),
        ('e', Val::Double(n)) => Some(scientific(*n, digits)),
        ('e', Val::Int(n)) => Some(scientific(*n as f64, digits)),
        ('b', Val::Int(n)) => Some(signed(*n, |n| format!("{n:b}"))),
        ('b', Val::Uint(n)) => Some(format!("{n:b}")),
        ('b', Val::Bool(on)) => Some(u8::from(*on).to_string()),
        ('o', Val::Int(n)) => Some(signed(*n, |n| format!("{n:o}"))),
        ('o', Val::Uint(n)) => Some(format!("{n:o}")),
        ('x', Val::Int(n)) => Some(signed(*n, |n| format!("{n:x}"))),
        ('X', Val::Int(n)) => Some(signed(*n, |n| format!("{n:X}"))),
        ('x', Val::Uint(n)) => Some(format!("{n:x}")),
        ('X', Val::Uint(n)) => Some(format!("{n:X}")),
        ('x', Val::Text(text)) => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ('X', Val::Text(text)) => Some(text.bytes().map(|byte| format!("{byte:02X}")).collect()),
        ('x', Val::Bytes(bytes)) => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        ('X', Val::Bytes(bytes)) => Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect()),
        ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', value) => {
            return Err(format!("%{clause} is not for a {}", value.kind()));
        }
        _ => return Err(format!("unrecognized formatting clause \"{clause}\"")),
    };
    out.push_str(&made.unwrap_or_default());
    Ok(())
}

fn signed(n: i64, shown: impl Fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, shown(n.unsigned_abs()))
}

/// `1.500000e+00`.
fn scientific(n: f64, digits: usize) -> String {
    let text = format!("{n:.digits$e}");
    let Some((number, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{number}e{sign}{exponent:0>2}")
}

/// Any value, as `%s` writes it.
fn shown(value: &Val<'_>, out: &mut String) {
    if let Some(text) = text_of(value) {
        return out.push_str(&text);
    }
    if let Some(items) = value.items() {
        out.push('[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            shown(item, out);
        }
        return out.push(']');
    }
    if let Some(keys) = value.keys() {
        let mut entries: Vec<(String, &Val<'_>)> =
            keys.iter().map(|key| (text_of(key).unwrap_or_default(), key)).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        out.push('{');
        for (at, (name, key)) in entries.iter().enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            out.push_str(name);
            out.push_str(": ");
            shown(&value.get(key).unwrap_or(Val::Null), out);
        }
        return out.push('}');
    }
    out.push_str(match value {
        Val::Null => "null",
        Val::Type(of) => of,
        Val::Optional(None) => "optional.none()",
        Val::Optional(Some(inner)) => return shown(inner, out),
        other => other.kind(),
    });
}
