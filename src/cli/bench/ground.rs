//! Where it is measured: connections to all controllers, and a namespace of its own.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use kontiki_load::{Refused, Rest};
use kontiki_proto::cluster::Empty;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::access::Access;

/// Connections to each controller. Clients share them, as the processes of a client do: one connection for each of a hundred clients
/// would measure handshakes.
const CONNECTIONS: usize = 4;
/// A namespace with all that is in it is gone by then.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// The ground.
pub(super) struct Ground {
    /// The namespace.
    pub(super) namespace: String,
    /// The controllers that answer, the leader first.
    pub(super) controllers: Vec<String>,
    /// Controllers that do not answer.
    pub(super) silent: Vec<String>,
    /// Connections in turns to all that answer; the first is the leader's.
    connections: Vec<Rest>,
}

impl Ground {
    /// Finds the controllers and makes the namespace.
    pub(super) async fn prepare(access: &Access) -> anyhow::Result<Ground> {
        let status = access.call(|mut client| async move { client.status(Empty {}).await }).await?;
        let Some(leader) = status.leader_id else { bail!("no controller leads: nothing can be measured") };
        let mut all = status.controllers;
        all.sort_by_key(|controller| controller.id != leader);
        let (reachable, silent): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.reachable);
        if reachable.first().is_none_or(|first| first.id != leader) {
            bail!("the leader does not answer: nothing can be measured");
        }
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            for controller in &reachable {
                let connected = Rest::connect(access.identity(), &controller.address).await;
                connections.push(connected.with_context(|| format!("controller {}", controller.name))?);
            }
        }
        let namespace = format!("kontiki-bench-{:08x}", rand::random::<u32>());
        let names =
            |all: Vec<kontiki_proto::cluster::ControllerStatus>| all.into_iter().map(|c| c.name).collect();
        let ground = Ground { namespace, controllers: names(reachable), silent: names(silent), connections };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ground.namespace}});
        let made = ground.leader().send(Method::POST, "/api/v1/namespaces", body.to_string().into()).await;
        made.context("the namespace to measure in")?;
        Ok(ground)
    }

    /// A connection to the leader of the beginning.
    pub(super) fn leader(&self) -> &Rest {
        &self.connections[0]
    }

    /// All connections, in turns to all controllers.
    pub(super) fn all(&self) -> &[Rest] {
        &self.connections
    }

    /// The path of a collection in the namespace.
    pub(super) fn path(&self, collection: &str) -> String {
        format!("/api/v1/namespaces/{}/{collection}", self.namespace)
    }

    /// Deletes the namespace and waits until it is gone.
    pub(super) async fn clean_up(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let failed = || format!("namespace {} is left: kubectl delete namespace {0}", self.namespace);
        // Any controller can: the one that led may be gone by now.
        let mut last = None;
        let end = Instant::now() + PATIENCE;
        for rest in self.connections.iter().cycle() {
            match rest.send(Method::DELETE, &path, Bytes::new()).await {
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => last = Some(error),
                Ok(_) => {}
            }
            if Instant::now() > end {
                break;
            }
            sleep(PAUSE).await;
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("it is not gone after {} s", PATIENCE.as_secs())))
            .with_context(failed)
    }
}

/// Whether an answer says that there is no such object.
fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == StatusCode::NOT_FOUND)
}
