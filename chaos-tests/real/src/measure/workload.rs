//! What runs while hosts are lost: a Deployment whose containers tell themselves that they run.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use http::Method;
use serde_json::Value;

use super::ours::Ours;
use crate::{
    client::{Book, Rest, Sent, objects},
    clock::Clock,
    truth::Truth,
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// What runs and what should is the same by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Deployment.
pub(super) struct Workload {
    /// How many pods it has.
    pub(super) replicas: usize,
    truth: Arc<Truth>,
}

impl Workload {
    /// Creates it.
    pub(super) fn create(ours: &Ours, program: &Path, replicas: u32) -> anyhow::Result<Workload> {
        let (clock, socket) = (Clock::start(), ours.cluster.dir().join("truth"));
        let truth = Arc::new(Truth::listen(&socket, clock)?);
        let container = vec![program.to_string_lossy().into_owned(), "container".into()];
        let socket = socket.to_string_lossy().into_owned();
        let book = Book::new(clock, ours.cluster.identity()?, ours.addresses().to_vec(), container, socket);
        create(ours, objects::deployment(&book, 0, replicas, 10, 1, 1))?;
        Ok(Workload { replicas: replicas as usize, truth })
    }

    /// Waits until so many containers run in truth as should: none was left where a worker was lost.
    pub(super) fn settled(&self, ours: &Ours) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.truth.running().len() != self.replicas {
            if Instant::now() > end {
                bail!("{} containers run, and {} should", self.truth.running().len(), self.replicas);
            }
            for host in &ours.cluster.hosts {
                if let Some(words) = host.tend()? {
                    bail!("{} ended by itself: {words}", host.name);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Creates a Deployment.
pub(super) fn create(ours: &Ours, deployment: Value) -> anyhow::Result<()> {
    let (identity, address) = (ours.cluster.identity()?, ours.addresses()[0].clone());
    ours.run(async move {
        let rest = Rest::connect(&identity, &address).await?;
        let Sent::Answered(reply) = rest.send(Method::POST, DEPLOYMENTS, Some(&deployment)).await else {
            bail!("no answer to a Deployment")
        };
        ensure!(reply.code == 201, "the Deployment: {} {}", reply.code, reply.body["message"]);
        Ok(())
    })
}
