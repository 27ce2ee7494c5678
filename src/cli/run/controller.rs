//! `kontiki controller run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use kontiki_actors::LEVEL;
use kontiki_api::audit::Policy;
use kontiki_pki::{Ca, DEFAULT_LIFETIME, Identity, Role, Subject};
use kontiki_proto::cluster::Member;
use serde::Deserialize;

use super::authentication;
use super::joining::{self, Newcomer};
use super::settings::{self, first_of};
use super::{ca_dir, enrolment, has_identity, identity_dir, shutdown_signals};
use crate::cli::access::{self, KUBECONFIG_FILE, NamedContext};
use crate::cli::logging::{self, LogArgs};
use crate::controller::audit_log::AuditLogOptions;
use crate::controller::{self, ControllerConfig};

const PORT: u16 = 6443;
/// A controller that dies is noticed at once, by its broken connections. This is for those that hang or vanish; it must be longer
/// than a busy machine lets a process wait, or elections begin by themselves.
const ELECTION_TIMEOUT_MS: u64 = 200;
const NODE_GRACE_MS: u64 = 3000;
/// A file of the audit log, and how many old ones are kept.
const AUDIT_LOG_MB: u64 = 100;
const AUDIT_LOG_FILES: usize = 10;
/// It computes on its actors' threads; these serve connections.
const THREADS: usize = 2;

/// Arguments of `kontiki controller run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The first controller of a cluster: kontiki controller run --bootstrap --name c1 --zone a \\\n\
                        \u{20}   --data-dir /var/lib/kontiki --advertise HOST:6443\n\
                        Each further one: kontiki controller run --name c2 --zone b --data-dir /var/lib/kontiki \\\n\
                        \u{20}   --advertise HOST:6443 --join TOKEN --server FIRST:6443\n\
                        One that lost its disk: the same with a new token and --replace.\n\
                        A settings file (--config) has the same names as the flags, in YAML."
)]
pub(crate) struct ControllerArgs {
    /// A YAML file with settings, named as the flags.
    #[arg(long, value_name = "FILE", env = "KONTIKI_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: ControllerSettings,
    #[command(flatten)]
    log: LogArgs,
}

