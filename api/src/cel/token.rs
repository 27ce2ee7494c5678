//! The signs of an expression.

/// A sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    /// `&&`, `(`, ...
    Sign(&'static str),
}

const SIGNS: [&str; 27] = [
    "&&", "||", "==", "!=", "<=", ">=", ".?", "[?", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".",
    ",", "(", ")", "[", "]", "{", "}", "=",
];

/// Reads all signs of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        let Some(first) = rest.chars().next() else { return Ok(out) };
        let (token, after) = if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            number(rest)?
        } else if let Some((prefix, quote)) = quoted(rest) {
            literal(&rest[prefix.len()..], prefix, quote)?
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            (Token::Name(rest[..end].to_owned()), &rest[end..])
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("Syntax error: token recognition error at: '{first}'"))?;
            (Token::Sign(sign), &rest[sign.len()..])
        };
        out.push(token);
        rest = after;
    }
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let wrong = || "Syntax error: not a number".to_owned();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let rest = &hex[end..];
        if let Some(rest) = rest.strip_prefix(['u', 'U']) {
            return Ok((Token::Uint(u64::from_str_radix(&hex[..end], 16).map_err(|_| wrong())?), rest));
        }
        return Ok((Token::Int(i64::from_str_radix(&hex[..end], 16).map_err(|_| wrong())?), rest));
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let digits = |mut at: usize| {
        while digit(at) {
            at += 1;
        }
        at
    };
    let (mut end, mut whole) = (digits(0), true);
    if bytes.get(end) == Some(&b'.') && digit(end + 1) {
        (end, whole) = (digits(end + 1), false);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digit(end + 1 + sign) {
            (end, whole) = (digits(end + 1 + sign), false);
        }
    }
    let (told, rest) = text.split_at(end);
    if !whole {
        return Ok((Token::Double(told.parse().map_err(|_| wrong())?), rest));
    }
    if let Some(rest) = rest.strip_prefix(['u', 'U']) {
        return Ok((Token::Uint(told.parse().map_err(|_| wrong())?), rest));
    }
    Ok((Token::Int(told.parse().map_err(|_| wrong())?), rest))
}

/// How a text begins, if one does: its prefix (`r`, `b`, `br`) and its quotes.
fn quoted(text: &str) -> Option<(&str, &str)> {
    // No further than a prefix is long: this is asked at each sign.
    let end = text.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
    let prefix = &text[..end];
    if !matches!(prefix.to_ascii_lowercase().as_str(), "" | "r" | "b" | "rb" | "br") {
        return None;
    }
    let rest = &text[end..];
    let long = ["\"\"\"", "'''"].into_iter().find(|quote| rest.starts_with(quote));
    Some((prefix, long.unwrap_or(&rest[..1])))
}

fn literal<'t>(text: &'t str, prefix: &str, quote: &str) -> Result<(Token, &'t str), String> {
    let raw = prefix.contains(['r', 'R']);
    let bytes = prefix.contains(['b', 'B']);
    let mut out = String::new();
    let mut octets = Vec::new();
    let mut rest = &text[quote.len()..];
    loop {
        if let Some(after) = rest.strip_prefix(quote) {
            let token = if bytes {
                octets.extend_from_slice(out.as_bytes());
                Token::Bytes(octets)
            } else {
                Token::Text(out)
            };
            return Ok((token, after));
        }
        let next = rest.chars().next().ok_or("Syntax error: a text is not closed")?;
        rest = &rest[next.len_utf8()..];
        match next {
            '\n' | '\r' if quote.len() == 1 => return Err("Syntax error: a text is not closed".into()),
            '\\' if !raw => {
                let (sign, after) = escape(rest)?;
                rest = after;
                if bytes && u32::from(sign) < 256 {
                    octets.extend_from_slice(out.as_bytes());
                    out.clear();
                    octets.push(u32::from(sign) as u8);
                } else {
                    out.push(sign);
                }
            }
            next => out.push(next),
        }
    }
}

/// What follows a backslash.
fn escape(text: &str) -> Result<(char, &str), String> {
    let wrong = || "Syntax error: an escape that means nothing".to_owned();
    let next = text.chars().next().ok_or_else(wrong)?;
    let rest = &text[next.len_utf8()..];
    let coded = |from: &'_ str, count: usize, radix: u32| -> Result<char, String> {
        let code = from.get(..count).ok_or_else(wrong)?;
        u32::from_str_radix(code, radix).ok().and_then(char::from_u32).ok_or_else(wrong)
    };
    Ok(match next {
        'n' => ('\n', rest),
        't' => ('\t', rest),
        'r' => ('\r', rest),
        'a' => ('\u{7}', rest),
        'b' => ('\u{8}', rest),
        'f' => ('\u{c}', rest),
        'v' => ('\u{b}', rest),
        '\\' | '\'' | '"' | '`' | '?' => (next, rest),
        'x' | 'X' => (coded(rest, 2, 16)?, &rest[2..]),
        'u' => (coded(rest, 4, 16)?, &rest[4..]),
        'U' => (coded(rest, 8, 16)?, &rest[8..]),
        '0'..='3' => (coded(text, 3, 8)?, &text[3..]),
        _ => return Err(wrong()),
    })
}
