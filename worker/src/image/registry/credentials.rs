//! Who asks a registry: the credentials in Docker's configuration format, and for which images each is meant.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::reference::Reference;

/// Entries of one configuration that are looked at.
const ENTRIES_MAX: usize = 256;
/// The names under which Docker Hub's credentials are kept.
const DOCKER_NAMES: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A user of a registry, or of a part of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credential {
    /// Where it counts: a host, which may have globs in it, and perhaps a path.
    place: String,
    username: String,
    password: String,
}

/// The password is for nobody to read.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({} at {})", self.username, self.place)
    }
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

impl Credential {
    /// The credentials of a `config.json` (`kubernetes.io/dockerconfigjson`). Entries without a user are passed over.
    pub fn from_config_json(json: &[u8]) -> Result<Vec<Self>, String> {
        let config: ConfigJson = serde_json::from_slice(json).map_err(|_| NOT_A_CONFIG.to_owned())?;
        Ok(credentials(config.auths))
    }

    /// The credentials of a `.dockercfg` (`kubernetes.io/dockercfg`), the form of old.
    pub fn from_dockercfg(json: &[u8]) -> Result<Vec<Self>, String> {
        let auths = serde_json::from_slice(json).map_err(|_| NOT_A_CONFIG.to_owned())?;
        Ok(credentials(auths))
    }

    /// Those that count for an image, the most special first, as Kubernetes chooses them.
    pub(crate) fn matching<'a>(all: &'a [Self], reference: &Reference) -> Vec<&'a Self> {
        let mut matching: Vec<_> = all.iter().filter(|it| it.counts_for(reference)).collect();
        matching.sort_by_key(|it| std::cmp::Reverse(it.place.len()));
        matching
    }

    /// Whether it is for this image: each part of the host fits (`*` for a part, or a piece of one), the port is the same, the path is a beginning
    /// of the repository's. Source: Kubernetes' "Images", "Interpretation of config.json".
    fn counts_for(&self, reference: &Reference) -> bool {
        let (host, path) = match self.place.split_once('/') {
            Some((host, path)) => (host, path.trim_end_matches('/')),
            None => (self.place.as_str(), ""),
        };
        // Docker's own configuration has versions where a path would be.
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        let docker = DOCKER_NAMES.contains(&reference.registry.as_str()) && DOCKER_NAMES.contains(&host);
        if !docker && !host_fits(host, &reference.registry) {
            return false;
        }
        let rest = reference.repository.strip_prefix(path);
        path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// User and password.
    pub(crate) fn login(&self) -> (&str, &str) {
        (&self.username, &self.password)
    }

    /// The value of an `Authorization` header.
    pub(super) fn basic(&self) -> Option<http::HeaderValue> {
        let text = STANDARD.encode(format!("{}:{}", self.username, self.password));
        let mut value = http::HeaderValue::from_str(&format!("Basic {text}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The parser's own words could tell a part of a password.
const NOT_A_CONFIG: &str = "it is not a Docker configuration in JSON";

fn credentials(auths: BTreeMap<String, Entry>) -> Vec<Credential> {
    let credential = |(place, entry): (String, Entry)| {
        let place = place.trim_start_matches("https://").trim_start_matches("http://");
        let (username, password) = match decoded(&entry.auth) {
            Some(pair) => pair,
            None => (entry.username, entry.password),
        };
        let place = place.trim_end_matches('/').to_owned();
        (!username.is_empty()).then_some(Credential { place, username, password })
    };
    auths.into_iter().take(ENTRIES_MAX).filter_map(credential).collect()
}

fn decoded(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = split_port(pattern);
    let (host, port) = split_port(host);
    let (patterns, parts): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern_port == port
        && patterns.len() == parts.len()
        && patterns.iter().zip(&parts).all(|(pattern, part)| part_fits(pattern, part))
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// `*` stands for any letters of one part, none among them.
fn part_fits(pattern: &str, part: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == part };
    let Some(rest) = part.strip_prefix(before) else { return false };
    let mut cuts = (0..=rest.len()).filter(|cut| rest.is_char_boundary(*cut));
    // A second star is not worth a search of its own: hosts are short.
    cuts.any(|cut| after.len() < pattern.len() && part_fits(after, &rest[cut..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn users(place: &str, image: &str) -> usize {
        let json =
            serde_json::json!({ "auths": { place: { "auth": STANDARD.encode("me:secret") } } }).to_string();
        let all = Credential::from_config_json(json.as_bytes()).unwrap();
        Credential::matching(&all, &Reference::parse(image).unwrap()).len()
    }

    #[test]
    fn credentials_count_where_kubernetes_says_they_do() {
        for (place, image, count) in [
            ("https://index.docker.io/v1/", "web:1", 1),
            ("docker.io", "team/web:1", 1),
            ("ghcr.io", "ghcr.io/team/web:1", 1),
            ("ghcr.io/team", "ghcr.io/team/web:1", 1),
            ("ghcr.io/te", "ghcr.io/team/web:1", 0),
            ("ghcr.io/other", "ghcr.io/team/web:1", 0),
            ("*.example.io", "a.example.io/web:1", 1),
            ("*.example.io", "a.b.example.io/web:1", 0),
            ("re*.example.io", "reg.example.io/web:1", 1),
            ("*.io", "evil.example.io/web:1", 0),
            ("example.io", "evil-example.io/web:1", 0),
            ("127.0.0.1:5000", "127.0.0.1:5000/web:1", 1),
            ("127.0.0.1:5000", "127.0.0.1:5001/web:1", 0),
            ("127.0.0.1", "127.0.0.1:5001/web:1", 0),
        ] {
            assert_eq!(users(place, image), count, "{place} for {image}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_without_being_told() {
        let refused = Credential::from_config_json(b"{\"auths\": \"hunter2\"}").unwrap_err();
        assert!(!refused.contains("hunter2"));
        assert_eq!(
            format!(
                "{:?}",
                Credential::from_dockercfg(br#"{"a.io": {"username": "me", "password": "hunter2"}}"#)
                    .unwrap()
            ),
            "[Credential(me at a.io)]"
        );
    }
}
