//! Where something is on the web. Nothing here is fetched without TLS.

use http::Uri;

use crate::admission::To;

/// A URL of https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Whom the server's certificate must name.
    pub(super) server: String,
    /// As the header `Host` has it.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
    port: u16,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, in Kubernetes' words where it has some.
    pub(super) fn read(text: &str) -> Result<Url, String> {
        if text.contains('#') {
            return Err("URL must not contain a fragment".into());
        }
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        if uri.scheme_str() != Some("https") {
            return Err("URL scheme must be https".into());
        }
        let authority = uri.authority().ok_or("URL must name a host")?;
        if authority.as_str().contains('@') {
            return Err("URL must not contain a username or password".into());
        }
        let server = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if server.is_empty() {
            return Err("URL must name a host".into());
        }
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Url {
            server,
            authority: authority.to_string(),
            path: path.to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }

    pub(super) fn has_query(&self) -> bool {
        self.path.contains('?')
    }

    /// Where an issuer at this URL says what there is to know about it.
    pub(super) fn discovery(mut self) -> Url {
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        self.path = format!("{path}/.well-known/openid-configuration");
        self
    }

    /// What is dialed.
    pub(super) fn to(&self) -> To {
        To::Host(self.server.clone(), self.port)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_fetched_by_tls_is_a_url() {
        let url = Url::read("https://login.example.com:8443/realms/a?b=c").unwrap();
        assert_eq!(
            (url.server.as_str(), url.authority.as_str()),
            ("login.example.com", "login.example.com:8443")
        );
        assert_eq!((url.path.as_str(), url.has_query()), ("/realms/a?b=c", true));
        assert_eq!(url.to(), To::Host("login.example.com".into(), 8443));
        let six = Url::read("https://[::1]/").unwrap();
        assert_eq!((six.server.as_str(), six.authority.as_str()), ("::1", "[::1]"));
        assert_eq!(six.to(), To::Host("::1".into(), 443));
        for (wrong, why) in [
            ("http://a", "scheme must be https"),
            ("a.example.com", "scheme must be https"),
            ("https://jane@a", "a username or password"),
            ("https://jane:secret@a/", "a username or password"),
            ("https://a/#b", "a fragment"),
            ("https:///b", ""),
            ("", ""),
        ] {
            let refused = Url::read(wrong).unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
    }

    #[test]
    fn discovery_is_below_the_issuer() {
        for (issuer, discovery) in [
            ("https://a", "https://a/.well-known/openid-configuration"),
            ("https://a/", "https://a/.well-known/openid-configuration"),
            ("https://a:1/b", "https://a:1/b/.well-known/openid-configuration"),
            ("https://a/b/", "https://a/b/.well-known/openid-configuration"),
        ] {
            assert_eq!(Url::read(issuer).unwrap().discovery().to_string(), discovery);
        }
    }
}
