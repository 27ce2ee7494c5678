//! Who is at the other end, as its certificate says.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::{Error, names};

/// What a process or person is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One of the controllers.
    Controller,
    /// A machine that runs pods.
    Worker,
    /// A person or a program that uses the API.
    User,
}

/// Who is at the other end of a connection, read from its verified certificate. [`crate::serve`] puts it into each
/// request's extensions; a request without it is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// What it is.
    pub role: Role,
    /// The controller's, node's or user's name.
    pub name: String,
    /// The consensus id, of controllers only.
    pub node_id: Option<u64>,
    /// The groups that it is in: `system:controllers`, `system:nodes`, or a user's own.
    pub groups: Vec<String>,
    /// The SHA-256 of its certificate in hexadecimal, for audit and revocation.
    pub fingerprint: String,
}

impl Peer {
    /// Reads a certificate's identity. This does not verify the certificate: TLS has done that, or must.
    pub fn from_certificate(der: &[u8]) -> Result<Peer, Error> {
        let refuse = |why: &str| Error::Certificate(why.to_owned());
        let (rest, cert) = x509_parser::parse_x509_certificate(der)
            .map_err(|e| Error::Certificate(format!("it cannot be read: {e}")))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow after its end"));
        }
        let mut identity = None;
        let mut groups: Vec<String> = Vec::new();
        for organization in cert.subject().iter_organization() {
            let group = organization.as_str().map_err(|_| refuse("its organization is not a text"))?;
            groups.push(group.to_owned());
        }
        for uri in uris(&cert)? {
            let Some(uri) = uri.strip_prefix("kontiki://") else { continue };
            let segments: Vec<String> = uri
                .split('/')
                .map(|s| names::unescape(s).ok_or_else(|| refuse("its identity has a broken escape")))
                .collect::<Result<_, _>>()?;
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            if let [_, "group", group] = segments[..] {
                groups.push(group.to_owned());
            } else if identity.replace(Named::parse(&segments)?).is_some() {
                return Err(refuse("it carries more than one identity"));
            }
        }
        let Named { cluster, role, name, node_id } =
            identity.ok_or_else(|| refuse("it carries no kontiki:// identity"))?;
        Ok(Peer { cluster, role, name, node_id, groups, fingerprint: names::fingerprint(der) })
    }

    /// The name under which Kubernetes' rules know it: `system:controller:<name>`, `system:node:<name>`, or the user's.
    pub fn user_name(&self) -> String {
        match self.role {
            Role::Controller => format!("system:controller:{}", self.name),
            Role::Worker => format!("system:node:{}", self.name),
            Role::User => self.name.clone(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.role, self.node_id) {
            (Role::Controller, Some(id)) => write!(f, "controller {} (id {id})", self.name),
            (Role::Controller, None) => write!(f, "controller {}", self.name),
            (Role::Worker, _) => write!(f, "worker {}", self.name),
            (Role::User, _) => write!(f, "user {}", self.name),
        }
    }
}

/// What an identity URI says.
struct Named {
    cluster: String,
    role: Role,
    name: String,
    node_id: Option<u64>,
}

impl Named {
    fn parse(segments: &[&str]) -> Result<Named, Error> {
        let (cluster, role, node_id, name) = match *segments {
            [cluster, "controller", id, name] => {
                let id = id
                    .parse()
                    .map_err(|_| Error::Certificate("its controller id is not a number".to_owned()))?;
                (cluster, Role::Controller, Some(id), name)
            }
            [cluster, "worker", name] => (cluster, Role::Worker, None, name),
            [cluster, "user", name] => (cluster, Role::User, None, name),
            _ => return Err(Error::Certificate("its kontiki:// identity has an unknown form".to_owned())),
        };
        names::check_cluster_id(cluster)?;
        names::check_text("name", name)?;
        Ok(Named { cluster: cluster.to_owned(), role, name: name.to_owned(), node_id })
    }
}

fn uris<'a>(cert: &X509Certificate<'a>) -> Result<Vec<&'a str>, Error> {
    let extension = cert
        .subject_alternative_name()
        .map_err(|e| Error::Certificate(format!("its alternative names cannot be read: {e}")))?;
    let Some(extension) = extension else { return Ok(Vec::new()) };
    let uri = |name: &GeneralName<'a>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    Ok(extension.value.general_names.iter().filter_map(uri).collect())
}

/// Who a certificate says it is and who it says has signed it, for log lines about certificates that were refused.
/// Nothing in it is trusted, so it is cut short and rid of control characters.
pub(crate) fn claims(der: &[u8]) -> (String, String) {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else {
        return ("unreadable".to_owned(), "unknown".to_owned());
    };
    let clean = |text: String| text.chars().filter(|c| !c.is_control()).take(160).collect::<String>();
    let who = match Peer::from_certificate(der) {
        Ok(peer) => format!("{peer} of cluster {}", peer.cluster),
        Err(_) => cert.subject().to_string(),
    };
    (clean(who), clean(cert.issuer().to_string()))
}
