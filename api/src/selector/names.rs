//! What label keys and values may look like.

use super::SelectorError;

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Every problem of a label key (`prefix/name`), empty when it is fine.
pub(super) fn label_key_problems(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let form = "a qualified name ".to_owned() + NAME;
            return vec![form + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"];
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let mut problems = Vec::new();
    match prefix {
        Some("") => problems.push("prefix part must be non-empty".to_owned()),
        Some(prefix) if prefix.len() > 253 => {
            problems.push("prefix part must be no more than 253 bytes".to_owned())
        }
        Some(prefix) if !is_subdomain(prefix) => problems.push(format!("prefix part {SUBDOMAIN}")),
        _ => {}
    }
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        problems.push(format!("name part {NAME}"));
    }
    problems
}

/// Every problem of a label value.
pub(super) fn label_value_problems(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !value.is_empty() && !is_name(value) {
        problems.push(VALUE.to_owned());
    }
    problems
}

/// Refuses a key that no label can have.
pub(super) fn check_label_key(key: &str) -> Result<(), SelectorError> {
    refuse(key_problem(key).into_iter().collect())
}

/// The text of a bad key. The odd path is what clients of Kubernetes see there.
pub(super) fn key_problem(key: &str) -> Option<String> {
    invalid("<nil>", key, &label_key_problems(key))
}

/// The text of a bad value, at its place among the values of a key.
pub(super) fn value_problem(at: usize, key: &str, value: &str) -> Option<String> {
    invalid(&format!("values[{at}][{key}]"), value, &label_value_problems(value))
}

fn invalid(path: &str, value: &str, problems: &[String]) -> Option<String> {
    if problems.is_empty() {
        None
    } else {
        Some(format!("{path}: Invalid value: {value:?}: {}", problems.join("; ")))
    }
}

/// One problem stands alone, several in brackets.
pub(super) fn refuse(mut problems: Vec<String>) -> Result<(), SelectorError> {
    match problems.len() {
        0 => Ok(()),
        1 => Err(SelectorError(problems.remove(0))),
        _ => Err(SelectorError(format!("[{}]", problems.join(", ")))),
    }
}

fn is_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ends(text.chars().next()) && ends(text.chars().next_back()) && text.chars().all(inside)
}

fn is_subdomain(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.split('.').all(|part| {
        part.starts_with(lower) && part.ends_with(lower) && part.chars().all(|c| lower(c) || c == '-')
    })
}
