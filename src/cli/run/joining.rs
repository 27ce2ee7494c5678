//! A process without an identity gets one with a join token.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use kontiki_pki::{Ca, DialOptions, Dialer, Identity, JoinToken, Role, SigningRequest};
use kontiki_proto::cluster::cluster_client::ClusterClient;
use kontiki_proto::cluster::{self, JoinRequest, JoinResponse};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{ca_dir, identity_dir};

/// How long a cluster without a leader, or a controller that is starting, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

/// How a newcomer introduces itself.
pub(super) struct Newcomer<'a> {
    pub(super) role: Role,
    pub(super) name: &'a str,
    pub(super) zone: &'a str,
    /// host:port, controllers only.
    pub(super) advertise: &'a str,
    pub(super) replace: bool,
    /// The newest level that its build knows; controllers only.
    pub(super) level: u32,
}

/// Exchanges the token for an identity and keeps it in the data directory. Answers who the controllers are.
pub(super) async fn join(
    newcomer: &Newcomer<'_>,
    token: &str,
    servers: &[String],
    data_dir: &Path,
) -> anyhow::Result<(Identity, Vec<cluster::Member>)> {
    let token: JoinToken = token.parse()?;
    if token.role() != newcomer.role {
        bail!("this token is for a {:?}, and a {:?} wants to join", token.role(), newcomer.role);
    }
    if servers.is_empty() {
        bail!("where is the cluster? --join needs --server HOST:PORT of a controller");
    }
    let key = SigningRequest::generate()?;
    let role = match newcomer.role {
        Role::Controller => cluster::Role::Controller,
        _ => cluster::Role::Worker,
    };
    let host = newcomer.advertise.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
    let request = JoinRequest {
        token: token.to_string(),
        csr_pem: key.csr_pem.clone(),
        name: newcomer.name.to_owned(),
        role: role.into(),
        addresses: host.into_iter().filter(|host| !host.is_empty()).collect(),
        zone: newcomer.zone.to_owned(),
        advertise_address: newcomer.advertise.to_owned(),
        replace: newcomer.replace,
        level: newcomer.level,
    };
    let answer = ask(&token, servers, request).await?;
    let identity = Identity::new(&answer.ca_cert_pem, &answer.cert_pem, &key.key_pem)
        .context("the cluster's answer is not usable")?;
    if newcomer.role == Role::Controller {
        Ca::load(&answer.ca_cert_pem, &answer.ca_key_pem)?.store(&ca_dir(data_dir))?;
    }
    // Last: with an identity it counts as joined.
    identity.store(&identity_dir(data_dir))?;
    tracing::info!(cluster = identity.cluster_id(), "joined as {}", identity.peer());
    Ok((identity, answer.members))
}

async fn ask(token: &JoinToken, servers: &[String], request: JoinRequest) -> anyhow::Result<JoinResponse> {
    let dialer = Dialer::joining(token)?;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut last = anyhow!("no server is known");
        let mut distrusted = 0;
        for server in servers {
            let channel = dialer.channel(server, Dialer::joining_server_name(), DialOptions::default());
            let mut client = ClusterClient::new(channel);
            match timeout(ATTEMPT, client.join(request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                    tracing::info!(server, reason = status.message(), "cannot join yet");
                    distrusted += usize::from(is_distrust(&status));
                    last = anyhow!("{server}: {}", status.message());
                }
                Ok(Err(status)) => bail!("{server} refuses: {}", status.message()),
                Err(_) => last = anyhow!("{server} did not answer within {} s", ATTEMPT.as_secs()),
            }
        }
        // Waiting makes no other cluster of them.
        if Instant::now() >= end || distrusted == servers.len() {
            return Err(last.context("cannot join"));
        }
        sleep(PAUSE).await;
    }
}

/// Whether the connection ended because the server is not who the token names.
fn is_distrust(status: &tonic::Status) -> bool {
    let causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    let mut errors = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.any(|error| error.kind() == std::io::ErrorKind::InvalidData)
}
