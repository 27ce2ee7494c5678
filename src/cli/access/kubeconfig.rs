//! Kubeconfig files: read for these commands, written for kubectl.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_pki::Identity;
use serde::Deserialize;

/// A kubeconfig is a few kilobytes; anything larger is not one.
const FILE_MAX: u64 = 4 << 20;

/// The parts of a kubeconfig that matter here.
#[derive(Debug, Deserialize)]
pub(crate) struct Kubeconfig {
    #[serde(rename = "current-context", default)]
    current: String,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data", default)]
    ca_data: Option<String>,
    #[serde(rename = "certificate-authority", default)]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: ContextBody,
}

#[derive(Debug, Deserialize)]
struct ContextBody {
    cluster: String,
    user: String,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Deserialize)]
struct User {
    #[serde(rename = "client-certificate-data", default)]
    cert_data: Option<String>,
    #[serde(rename = "client-certificate", default)]
    cert_file: Option<PathBuf>,
    #[serde(rename = "client-key-data", default)]
    key_data: Option<String>,
    #[serde(rename = "client-key", default)]
    key_file: Option<PathBuf>,
}

/// Whom to talk to, as whom.
pub(crate) struct Target {
    /// host:port, the context's own first, then the cluster's others.
    pub(crate) servers: Vec<String>,
    pub(crate) identity: Identity,
}

impl Kubeconfig {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Kubeconfig> {
        let size =
            fs::metadata(file).with_context(|| format!("cannot read kubeconfig {}", file.display()))?.len();
        if size > FILE_MAX {
            bail!("{} has {size} bytes and is no kubeconfig", file.display());
        }
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read kubeconfig {}", file.display()))?;
        let mut config: Kubeconfig = serde_saphyr::from_str(&text)
            .map_err(|e| anyhow!("{} is not a kubeconfig: {e}", file.display()))?;
        config.dir = file.parent().map(Path::to_owned).unwrap_or_default();
        Ok(config)
    }

    /// What a context points at.
    pub(crate) fn target(&self, context: Option<&str>) -> anyhow::Result<Target> {
        let wanted = context.unwrap_or(&self.current);
        let find = |name: &str| self.contexts.iter().find(|c| c.name == name);
        let context = find(wanted).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.iter().map(|c| c.name.as_str()).collect();
            anyhow!("it has no context {wanted:?}; it has: {}", known.join(", "))
        })?;
        let ContextBody { cluster, user } = &context.context;
        let missing =
            |what: &str, name: &str| anyhow!("context {wanted:?} names {what} {name:?}, which is not there");
        let cluster =
            self.clusters.iter().find(|c| c.name == *cluster).ok_or_else(|| missing("cluster", cluster))?;
        let user = self.users.iter().find(|u| u.name == *user).ok_or_else(|| missing("user", user))?;
        let (cluster, user) = (&cluster.cluster, &user.user);
        let ca = self.pem("certificate-authority", cluster.ca_data.as_ref(), cluster.ca_file.as_ref())?;
        let cert = self.pem("client-certificate", user.cert_data.as_ref(), user.cert_file.as_ref())?;
        let key = self.pem("client-key", user.key_data.as_ref(), user.key_file.as_ref())?;
        let identity = Identity::new(&ca, &cert, &key)?;
        let mut servers = vec![host_port(&cluster.server)?];
        for other in &self.clusters {
            let other = &other.cluster;
            if (&other.ca_data, &other.ca_file) == (&cluster.ca_data, &cluster.ca_file) {
                let server = host_port(&other.server)?;
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        Ok(Target { servers, identity })
    }

    fn pem(&self, what: &str, data: Option<&String>, file: Option<&PathBuf>) -> anyhow::Result<String> {
        let bytes = match (data, file) {
            (Some(data), _) => {
                STANDARD.decode(data.trim()).with_context(|| format!("{what}-data is not base64"))?
            }
            (None, Some(file)) => {
                let file = self.dir.join(file);
                fs::read(&file).with_context(|| format!("cannot read {what} {}", file.display()))?
            }
            (None, None) => bail!("it has no {what}; Kontiki knows its users by client certificates"),
        };
        String::from_utf8(bytes).with_context(|| format!("{what} is not a PEM text"))
    }
}

fn host_port(server: &str) -> anyhow::Result<String> {
    let refused = || anyhow!("server {server:?} must be https://HOST:PORT");
    let uri: http::Uri = server.parse().map_err(|_| refused())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(refused)?;
    Ok(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(443)))
}

/// A context to write: its name and its server's host:port.
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) server: String,
}

/// Writes a kubeconfig that only its owner can read, whole or not at all. The first context is the current one.
pub(crate) fn write(
    file: &Path,
    contexts: &[Context],
    ca_pem: &str,
    cert_pem: &str,
    key_pem: &str,
) -> anyhow::Result<()> {
    let ca = STANDARD.encode(ca_pem);
    let mut text = String::from("apiVersion: v1\nkind: Config\npreferences: {}\n");
    text += &format!("current-context: {}\nclusters:\n", contexts.first().map_or("", |c| c.name.as_str()));
    for Context { name, server } in contexts {
        text += &format!(
            "- name: {name}\n  cluster:\n    server: https://{server}\n    certificate-authority-data: {ca}\n"
        );
    }
    text += "contexts:\n";
    for Context { name, .. } in contexts {
        text += &format!("- name: {name}\n  context:\n    cluster: {name}\n    user: kontiki-admin\n");
    }
    text += &format!(
        "users:\n- name: kontiki-admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        STANDARD.encode(cert_pem),
        STANDARD.encode(key_pem)
    );
    let failed = || format!("cannot write {}", file.display());
    let new = file.with_extension("new");
    // One left by a crash might have other permissions.
    let _ = fs::remove_file(&new);
    let mut out =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).with_context(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(failed)?;
    fs::rename(&new, file).with_context(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use kontiki_pki::{Ca, Role, Subject};

    use super::*;

    fn written(dir: &Path) -> PathBuf {
        let ca = Ca::create("test").unwrap();
        let subject = Subject::User { name: "admin".into(), groups: vec!["system:masters".into()] };
        let pair = ca.issue(&subject, Duration::from_secs(60)).unwrap();
        let context = |name: &str, server: &str| Context { name: name.into(), server: server.into() };
        let contexts = [context("kontiki", "127.0.0.1:6443"), context("kontiki-c1", "127.0.0.1:6444")];
        let file = dir.join("kubeconfig");
        write(&file, &contexts, ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = Kubeconfig::read(&written(dir.path())).unwrap();
        let target = config.target(None).unwrap();
        assert_eq!(target.servers, ["127.0.0.1:6443", "127.0.0.1:6444"]);
        assert_eq!(
            (target.identity.peer().role, target.identity.peer().name.as_str()),
            (Role::User, "admin")
        );
        assert_eq!(config.target(Some("kontiki-c1")).unwrap().servers[0], "127.0.0.1:6444");
        let error = config.target(Some("other")).err().unwrap().to_string();
        assert_eq!(error, "it has no context \"other\"; it has: kontiki, kontiki-c1");
    }

    #[test]
    fn its_key_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = fs::metadata(written(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_tls_servers_are_taken() {
        assert_eq!(host_port("https://[::1]:6443").unwrap(), "[::1]:6443");
        assert_eq!(host_port("https://example.org").unwrap(), "example.org:443");
        assert!(host_port("http://127.0.0.1:80").is_err());
    }
}
