//! Where an image is to be fetched from: the parts of its full name.

use super::RegistryError;
use crate::image::name::{is_digest, normalise};

/// The longest name that registries take.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// An image's name, taken apart. Grammar: github.com/distribution/reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// The registry as it stands in the name, such as `docker.io` or `127.0.0.1:5000`.
    pub(crate) registry: String,
    /// The repository in it, such as `library/web`.
    pub(crate) repository: String,
    /// A tag, or a digest (`sha256:...`).
    pub(crate) version: String,
}

impl Reference {
    /// Takes a name apart as people write it (`web:1` is `docker.io/library/web:1`).
    pub(crate) fn parse(name: &str) -> Result<Self, RegistryError> {
        let invalid =
            |cause: &str| RegistryError::InvalidName { name: name.to_owned(), cause: cause.to_owned() };
        let full = normalise(name);
        if is_digest(&full) {
            return Err(invalid("a digest alone names no registry: write REGISTRY/REPOSITORY@sha256:..."));
        }
        let (registry, path) = full.split_once('/').ok_or_else(|| invalid("invalid reference format"))?;
        let (repository, version) = match path.split_once('@') {
            Some((repository, digest)) if is_digest(digest) => (repository, digest),
            Some(_) => return Err(invalid("the digest is not sha256: and 64 hexadecimal digits")),
            None => path.rsplit_once(':').ok_or_else(|| invalid("invalid reference format"))?,
        };
        if !is_digest(version) && !is_tag(version) {
            return Err(invalid("invalid reference format"));
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("invalid reference format: repository name must be lowercase"));
        }
        if full.len() > NAME_MAX + TAG_MAX
            || !is_registry(registry)
            || !repository.split('/').all(is_path_component)
        {
            return Err(invalid("invalid reference format"));
        }
        let own = |text: &str| text.to_owned();
        Ok(Self { registry: own(registry), repository: own(repository), version: own(version) })
    }

    /// Whether it names one image for ever.
    pub(crate) fn is_digest(&self) -> bool {
        is_digest(&self.version)
    }

    /// `registry/repository`.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.is_digest() { '@' } else { ':' };
        write!(f, "{}{separator}{}", self.place(), self.version)
    }
}

fn is_registry(text: &str) -> bool {
    let Ok(authority) = text.parse::<http::uri::Authority>() else { return false };
    let port = text.strip_prefix(authority.host()).unwrap_or_default();
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    !authority.host().is_empty() && !text.contains('@') && port_fits
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= TAG_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Lower-case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_path_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    plain(first)
        && plain(last)
        && text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && !["..", "._", "_.", ".-", "-.", "_-", "-_", "___"].iter().any(|bad| text.contains(bad))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (name, registry, repository, version) in [
            ("web", "docker.io", "library/web", "latest"),
            ("127.0.0.1:5000/team/web:1.2", "127.0.0.1:5000", "team/web", "1.2"),
            (&format!("ghcr.io/a/b-c__d@{digest}"), "ghcr.io", "a/b-c__d", digest.as_str()),
            ("[::1]:5000/web:1", "[::1]:5000", "web", "1"),
        ] {
            let reference = Reference::parse(name).unwrap();
            let parts =
                (reference.registry.as_str(), reference.repository.as_str(), reference.version.as_str());
            assert_eq!(parts, (registry, repository, version), "{name}");
            assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let long = "a".repeat(400);
        for name in [
            "",
            "Web",
            "web:",
            "web:a b",
            "web@sha256:1",
            "a//b",
            "a/../b",
            "a/.b",
            "we b",
            "reg.io/we?b",
            "user@reg.io/web",
            "reg.io:x/web",
            &digest,
            &long,
            "web:1/../../x",
            "a/b%2e:1",
        ] {
            let refused = Reference::parse(name);
            assert!(matches!(refused, Err(RegistryError::InvalidName { .. })), "{name:?}: {refused:?}");
        }
    }
}
