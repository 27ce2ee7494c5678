//! etcd: Debian's package, three members on loopback with mutual TLS among them and towards clients, all settings as they come. It
//! gets certificates of a cluster CA of its own, so both sides pay for the same TLS.

use std::{
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use etcd_client::{Channel, Client, KvClient};
use futures_util::{FutureExt, future::BoxFuture};
use kontiki_pki::{Ca, DEFAULT_LIFETIME, DialOptions, Dialer, Identity, Subject};
use tempfile::TempDir;

use super::{CONNECTIONS, Process, Store, VALUE};

const MEMBERS: u64 = 3;
/// They have a leader by then, or never.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// etcd hangs up on clients that ask oftener than every five seconds whether it is there.
const SELDOM: Duration = Duration::from_secs(3600);

/// Three members of their own, gone when this is dropped.
pub(crate) struct Etcd {
    connections: Vec<KvClient>,
    servers: Vec<i32>,
    version: String,
    // Before their folder.
    _members: Vec<Process>,
    _folder: TempDir,
}

/// A port that was free just now.
fn free_ports(n: u64) -> anyhow::Result<Vec<u16>> {
    // All are held until all are known, so that none is given twice.
    let held: Vec<TcpListener> =
        (0..n).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

impl Etcd {
    /// Starts three members and waits until they have a leader.
    pub(crate) async fn start() -> anyhow::Result<Etcd> {
        let folder = tempfile::Builder::new().prefix("kontiki-bench-etcd-").tempdir()?;
        let ca = Ca::create("etcd")?;
        let ports = free_ports(2 * MEMBERS)?;
        let (clients, peers) = ports.split_at(MEMBERS as usize);
        let cluster: Vec<String> =
            (1..=MEMBERS).zip(peers).map(|(id, port)| format!("m{id}=https://127.0.0.1:{port}")).collect();
        std::fs::write(folder.path().join("ca.pem"), ca.cert_pem())?;
        let mut members = Vec::new();
        for ((id, client), peer) in (1..=MEMBERS).zip(clients).zip(peers) {
            let name = format!("m{id}");
            let subject = Subject::Controller { id, name: name.clone(), addresses: Vec::new() };
            let pair = ca.issue(&subject, DEFAULT_LIFETIME)?;
            std::fs::write(folder.path().join(format!("{name}.pem")), &pair.cert_pem)?;
            std::fs::write(folder.path().join(format!("{name}.key")), &pair.key_pem)?;
            let command = member(folder.path(), &name, *client, *peer, &cluster.join(","));
            members.push(Process::start(&name, command, folder.path())?);
        }
        let user = Subject::User { name: "bench".into(), groups: Vec::new() };
        let pair = ca.issue(&user, DEFAULT_LIFETIME)?;
        let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?;
        let (leader, version) = until_led(&identity, clients, &mut members).await?;
        let mut addresses: Vec<&u16> = clients.iter().collect();
        addresses.swap(0, leader);
        let mut connections = Vec::new();
        for port in addresses.into_iter().cycle().take(CONNECTIONS) {
            connections.push(connect(&identity, *port).await?.kv_client());
        }
        let servers = members.iter().map(Process::pid).collect::<anyhow::Result<_>>()?;
        Ok(Etcd { connections, servers, version, _members: members, _folder: folder })
    }
}

fn member(folder: &Path, name: &str, client: u16, peer: u16, cluster: &str) -> Command {
    let file = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let ca = folder.join("ca.pem").display().to_string();
    let (client, peer) = (format!("https://127.0.0.1:{client}"), format!("https://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    // Nothing of the caller's own etcd may configure this one.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["--name", name, "--data-dir", &file("data"), "--initial-cluster", cluster]);
    command.args(["--initial-cluster-state", "new", "--logger", "zap", "--log-level", "warn"]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--client-cert-auth", "--trusted-ca-file", &ca]);
    command.args(["--cert-file", &file("pem"), "--key-file", &file("key")]);
    command.args(["--peer-client-cert-auth", "--peer-trusted-ca-file", &ca]);
    command.args(["--peer-cert-file", &file("pem"), "--peer-key-file", &file("key")]);
    command
}

/// A connection of its own, without the balancing that would put a queue before it.
async fn connect(identity: &Identity, port: u16) -> anyhow::Result<Client> {
    let options = DialOptions { keepalive_interval: SELDOM, ..DialOptions::default() };
    let name = identity.controller_server_name(None);
    let channel = Dialer::new(identity).channel(&format!("127.0.0.1:{port}"), name, options);
    Ok(Client::from_channel(Channel::Tonic(channel), None).await?)
}

/// Waits until all agree on a leader. Gives its place among the members, and the version.
async fn until_led(
    identity: &Identity,
    ports: &[u16],
    members: &mut [Process],
) -> anyhow::Result<(usize, String)> {
    let end = Instant::now() + PATIENCE;
    loop {
        members.iter_mut().try_for_each(Process::still_runs)?;
        let seen = leader(identity, ports).await;
        match seen {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("etcd has no leader after {PATIENCE:?}")));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn leader(identity: &Identity, ports: &[u16]) -> anyhow::Result<(usize, String)> {
    let mut said = Vec::new();
    for port in ports {
        let status = connect(identity, *port).await?.status().await?;
        let own = status.header().map_or(0, etcd_client::ResponseHeader::member_id);
        said.push((own, status.leader(), status.version().to_owned()));
    }
    let (_, leader, version) = said.first().context("no members")?.clone();
    if leader == 0 || said.iter().any(|(_, other, _)| *other != leader) {
        bail!("they do not agree on a leader");
    }
    let place = said.iter().position(|(own, ..)| *own == leader).context("the leader is none of them")?;
    Ok((place, version))
}

impl Store for Etcd {
    fn name(&self) -> String {
        format!("etcd {}", self.version)
    }

    fn servers(&self) -> &[i32] {
        &self.servers
    }

    fn create(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        let mut kv = self.connections[client % CONNECTIONS].clone();
        async move { Ok(kv.put(key, vec![b'x'; VALUE], None).await.map(drop)?) }.boxed()
    }

    fn read(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        let mut kv = self.connections[client % CONNECTIONS].clone();
        async move {
            let found = kv.get(key.as_str(), None).await?;
            let bytes = found.kvs().first().map_or(0, |pair| pair.value().len());
            if bytes != VALUE {
                bail!("{key} has {bytes} bytes");
            }
            Ok(())
        }
        .boxed()
    }
}