/// What a controller can be told.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct ControllerSettings {
    /// Its name [default: the host's].
    #[arg(long, env = "KONTIKI_NAME")]
    name: Option<String>,
    /// Its failure domain. Controllers in three zones survive the loss of one.
    #[arg(long, env = "KONTIKI_ZONE")]
    zone: Option<String>,
    /// Where it keeps everything.
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Its one port, for kubectl, workers and other controllers [default: 0.0.0.0:6443].
    #[arg(long, env = "KONTIKI_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// A second address that several controllers of one machine share.
    #[arg(long, env = "KONTIKI_SHARED_LISTEN", value_name = "IP:PORT")]
    shared_listen: Option<SocketAddr>,
    /// Where others reach it [default: the host's name and the port].
    #[arg(long, env = "KONTIKI_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Begin a new cluster, with this controller as its first. No effect on one that has begun.
    #[arg(long, env = "KONTIKI_BOOTSTRAP", num_args = 0..=1, default_missing_value = "true")]
    bootstrap: Option<bool>,
    /// Join with this token, unless it has joined already.
    #[arg(long, env = "KONTIKI_JOIN", value_name = "TOKEN", hide_env_values = true)]
    join: Option<String>,
    /// Controllers to join at; several with commas.
    #[arg(long, env = "KONTIKI_SERVER", value_name = "HOST:PORT", value_delimiter = ',')]
    server: Option<Vec<String>>,
    /// Take over the name of a controller that is lost for good.
    #[arg(long, env = "KONTIKI_REPLACE", num_args = 0..=1, default_missing_value = "true")]
    replace: Option<bool>,
    /// The shortest election timeout in milliseconds; the longest is twice that, the heartbeat half of it [default: 200].
    #[arg(long, env = "KONTIKI_ELECTION_TIMEOUT_MS", value_name = "MS")]
    election_timeout_ms: Option<u64>,
    /// A worker that is silent for so long is given up and its pods are replaced [default: 3000].
    #[arg(long, env = "KONTIKI_NODE_GRACE_MS", value_name = "MS")]
    node_grace_ms: Option<u64>,
    /// A snapshot is taken after so many entries of the log; half as many stay behind it.
    #[arg(long, env = "KONTIKI_SNAPSHOT_ENTRIES", value_name = "N", hide = true)]
    snapshot_entries: Option<u64>,
    /// Play a build that knows no more than this level: for tests of rolling upgrades.
    #[arg(long, env = "KONTIKI_PRETEND_LEVEL", value_name = "N", hide = true)]
    pretend_level: Option<u32>,
    /// Export traces to this OTLP endpoint (gRPC), such as http://127.0.0.1:4317.
    #[arg(long, env = "KONTIKI_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Audit by this policy (audit.k8s.io/v1, in YAML) [default: who asked for what and what came of it, but no contents].
    #[arg(long, env = "KONTIKI_AUDIT_POLICY_FILE", value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// Write audit events to this file, of this controller alone, a line of JSON each; - for standard output. Without it nothing is audited.
    #[arg(long, env = "KONTIKI_AUDIT_LOG_PATH", value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// Begin another file after so many megabytes [default: 100].
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXSIZE", value_name = "MB")]
    audit_log_maxsize: Option<u64>,
    /// Keep so many old files; 0 for all [default: 10].
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXBACKUP", value_name = "N")]
    audit_log_maxbackup: Option<usize>,
    /// Keep old files for so many days; 0 for as long as there are not too many [default: 0].
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXAGE", value_name = "DAYS")]
    audit_log_maxage: Option<u64>,
    /// Believe tokens of the OpenID Connect issuers of this file (AuthenticationConfiguration of apiserver.config.k8s.io/v1, in YAML); it is read
    /// again when it changes.
    #[arg(long, env = "KONTIKI_AUTHENTICATION_CONFIG", value_name = "FILE")]
    pub(super) authentication_config: Option<PathBuf>,
    /// Instead of --authentication-config, for one issuer: its https URL, as its tokens name it.
    #[arg(long, env = "KONTIKI_OIDC_ISSUER_URL", value_name = "URL")]
    pub(super) oidc_issuer_url: Option<String>,
    /// For whom the issuer's tokens must be made.
    #[arg(long, env = "KONTIKI_OIDC_CLIENT_ID", value_name = "ID")]
    pub(super) oidc_client_id: Option<String>,
    /// The claim with a user's name [default: sub].
    #[arg(long, env = "KONTIKI_OIDC_USERNAME_CLAIM", value_name = "CLAIM")]
    pub(super) oidc_username_claim: Option<String>,
    /// How users' names begin; - for as the issuer says them [default: the issuer's URL and #; nothing for the claim email].
    #[arg(long, env = "KONTIKI_OIDC_USERNAME_PREFIX", value_name = "PREFIX")]
    pub(super) oidc_username_prefix: Option<String>,
    /// The claim with a user's groups; without it the issuer's users are in none.
    #[arg(long, env = "KONTIKI_OIDC_GROUPS_CLAIM", value_name = "CLAIM")]
    pub(super) oidc_groups_claim: Option<String>,
    /// How groups' names begin [default: as the issuer says them].
    #[arg(long, env = "KONTIKI_OIDC_GROUPS_PREFIX", value_name = "PREFIX")]
    pub(super) oidc_groups_prefix: Option<String>,
    /// Who vouches for the issuer's certificate, in PEM [default: whom the machine trusts].
    #[arg(long, env = "KONTIKI_OIDC_CA_FILE", value_name = "FILE")]
    pub(super) oidc_ca_file: Option<PathBuf>,
    /// A claim that tokens must have, with this value; may be given again.
    #[arg(long, env = "KONTIKI_OIDC_REQUIRED_CLAIM", value_name = "CLAIM=VALUE")]
    pub(super) oidc_required_claim: Option<Vec<String>>,
}

