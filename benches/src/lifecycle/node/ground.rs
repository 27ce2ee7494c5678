//! One controller and one worker, and what is asked of them.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use kontiki_chaos_tests::{Cluster, Plan, identity};
use kontiki_load::{Pods, Rest};
use kontiki_pki::Identity;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A cluster of its own with one worker, gone when this is dropped.
pub(super) struct Ground {
    pub(super) name: &'static str,
    pub(super) cluster: Cluster,
    pub(super) identity: Identity,
    pub(super) address: String,
    rest: Rest,
    pub(super) pods: Pods,
}

impl Ground {
    /// Starts it: three controllers, as users have them, and a worker with the built-in runtime or this daemon's.
    pub(super) async fn start(plan: &Plan, daemon: Option<&Path>) -> anyhow::Result<Ground> {
        let mut plan = Plan { workers: 1, ..plan.clone() };
        if let Some(socket) = daemon {
            // A daemon has images of its own: it must hold the example's already.
            plan.image = None;
            plan.environment.push(("KONTIKI_RUNTIME".into(), format!("cri://{}", socket.display())));
        }
        let cluster = Cluster::start(plan)?;
        let (identity, address) = (identity(&cluster.kubeconfig())?, cluster.leader_address()?);
        let rest = Rest::connect(&identity, &address).await?;
        let pods = Pods::watch(&Rest::connect(&identity, &address).await?, "default").await?;
        let name = if daemon.is_some() { "by CRI" } else { "built-in" };
        Ok(Ground { name, cluster, identity, address, rest, pods })
    }

    /// Asks for a pod whose only container runs this, or what its image says.
    pub(super) async fn create(&self, name: &str, command: &[&str]) -> anyhow::Result<()> {
        let mut container = json!({ "name": "main", "image": "kontiki.local/web:1" });
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "containers": [container], "terminationGracePeriodSeconds": 1 },
        });
        self.rest.send(Method::POST, PODS, body(&pod)?).await.map(drop)
    }

    /// Returns when it runs.
    pub(super) async fn runs(&mut self, name: &str) -> anyhow::Result<()> {
        self.pods.until("a pod to run", |all| all.get(name).is_some_and(|pod| pod.running)).await
    }

    /// Deletes all pods and returns when they are gone.
    pub(super) async fn clear(&mut self) -> anyhow::Result<()> {
        // Not at once: of a pod that is gone by force its containers may be left to a daemon when the cluster ends.
        self.rest.send(Method::DELETE, PODS, Bytes::new()).await?;
        self.pods.until("all pods to go", |all| all.is_empty()).await
    }
}

fn body(value: &Value) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(value)?.into())
}
