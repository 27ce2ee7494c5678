//! Field selectors: `metadata.name=a,status.phase!=Running`, with backslash escapes in values.

use std::fmt;
use std::str::FromStr;

use super::{MAX_TEXT, SelectorError};

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path.
    pub field: String,
    /// The value that it is compared with.
    pub value: String,
    /// `!=`.
    pub negated: bool,
}

/// Comparisons that must all hold. Which fields exist is the resource's business: see [`FieldSelector::require_known`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// The comparisons.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must have, if the selector says so: `metadata.name=a` makes a list a lookup.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| !t.negated && t.field == field).map(|t| t.value.as_str())
    }

    /// Refuses fields that a resource cannot be selected by.
    pub fn require_known(&self, known: impl Fn(&str) -> bool) -> Result<(), SelectorError> {
        match self.terms.iter().find(|term| !known(&term.field)) {
            Some(term) => Err(SelectorError(format!("field label not supported: {}", term.field))),
            None => Ok(()),
        }
    }

    /// The same with other names for the fields.
    pub fn renamed(mut self, name: impl Fn(&str) -> &str) -> FieldSelector {
        for term in &mut self.terms {
            term.field = name(&term.field).to_owned();
        }
        self
    }

    /// Whether an object matches, given the text of its fields. An absent field counts as empty.
    pub fn matches<T: AsRef<str>>(&self, text: impl Fn(&str) -> Option<T>) -> bool {
        self.terms.iter().all(|term| {
            let same = match text(&term.field) {
                Some(found) => found.as_ref() == term.value,
                None => term.value.is_empty(),
            };
            same != term.negated
        })
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_TEXT {
            return Err(SelectorError(format!("a field selector may not be longer than {MAX_TEXT} bytes")));
        }
        let terms = split_terms(text).into_iter().filter(|part| !part.is_empty());
        let terms = terms.map(|part| {
            let (field, negated, value) = split_term(part).ok_or_else(|| {
                SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            Ok(FieldTerm { field: field.to_owned(), value: unescape(value)?, negated })
        });
        Ok(Self { terms: terms.collect::<Result<_, SelectorError>>()? })
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Field, negation and value of a term.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find("!=").into_iter().chain(term.find('=')).min()?;
    let rest = &term[at..];
    let (operator, negated) = match rest {
        _ if rest.starts_with("!=") => (2, true),
        _ if rest.starts_with("==") => (2, false),
        _ => (1, false),
    };
    Some((&term[..at], negated, &rest[operator..]))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => {
                    let text = format!("invalid field selector: invalid escape sequence: \\{other}");
                    return Err(SelectorError(text));
                }
                None => {
                    return Err(SelectorError(
                        "invalid field selector: invalid escape sequence: \\".to_owned(),
                    ));
                }
            },
            ',' | '=' => {
                // Kubernetes prints the character's number.
                let number = u32::from(c);
                let text = format!("invalid field selector: unescaped character in value: {number}");
                return Err(SelectorError(text));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

impl fmt::Display for FieldSelector {
    /// The text that parses to this selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}
