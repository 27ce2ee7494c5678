//! Regular expressions of schemas: those of Go, in which Kubernetes reads them, written for the engine here. Both take time that grows
//! with the text only, whatever the expression.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled expression.
const SIZE_LIMIT: usize = 1 << 20;

/// An expression, as it is told and as it is used.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles an expression. Tells what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        let regex =
            RegexBuilder::new(&from_go(text)).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes when compiled"),
            other => other.to_string().lines().last().unwrap_or_default().to_owned(),
        })?;
        Ok(Pattern { text: text.to_owned(), regex })
    }

    /// Whether it is found in a text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// All parts of a text that are of it.
    pub(crate) fn all(&self, text: &str) -> impl Iterator<Item = String> {
        self.regex.find_iter(text).map(|found| found.as_str().to_owned())
    }
}

/// Where the same signs mean something else: Go's classes `\d`, `\w` and `\s` are of ASCII only, and inside brackets `[`, `&&`, `--` and
/// `~~` mean themselves.
fn from_go(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut signs = text.chars().peekable();
    let (mut inside, mut first) = (false, false);
    while let Some(sign) = signs.next() {
        let begins = std::mem::take(&mut first);
        match sign {
            '\\' => match signs.next() {
                Some(class @ ('d' | 'w' | 's' | 'D' | 'W' | 'S')) => {
                    out.push_str(&ascii_class(class, inside))
                }
                Some('b') if !inside => out.push_str(r"(?-u:\b)"),
                Some('z') if !inside => out.push_str(r"\z"),
                // Up to \E, everything means itself.
                Some('Q') if !inside => {
                    let mut quoted = String::new();
                    while let Some(sign) = signs.next() {
                        if sign == '\\' && signs.peek() == Some(&'E') {
                            signs.next();
                            break;
                        }
                        quoted.push(sign);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if inside => match signs.peek() {
                Some(':') => {
                    out.push('[');
                    for sign in signs.by_ref() {
                        out.push(sign);
                        if sign == ']' {
                            break;
                        }
                    }
                }
                _ => out.push_str("\\["),
            },
            '[' => {
                (inside, first) = (true, true);
                out.push('[');
                if signs.peek() == Some(&'^') {
                    signs.next();
                    out.push('^');
                }
            }
            ']' if inside && begins => out.push_str("\\]"),
            ']' if inside => {
                inside = false;
                out.push(']');
            }
            '&' | '~' if inside => out.extend(['\\', sign]),
            // The first sign of all means itself; of two, the first makes a range that ends with the second.
            '-' if begins => out.push_str("\\-"),
            '-' if inside && signs.peek() == Some(&'-') => {
                signs.next();
                out.push_str("-\\-");
            }
            sign => out.push(sign),
        }
    }
    out
}

fn ascii_class(class: char, inside: bool) -> String {
    let members = match class.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => r"\t\n\f\r ",
    };
    match (class.is_ascii_uppercase(), inside) {
        (true, _) => format!("[^{members}]"),
        (false, true) => members.to_owned(),
        (false, false) => format!("[{members}]"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        for (pattern, yes, no) in [
            (r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$", "* * * * */5", "* * * *"),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", "a_b"),
            (r"^\d$", "7", "٧"),
            (r"^[\w.]+$", "a.b", "ä"),
            (r"^[^\s]+$", "a", " "),
            (r"^[[a]$", "[", "b"),
            (r"^[a&&b]+$", "&", "c"),
            (r"^[]a]$", "]", "b"),
            (r"^[[:digit:]]+$", "12", "x"),
            (r"^[+--]$", ",", "."),
            (r"^[--/]$", ".", "0"),
            (r"\Qa.b\E$", "a.b", "axb"),
            (r"^.$", "ä", "ab"),
            (r"(?i)^abc$", "ABC", "abd"),
            (r"^[\D]$", "x", "1"),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert!(compiled.matches(yes), "{pattern} {yes}");
            assert!(!compiled.matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_none_or_too_large_is_refused() {
        for wrong in ["(", "a{1001}{1001}{1001}", "(?=a)", r"(a)\1"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