impl ControllerSettings {
    /// The newest level that it knows.
    fn level(&self) -> u32 {
        self.pretend_level.unwrap_or(LEVEL).min(LEVEL)
    }
}

pub(crate) fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let file: ControllerSettings = settings::read(args.config.as_ref())?;
    let settings = first_of!(ControllerSettings, args.settings, file, {
        name, zone, data_dir, listen, shared_listen, advertise, bootstrap, join, server, replace, election_timeout_ms,
        node_grace_ms, snapshot_entries, pretend_level, otlp_endpoint, audit_policy_file, audit_log_path, audit_log_maxsize,
        audit_log_maxbackup, audit_log_maxage, authentication_config, oidc_issuer_url, oidc_client_id, oidc_username_claim,
        oidc_username_prefix, oidc_groups_claim, oidc_groups_prefix, oidc_ca_file, oidc_required_claim,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("controller")
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let name = settings.name.clone().unwrap_or_else(settings::host_name);
        let _guard = logging::init(&args.log, settings.otlp_endpoint.clone(), &name)?;
        let failed = start(settings, name).await;
        if let Err(error) = &failed {
            tracing::error!("{error:#}");
        }
        failed
    })
}

async fn start(settings: ControllerSettings, name: String) -> anyhow::Result<()> {
    let Some(data_dir) = settings.data_dir.clone() else {
        bail!("where does this controller keep its data? --data-dir DIR");
    };
    let listen = settings.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], PORT)));
    let advertise =
        settings.advertise.clone().unwrap_or_else(|| format!("{}:{}", settings::host_name(), listen.port()));
    let zone = settings.zone.clone().unwrap_or_default();
    let (audit, authentication) = (audit(&settings)?, authentication::read(&settings)?);
    let shutdown = shutdown_signals()?;
    let (identity, ca) = identity(&settings, &name, &zone, &advertise, &data_dir).await?;
    let peer = identity.peer();
    let Some(node_id) = peer.node_id.filter(|_| peer.role == Role::Controller) else {
        bail!(
            "{} holds the identity of a {peer}, and this is to be a controller: use another --data-dir",
            data_dir.display()
        );
    };
    if peer.name != name {
        bail!(
            "{} belongs to {peer}, and this is to be {name}: use another --data-dir or --name",
            data_dir.display()
        );
    }
    if let Some(enrolment) = enrolment::pending(&data_dir) {
        let member = Member {
            id: node_id,
            name: name.clone(),
            zone: zone.clone(),
            address: advertise.clone(),
            voter: false,
            level: settings.level(),
        };
        tokio::spawn(enrolment::enrol(enrolment, member, identity.clone(), data_dir.clone()));
    }
    let config = ControllerConfig {
        name,
        node_id,
        zone,
        data_dir,
        listen,
        shared_listen: settings.shared_listen,
        advertise,
        bootstrap: settings.bootstrap.unwrap_or(false),
        election_timeout_ms: settings.election_timeout_ms.unwrap_or(ELECTION_TIMEOUT_MS),
        node_grace_ms: settings.node_grace_ms.unwrap_or(NODE_GRACE_MS),
        snapshot_entries: settings.snapshot_entries,
        level: settings.level(),
    };
    controller::run(config, identity, Some(ca), audit, authentication, shutdown).await
}

