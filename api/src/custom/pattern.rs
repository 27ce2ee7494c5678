//! Regular expressions of schemas: those of Go, in which Kubernetes reads them, written for the engine here. Both take time that grows
//! with the text only, whatever the expression.

use std::{collections::HashMap, str::Chars, sync::Arc};

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled expression, at most the last: the first into which it fits tells how much it takes.
const SIZES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Bytes of an expression as it is told: reading a class of Unicode takes a thousand times what it takes to write it.
const LENGTH: usize = 8 << 10;
/// Bytes of all compiled expressions of a definition. Hundreds of the usual ones are far below.
const TOGETHER: usize = 64 << 20;

/// An expression, as it is told and as it is used.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    /// Bytes that it takes, at most.
    pub(crate) weight: usize,
    regex: Regex,
}

/// Why an expression is not used.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) why: String,
    /// Bytes that it took to find that out.
    pub(crate) weight: usize,
}

impl Pattern {
    /// Compiles an expression. Tells what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Pattern, Wrong> {
        if text.len() > LENGTH {
            return Err(Wrong { why: format!("it is longer than {LENGTH} bytes"), weight: 0 });
        }
        let told = from_go(text);
        for weight in SIZES {
            match RegexBuilder::new(&told).size_limit(weight).dfa_size_limit(weight).build() {
                Ok(regex) => return Ok(Pattern { text: text.to_owned(), weight, regex }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(other) => {
                    let why = other.to_string().lines().last().unwrap_or_default().to_owned();
                    return Err(Wrong { why, weight: 0 });
                }
            }
        }
        let most = SIZES[SIZES.len() - 1];
        Err(Wrong { why: format!("it takes more than {most} bytes when compiled"), weight: most })
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

/// Why a definition has not an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is none, in words.
    Wrong(String),
    /// There is no room for it beside the others.
    TooMuch,
}

/// The expressions of a definition, in all of its versions: equal ones are compiled once, and all together are bounded. From the one on
/// that is beyond the bound, none is compiled.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    known: HashMap<String, Result<Arc<Pattern>, Refused>>,
    weight: usize,
}

impl Patterns {
    /// An expression of the definition.
    pub(crate) fn get(&mut self, text: &str) -> Result<Arc<Pattern>, Refused> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.weight > TOGETHER {
            return Err(Refused::TooMuch);
        }
        let compiled = Pattern::new(text);
        self.weight += compiled.as_ref().map_or_else(|wrong| wrong.weight, |pattern| pattern.weight);
        let out = match compiled {
            Ok(_) if self.weight > TOGETHER => Err(Refused::TooMuch),
            Ok(pattern) => Ok(Arc::new(pattern)),
            Err(wrong) => Err(Refused::Wrong(wrong.why)),
        };
        self.known.insert(text.to_owned(), out.clone());
        out
    }
}

/// Where the same signs mean something else: Go's classes `\d`, `\w` and `\s` are of ASCII only, braces that are no repetition mean
/// themselves, and so does what is escaped and no letter (`\<`). Nobody asks for groups: they are none here, which saves what it takes to
/// find them.
fn from_go(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => escaped(&mut signs, &mut out),
            '[' => bracketed(&mut signs, &mut out),
            '(' => {
                out.push('(');
                let name = group_name(signs.as_str());
                if name > 0 || !signs.as_str().starts_with('?') {
                    out.push_str("?:");
                }
                signs = signs.as_str()[name..].chars();
            }
            '{' => match repetition(signs.as_str()) {
                Some(end) => {
                    out.push('{');
                    out.push_str(&signs.as_str()[..end]);
                    signs = signs.as_str()[end..].chars();
                }
                None => out.push_str("\\{"),
            },
            sign => out.push(sign),
        }
    }
    out
}

