//! The names that stand in certificates: what is allowed, how an identity is written as a URI, and the DNS names by
//! which a process is dialed.

use rustls_pki_types::ServerName;

use crate::Error;

/// The end of every name by which processes are dialed. `.internal` is reserved for private use: no resolver is asked.
const DOMAIN: &str = "kontiki.internal";

/// Leaves room for `.workers.<cluster>.kontiki.internal` within the 253 characters of a DNS name.
const MAX_NAME: usize = 160;

/// Users and groups are free text, but not without end.
const MAX_TEXT: usize = 256;

/// A cluster id is one DNS label.
pub(crate) fn check_cluster_id(id: &str) -> Result<(), Error> {
    if id.len() <= 63 && is_label(id) {
        return Ok(());
    }
    let rule = "1 to 63 lowercase letters, digits and `-`, not at the ends";
    Err(Error::Name { what: "cluster id", value: shortened(id), rule })
}

/// The name of a controller or worker is DNS labels joined by dots, as a Kubernetes node name.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if name.len() <= MAX_NAME && name.split('.').all(|label| label.len() <= 63 && is_label(label)) {
        return Ok(());
    }
    let rule = "at most 160 lowercase letters, digits, `-` and `.`, each part beginning and ending with a letter or digit";
    Err(Error::Name { what, value: shortened(name), rule })
}

/// The name of a user or group may be anything that prints.
pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    if !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::Name { what, value: shortened(text), rule: "1 to 256 bytes, no control characters" })
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// So that an error about a monstrous name is not itself monstrous.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The name that every controller answers to.
pub(crate) fn any_controller(cluster: &str) -> String {
    format!("controllers.{cluster}.{DOMAIN}")
}

/// The name that only the controller with this id answers to.
pub(crate) fn controller(cluster: &str, id: u64) -> String {
    format!("c{id}.controllers.{cluster}.{DOMAIN}")
}

/// The name that only this worker answers to.
pub(crate) fn worker(cluster: &str, name: &str) -> String {
    format!("{name}.workers.{cluster}.{DOMAIN}")
}

/// As the TLS library wants it.
pub(crate) fn server_name(name: String) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.clone()).map_err(|_| Error::Name {
        what: "server name",
        value: shortened(&name),
        rule: "it must be a DNS name",
    })
}

/// Writes one segment of an identity URI: everything but letters, digits and `-._~` becomes `%XX`.
pub(crate) fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Reads what [`escape`] wrote; `None` for anything else.
pub(crate) fn unescape(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(high << 4 | low);
    }
    String::from_utf8(out).ok()
}

/// Lowercase hexadecimal, as fingerprints are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The SHA-256 of a certificate's DER.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(der))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn any_text_survives_the_uri() {
        for text in ["jane", "jane@example.com", "system:admin", "a/b c%2F", "Ælfred", "🛶"] {
            assert_eq!(unescape(&escape(text)).unwrap(), text);
            assert!(!escape(text).contains('/'));
        }
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_would_break_a_certificate_are_refused() {
        for good in ["a", "node-1", "node-1.zone-a.example"] {
            check_name("node", good).unwrap();
        }
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "-a", "a-", "a..b", "A", "a b", "a/b", "a\n", "*.a", long.as_str()] {
            assert!(check_name("node", bad).is_err(), "{bad:?}");
        }
        assert!(check_cluster_id("two.labels").is_err());
        assert!(check_text("user", "a\nb").is_err());
    }

    #[test]
    fn the_longest_names_still_make_a_server_name() {
        let cluster = "c".repeat(63);
        let labels = ["n".repeat(63), "n".repeat(63), "n".repeat(32)].join(".");
        assert_eq!(labels.len(), MAX_NAME);
        server_name(worker(&cluster, &labels)).unwrap();
        server_name(controller(&cluster, u64::MAX)).unwrap();
    }
}