/// What is audited, and where it goes; none when nothing is.
fn audit(settings: &ControllerSettings) -> anyhow::Result<Option<(Policy, AuditLogOptions)>> {
    let Some(path) = settings.audit_log_path.clone() else {
        if settings.audit_policy_file.is_some() {
            bail!("--audit-policy-file says what to audit, and nothing says where to: --audit-log-path FILE");
        }
        return Ok(None);
    };
    let policy = match &settings.audit_policy_file {
        Some(file) => {
            let unusable = || format!("the audit policy {}", file.display());
            Policy::read(&settings::text(file).with_context(unusable)?).with_context(unusable)?
        }
        None => Policy::standard(),
    };
    let options = AuditLogOptions {
        path,
        max_size: settings.audit_log_maxsize.unwrap_or(AUDIT_LOG_MB).saturating_mul(1 << 20),
        max_backups: settings.audit_log_maxbackup.unwrap_or(AUDIT_LOG_FILES),
        max_age_days: settings.audit_log_maxage.unwrap_or(0),
    };
    Ok(Some((policy, options)))
}

/// The identity that the data directory holds, or a new one: by a token, or of a new cluster.
async fn identity(
    settings: &ControllerSettings,
    name: &str,
    zone: &str,
    advertise: &str,
    data_dir: &Path,
) -> anyhow::Result<(Identity, Ca)> {
    if !has_identity(data_dir) {
        let bootstrap = settings.bootstrap.unwrap_or(false);
        match &settings.join {
            Some(_) if bootstrap => {
                bail!("--bootstrap begins a new cluster and --join enters an existing one: choose")
            }
            Some(token) => {
                let servers = settings.server.clone().unwrap_or_default();
                let replace = settings.replace.unwrap_or(false);
                let level = settings.level();
                let newcomer = Newcomer { role: Role::Controller, name, zone, advertise, replace, level };
                // Noted first: if it ended between the two, it would have an identity and never ask to become a member.
                enrolment::note(data_dir, servers.clone())?;
                let joined = joining::join(&newcomer, token, &servers, data_dir).await;
                let (_, members) = joined.inspect_err(|_| enrolment::forget(data_dir))?;
                let others = members.into_iter().map(|m| m.address).filter(|address| address != advertise);
                enrolment::note(data_dir, others.chain(servers).collect())?;
            }
            None if bootstrap => begin(name, advertise, data_dir)?,
            None => bail!(
                "{} holds no identity: begin a cluster with --bootstrap, or enter one with --join TOKEN --server HOST:PORT",
                data_dir.display()
            ),
        }
    }
    let ca = Ca::open(&ca_dir(data_dir)).context("the cluster's CA")?;
    Ok((Identity::load(&identity_dir(data_dir)).context("this controller's identity")?, ca))
}

/// Makes the CA of a new cluster, this controller's identity, and a kubeconfig for who began it.
fn begin(name: &str, advertise: &str, data_dir: &Path) -> anyhow::Result<()> {
    if data_dir.join("raft.db").exists() {
        bail!(
            "{} holds a cluster's data but no identity: restore the folder identity/, or move the data away to begin anew",
            data_dir.display()
        );
    }
    let ca = Ca::create(&format!("kontiki-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]))?;
    ca.store(&ca_dir(data_dir))?;
    let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host).trim_matches(['[', ']']);
    let subject = Subject::Controller { id: 1, name: name.to_owned(), addresses: vec![host.to_owned()] };
    let pair = ca.issue(&subject, DEFAULT_LIFETIME)?;
    let contexts = [NamedContext { name: "kontiki".into(), server: advertise.to_owned() }];
    write_kubeconfig(&data_dir.join(KUBECONFIG_FILE), &contexts, &ca)?;
    Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?.store(&identity_dir(data_dir))?;
    tracing::info!(cluster = ca.cluster_id(), kubeconfig = %data_dir.join(KUBECONFIG_FILE).display(), "a new cluster begins");
    Ok(())
}

/// Writes a kubeconfig with a new administrator's certificate.
pub(crate) fn write_kubeconfig(file: &Path, contexts: &[NamedContext], ca: &Ca) -> anyhow::Result<()> {
    let admin = Subject::User { name: "kontiki-admin".into(), groups: vec!["system:masters".into()] };
    let pair = ca.issue(&admin, DEFAULT_LIFETIME)?;
    access::write(file, contexts, ca.cert_pem(), &pair.cert_pem, &pair.key_pem)
}
