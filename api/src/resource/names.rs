//! The forms of names, labels and qualified names.

/// How the objects of a kind may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Lower case words with `-` and `.`, at most 253 bytes.
    Subdomain,
    /// One word of it, at most 63 bytes.
    Label,
    /// One word that begins with a letter.
    Label1035,
    /// Anything that can stand in a path.
    Segment,
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

fn name_part(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(text.chars().next())
        && alphanumeric(text.chars().next_back())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn longer(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

impl NameRule {
    /// What is wrong with a name.
    pub fn check(self, name: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let (limit, fits, text) = match self {
            NameRule::Subdomain => (253, name.split('.').all(word), SUBDOMAIN),
            NameRule::Label => (63, word(name), LABEL),
            NameRule::Label1035 => {
                (63, word(name) && name.starts_with(|c: char| c.is_ascii_lowercase()), LABEL_1035)
            }
            NameRule::Segment => {
                let bad = name == "." || name == ".." || name.contains(['/', '%']) || name.is_empty();
                (253, !bad, "may not be '.', '..', or contain '/' or '%'")
            }
        };
        if name.len() > limit {
            wrong.push(longer(limit));
        }
        if !fits {
            wrong.push(text.to_owned());
        }
        wrong
    }
}

/// What is wrong with a label's value.
pub fn check_label_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > 63 {
        wrong.push(longer(63));
    }
    if !value.is_empty() && !name_part(value) {
        wrong.push(VALUE.to_owned());
    }
    wrong
}

/// What is wrong with a label's key, a finalizer, a resource's name.
pub fn check_qualified(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let part = match name.split_once('/') {
        Some((prefix, part)) => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    NameRule::Subdomain.check(prefix).into_iter().map(|text| format!("prefix part {text}")),
                );
            }
            part
        }
        None => name,
    };
    if part.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if part.len() > 63 {
        wrong.push(format!("name part {}", longer(63)));
    }
    if !name_part(part) {
        wrong.push(QUALIFIED.to_owned());
    }
    wrong
}

/// Checks a name that begins with the domain of who made it up: `acme.io/foo`.
pub fn domain_path(name: &str, path: &str, errors: &mut super::field::Errors) {
    match name.split_once('/') {
        _ if name.is_empty() => errors.required(path, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            for wrong in NameRule::Subdomain.check(domain) {
                errors.invalid_text(path, domain, &wrong);
            }
        }
        _ => errors.invalid_text(path, name, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

/// What is wrong with a port's name.
pub fn check_port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push("must be no more than 15 bytes".to_owned());
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_form() {
        for (rule, good, bad) in [
            (NameRule::Subdomain, "a.b-1.c", "a..b"),
            (NameRule::Subdomain, "0", "Web"),
            (NameRule::Label, "my-name", "my.name"),
            (NameRule::Label1035, "web", "1web"),
            (NameRule::Segment, "system:x", "a/b"),
        ] {
            assert_eq!(rule.check(good), Vec::<String>::new(), "{good}");
            assert!(!rule.check(bad).is_empty(), "{bad}");
        }
        assert!(!NameRule::Label.check(&"a".repeat(64)).is_empty());
        assert!(check_qualified("kubernetes.io/metadata.name").is_empty());
        assert!(!check_qualified("/x").is_empty() && !check_qualified("a/").is_empty());
        assert!(check_label_value("").is_empty() && !check_label_value("-x").is_empty());
        assert!(check_port_name("http-1").is_empty() && !check_port_name("80").is_empty());
    }
}
