//! How a command reaches a cluster: which servers, and as whom. Found in a kubeconfig, so that whoever can use kubectl
//! can use these commands.

mod kubeconfig;
mod rest;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kontiki_pki::{DialOptions, Dialer, Identity};
use kontiki_proto::cluster::cluster_client::ClusterClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

pub(crate) use kubeconfig::{Context as NamedContext, Kubeconfig, write};

/// Where `up` keeps a cluster unless told otherwise.
pub(crate) const DEFAULT_DIR: &str = ".kontiki";
/// The kubeconfig's name in a data directory.
pub(crate) const KUBECONFIG_FILE: &str = "kubeconfig";

/// One server gets this long to be read from before the next is asked.
const READ: Duration = Duration::from_secs(3);
/// The same for a write, which may wait for a leader.
const WRITE: Duration = Duration::from_secs(10);
/// A call may take this long: a promotion waits until the learner has caught up.
const CALL: Duration = Duration::from_secs(130);
/// Calls that cannot be done at the moment are tried again for so long.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(150);

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AccessArgs {
    /// The data directory that `kontiki up` or the first controller wrote a kubeconfig to [default: $KUBECONFIG, else
    /// ./.kontiki].
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A kubeconfig with a client certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A client of the Cluster service.
pub(crate) type Client = ClusterClient<Channel>;

/// A cluster within reach.
pub(crate) struct Access {
    servers: Vec<String>,
    identity: Identity,
    dialer: Dialer,
    file: PathBuf,
}

impl Access {
    /// Finds the cluster that the arguments or the environment name.
    pub(crate) fn find(args: &AccessArgs) -> anyhow::Result<Access> {
        let file = find_file(args)?;
        Access::open(&file, args.context.as_deref())
    }

    /// Reads a kubeconfig.
    pub(crate) fn open(file: &Path, context: Option<&str>) -> anyhow::Result<Access> {
        let kubeconfig = Kubeconfig::read(file)?;
        let target = kubeconfig.target(context).with_context(|| format!("kubeconfig {}", file.display()))?;
        let dialer = Dialer::new(&target.identity);
        Ok(Access { servers: target.servers, identity: target.identity, dialer, file: file.to_owned() })
    }

    /// As whom.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The data directory of a local cluster, if the kubeconfig lies in one.
    pub(crate) fn local_dir(&self) -> Option<&Path> {
        self.file.parent().filter(|dir| dir.join("cluster.json").exists())
    }

    /// Calls the Cluster service. Servers that do not answer are passed over, and a cluster without a leader is given
    /// some time to find one; every call is safe to repeat.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.round(&call).await {
                Err(status) if status.code() == Code::Unavailable && Instant::now() < end => {
                    sleep(PAUSE).await
                }
                outcome => return outcome.map_err(|status| self.failed(&status)),
            }
        }
    }

    /// The same, without patience.
    pub(crate) async fn try_call<T, F>(&self, call: impl Fn(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.round(&call).await.map_err(|status| self.failed(&status))
    }

    /// Asks one server after the other until one can do it.
    async fn round<T, F>(&self, call: &impl Fn(Client) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut last = Status::unavailable("no server is known");
        for server in &self.servers {
            let name = self.identity.controller_server_name(None);
            let channel = self.dialer.channel(server, name, DialOptions::default());
            // A server that goes silent is noticed by the connection itself; a call may take as long as it has to.
            let answer = timeout(CALL, call(ClusterClient::new(channel))).await;
            match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if status.code() == Code::Unavailable => last = status,
                Ok(Err(status)) => return Err(status),
                Err(_) => {
                    last = Status::unavailable(format!("{server} did not answer within {} s", CALL.as_secs()))
                }
            }
        }
        Err(last)
    }

    fn failed(&self, status: &Status) -> anyhow::Error {
        match status.code() {
            Code::Unavailable => {
                let hint = if self.local_dir().is_some() {
                    "; if the cluster is not running: kontiki up"
                } else {
                    ""
                };
                anyhow!("no controller could do it ({}): {}{hint}", self.servers.join(", "), words(status))
            }
            _ => anyhow!("{}", words(status)),
        }
    }

    /// Reads from the Kubernetes API, from the first server that answers.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let mut last = None;
        for server in &self.servers {
            let name = self.identity.controller_server_name(None);
            match timeout(READ, rest::get(&self.dialer, server, name, path)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(anyhow!("{server} did not answer within {} s", READ.as_secs())),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("no server is known")))
    }

    /// Writes to the Kubernetes API, by the first server that answers: a document with POST, a merge patch with PATCH. Answers the
    /// code and the body, whatever they say. A write whose answer got lost may be done, and is sent again.
    pub(crate) async fn send(
        &self,
        method: http::Method,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(u16, serde_json::Value)> {
        let mut last = None;
        for server in &self.servers {
            let name = self.identity.controller_server_name(None);
            let sent = rest::send(&self.dialer, server, name, method.clone(), path, Some(body));
            match timeout(WRITE, sent).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(anyhow!("{server} did not answer within {} s", WRITE.as_secs())),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("no server is known")))
    }

    /// Reads a whole list, page by page.
    pub(crate) async fn list(&self, path: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut items = Vec::new();
        let path = if path.contains('?') { format!("{path}&") } else { format!("{path}?") };
        let mut page = self.get(&format!("{path}limit=500")).await?;
        loop {
            if let Some(more) = page["items"].as_array_mut() {
                items.append(more);
            }
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => {
                    page = self.get(&format!("{path}limit=500&continue={token}")).await?
                }
                _ => return Ok(items),
            }
        }
    }
}

/// What a refusal says, with the cause that the transport knows.
fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        // The transport's own word for every failure of it says nothing.
        if more != "transport error" && !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

fn find_file(args: &AccessArgs) -> anyhow::Result<PathBuf> {
    if let Some(file) = &args.kubeconfig {
        return Ok(file.clone());
    }
    if let Some(dir) = &args.data_dir {
        let file = dir.join(KUBECONFIG_FILE);
        if !file.exists() {
            bail!(
                "there is no cluster in {}: no file {}; start one with `kontiki up`",
                dir.display(),
                file.display()
            );
        }
        return Ok(file);
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    if let Some(file) = std::env::split_paths(&listed).find(|file| file.is_file()) {
        return Ok(file);
    }
    let file = Path::new(DEFAULT_DIR).join(KUBECONFIG_FILE);
    if file.exists() {
        return Ok(file);
    }
    bail!(
        "which cluster? name it by --data-dir or --kubeconfig or set KUBECONFIG; start one with `kontiki up`"
    )
}