/// The length of `?P<name>` or `?<name>`, with which a text may begin.
fn group_name(text: &str) -> usize {
    let named = text.strip_prefix("?P<").or_else(|| text.strip_prefix("?<"));
    let name = named.and_then(|named| Some((named, named.split_once('>')?.0)));
    match name {
        Some((named, name)) if !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric()) => {
            text.len() - named.len() + name.len() + 1
        }
        _ => 0,
    }
}

/// The length of what follows a brace, if that is a repetition: `2}`, `2,}` or `2,3}`.
fn repetition(text: &str) -> Option<usize> {
    let end =
        text.find(|c: char| c != ',' && !c.is_ascii_digit()).filter(|end| text[*end..].starts_with('}'))?;
    let number =
        |text: &str| !text.is_empty() && (text == "0" || !text.starts_with('0')) && !text.contains(',');
    let (least, most) = text[..end].split_once(',').unwrap_or((&text[..end], ""));
    (number(least) && (most.is_empty() || number(most))).then_some(end + 1)
}

/// What follows a backslash outside of brackets.
fn escaped(signs: &mut Chars<'_>, out: &mut String) {
    let rest = signs.as_str();
    match signs.next() {
        Some(class @ ('d' | 'w' | 's' | 'D' | 'W' | 'S')) => out.push_str(&ascii_class(class, false)),
        Some('b') => out.push_str(r"(?-u:\b)"),
        Some('B') => out.push_str(r"(?-u:\B)"),
        Some('p' | 'P') => unicode_class(rest, signs, out),
        // Up to \E, everything means itself.
        Some('Q') => {
            let (quoted, after) = signs.as_str().split_once("\\E").unwrap_or((signs.as_str(), ""));
            out.push_str(&regex::escape(quoted));
            *signs = after.chars();
        }
        _ => {
            *signs = rest.chars();
            escaped_sign(signs, out);
        }
    }
}

/// What follows a backslash and is one sign, inside of brackets or outside.
fn escaped_sign(signs: &mut Chars<'_>, out: &mut String) {
    match signs.next() {
        Some('x') => {
            out.push_str("\\x");
            braced(signs, out);
        }
        Some(sign) if sign.is_ascii() && !sign.is_ascii_alphanumeric() => literal(sign, out),
        Some(other) => out.extend(['\\', other]),
        None => out.push('\\'),
    }
}

/// `p{Greek}` or `pL`, which mean the same: copied, but for the sign that was read.
fn unicode_class(rest: &str, signs: &mut Chars<'_>, out: &mut String) {
    out.push('\\');
    out.push_str(&rest[..1]);
    if signs.as_str().starts_with('{') { braced(signs, out) } else { out.extend(signs.next()) }
}

/// What is in braces, if a text begins with them: copied.
fn braced(signs: &mut Chars<'_>, out: &mut String) {
    if signs.as_str().starts_with('{') {
        let end = signs.as_str().find('}').map_or(signs.as_str().len(), |end| end + 1);
        out.push_str(&signs.as_str()[..end]);
        *signs = signs.as_str()[end..].chars();
    }
}

fn literal(sign: char, out: &mut String) {
    out.push_str(&regex::escape(sign.encode_utf8(&mut [0; 4])));
}

/// What follows an opening bracket: classes, and signs and ranges of them, in which `[`, `&&`, `--` and `~~` mean nothing else. A `-` that
/// is neither between two signs nor first or last means itself, too.
fn bracketed(signs: &mut Chars<'_>, out: &mut String) {
    out.push('[');
    if let Some(after) = signs.as_str().strip_prefix('^') {
        out.push('^');
        *signs = after.chars();
    }
    let mut first = true;
    loop {
        let rest = signs.as_str();
        if rest.is_empty() {
            return;
        }
        if rest.starts_with(']') && !first {
            out.push(']');
            signs.next();
            return;
        }
        first = false;
        if let Some(end) = rest.strip_prefix("[:").and_then(|named| named.find(":]")) {
            let (named, after) = rest.split_at(end + 4);
            out.push_str(named);
            *signs = after.chars();
            continue;
        }
        let mut ahead = rest.chars();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), Some(class @ ('d' | 'w' | 's' | 'D' | 'W' | 'S'))) => {
                out.push_str(&ascii_class(class, true));
                *signs = ahead;
            }
            (Some('\\'), Some('p' | 'P')) => {
                *signs = ahead;
                unicode_class(&rest[1..], signs, out);
            }
            _ => {
                member(signs, out);
                let after = signs.as_str().strip_prefix('-').filter(|after| !after.is_empty());
                if let Some(after) = after.filter(|after| !after.starts_with(']')) {
                    out.push('-');
                    *signs = after.chars();
                    member(signs, out);
                }
            }
        }
    }
}

