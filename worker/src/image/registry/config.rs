//! Where registries really are: the registries file, mirrors, and which of them may be spoken to without TLS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Authority;
use rustls::ClientConfig;
use serde::Deserialize;

use super::{RegistryError, trust};

/// `docker.io` is a name; this is where it answers.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// The registries file, in YAML:
///
/// ```yaml
/// registries:
///   docker.io:
///     mirrors: [https://mirror.example, http://10.0.0.5:5000]   # asked first, in this order
///   10.0.0.5:5000:
///     plain-http: true             # without TLS; by default only for loopback
///   registry.example:
///     ca-file: /etc/kontiki/registry.pem    # trusted beside the machine's authorities
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistriesFile {
    /// By the name of the registry, as it stands in the names of images.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistrySettings>,
}

/// What is special about one registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RegistrySettings {
    /// Registries to ask before it, as `https://HOST[:PORT]` or `http://HOST[:PORT]`.
    pub mirrors: Vec<String>,
    /// Speak HTTP without TLS to it. Not said: only if it is on loopback.
    pub plain_http: Option<bool>,
    /// Certificates (PEM) of authorities that may vouch for it.
    pub ca_file: Option<PathBuf>,
}

/// The registries as they are spoken to.
#[derive(Clone, Debug)]
pub struct Registries {
    settings: BTreeMap<String, Known>,
    /// Who vouches for registries that the file says nothing about.
    trust: Arc<ClientConfig>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    mirrors: Vec<(bool, Authority)>,
    plain_http: Option<bool>,
    trust: Option<Arc<ClientConfig>>,
}

/// One place to ask.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Without TLS.
    pub(super) plain: bool,
    pub(super) authority: Authority,
}

impl Registries {
    /// Takes up the file's contents: mirrors are parsed, certificates read.
    pub fn new(file: RegistriesFile) -> Result<Self, RegistryError> {
        let mut settings = BTreeMap::new();
        for (name, given) in file.registries {
            let bad = |cause: String| RegistryError::Config(format!("registry {name}: {cause}"));
            let mirrors = given.mirrors.iter().map(|mirror| {
                parse_mirror(mirror).ok_or_else(|| {
                    bad(format!("mirror \"{mirror}\" must be https://HOST[:PORT] or http://HOST[:PORT]"))
                })
            });
            let mirrors = mirrors.collect::<Result<Vec<_>, _>>()?;
            let trust = match &given.ca_file {
                Some(path) => Some(trust::with_file(path).map_err(bad)?),
                None => None,
            };
            settings.insert(name, Known { mirrors, plain_http: given.plain_http, trust });
        }
        Ok(Self { settings, trust: trust::of_machine().map_err(RegistryError::Config)? })
    }

    /// The places to ask for images of a registry, in this order.
    pub(super) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, RegistryError> {
        let known = self.settings.get(registry);
        let place = if registry == DOCKER.0 { DOCKER.1 } else { registry };
        let authority = place.parse::<Authority>().map_err(|source| RegistryError::InvalidName {
            name: registry.to_owned(),
            cause: source.to_string(),
        })?;
        let mirrors = known.map(|known| known.mirrors.clone()).unwrap_or_default().into_iter();
        let mirrors = mirrors.map(|(plain, authority)| Endpoint { plain, authority });
        let own = Endpoint { plain: self.may_be_plain(&authority), authority };
        Ok(mirrors.chain([own]).collect())
    }

    /// Whether this host may be spoken to without TLS: loopback, or one that the file names so.
    pub(super) fn may_be_plain(&self, authority: &Authority) -> bool {
        let named = self.settings.get(authority.as_str()).and_then(|known| known.plain_http);
        let mirrors = || self.settings.values().flat_map(|known| &known.mirrors);
        named.unwrap_or_else(|| {
            is_loopback(authority.host()) || mirrors().any(|(plain, mirror)| *plain && mirror == authority)
        })
    }

    /// Who vouches for this host.
    pub(super) fn trust(&self, authority: &Authority) -> Arc<ClientConfig> {
        let own = self.settings.get(authority.as_str()).and_then(|known| known.trust.clone());
        own.unwrap_or_else(|| Arc::clone(&self.trust))
    }
}

fn parse_mirror(text: &str) -> Option<(bool, Authority)> {
    let (plain, rest) = match text.split_once("://")? {
        ("http", rest) => (true, rest),
        ("https", rest) => (false, rest),
        _ => return None,
    };
    let authority = rest.trim_end_matches('/').parse::<Authority>().ok()?;
    (!authority.host().is_empty() && !authority.as_str().contains('@')).then_some((plain, authority))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with(name: &str, settings: RegistrySettings) -> Result<Registries, RegistryError> {
        Registries::new(RegistriesFile { registries: BTreeMap::from([(name.to_owned(), settings)]) })
    }

    fn places(registries: &Registries, name: &str) -> Vec<(bool, String)> {
        let endpoints = registries.endpoints(name).unwrap().into_iter();
        endpoints.map(|endpoint| (endpoint.plain, endpoint.authority.to_string())).collect()
    }

    #[test]
    fn only_loopback_is_spoken_to_without_tls_unless_the_file_says_so() {
        let plain = RegistrySettings { plain_http: Some(true), ..RegistrySettings::default() };
        let registries = with("reg.lab:5000", plain).unwrap();
        for (name, is_plain) in [
            ("127.0.0.1:5000", true),
            ("localhost", true),
            ("[::1]:5000", true),
            ("reg.lab:5000", true),
            ("reg.lab", false),
            ("10.0.0.1:5000", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(places(&registries, name), [(is_plain, name.to_owned())]);
        }
        let tls = RegistrySettings { plain_http: Some(false), ..RegistrySettings::default() };
        let registries = with("127.0.0.1:5000", tls).unwrap();
        assert_eq!(places(&registries, "127.0.0.1:5000"), [(false, "127.0.0.1:5000".to_owned())]);
    }

    #[test]
    fn mirrors_are_asked_first() {
        let mirrors = vec!["https://a.example".to_owned(), "http://10.0.0.5:5000/".to_owned()];
        let registries =
            with("docker.io", RegistrySettings { mirrors, ..RegistrySettings::default() }).unwrap();
        let own = (false, "registry-1.docker.io".to_owned());
        let mirrors = [(false, "a.example".to_owned()), (true, "10.0.0.5:5000".to_owned())];
        assert_eq!(places(&registries, "docker.io"), [&mirrors[..], &[own]].concat());
        for bad in ["a.example", "ftp://a", "https://", "https://a/path", "https://me@a"] {
            let mirrors = vec![bad.to_owned()];
            let refused = with("x", RegistrySettings { mirrors, ..RegistrySettings::default() });
            assert!(refused.is_err(), "{bad}");
        }
    }
}