/// One sign inside of brackets.
fn member(signs: &mut Chars<'_>, out: &mut String) {
    match signs.next() {
        Some('\\') => {
            let hex = signs.as_str().starts_with('x') && !signs.as_str().starts_with("x{");
            escaped_sign(signs, out);
            if hex {
                out.extend(signs.by_ref().take(2));
            }
        }
        Some(sign) => literal(sign, out),
        None => {}
    }
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
            // After a class, a `-` means itself.
            (r"^[\w-\.]+$", "a-b.c", "a b"),
            (r"^[\s-_]+$", " -_", "A"),
            (r"^[\d-&&]+$", "1-&", "%"),
            (r"^[\w-\.-_]+$", "a-:", " "),
            (r"^[[:alpha:]-z]+$", "a-", "1"),
            (r"^[\pL-.]+$", "ä-.", "1"),
            (r"^[a-c-e]+$", "b-e", "d"),
            (r"^[\x41-\x43-]+$", "B-", "x"),
            (r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$", "jane.d-oe@mail.example.org", "jane doe@example.org"),
            // Braces that are no repetition mean themselves.
            (r"^{.*}$", "{a}", "a"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2}b{1,}c{0,1}$", "aabb", "ab"),
            (r"^\$\{\w+}$", "${a}", "$a"),
            (r"^\x{41}\p{Greek}\x42$", "AαB", "AaB"),
            // What is escaped and no letter means itself.
            (r"\<a\>", "<a>", "a"),
            (r"^[\<\>]$", "<", "a"),
            (r"^a\b{start}$", "a{start}", "a"),
            (r"a\B", "ab", "aä"),
            (r"^(?P<n>a|b)(?<m>c)(?:d)$", "acd", "cd"),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|wrong| panic!("{pattern}: {}", wrong.why));
            assert!(compiled.matches(yes), "{pattern} {yes}");
            assert!(!compiled.matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_none_or_too_large_is_refused() {
        let long = "a".repeat(LENGTH + 1);
        for wrong in
            ["(", "a{1001}{1001}{1001}", "(?=a)", "(?<=a)", r"(a)\1", "[a", "[z-a]", r"[a-\d]", &long]
        {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn expressions_are_bounded_together() {
        let mut patterns = Patterns::default();
        assert!(Pattern::new("[^a]{900}").unwrap().weight > Pattern::new("a").unwrap().weight);
        // Equal ones are one.
        for _ in 0..1000 {
            assert!(patterns.get("[^a]{900}").is_ok());
        }
        let different = |n: usize| format!("[^a]{{900}}{n}");
        let refused = (0..1000).find(|n| patterns.get(&different(*n)).err() == Some(Refused::TooMuch));
        assert!(refused.is_some_and(|n| n < 256), "{refused:?}");
        let known = patterns.known.len();
        assert_eq!(patterns.get("later").err(), Some(Refused::TooMuch));
        assert_eq!(patterns.known.len(), known, "nothing is compiled any more");
        assert!(patterns.get("[^a]{900}").is_ok(), "what was there is there");
        // Finding out that one is too large takes room and time, too.
        let mut patterns = Patterns::default();
        assert!(
            (0..100).any(|n| patterns.get(&format!("a{{999}}{{999}}{n}")).err() == Some(Refused::TooMuch))
        );
    }
}
