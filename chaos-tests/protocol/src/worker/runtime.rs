//! The runtime of a simulated worker: containers in memory, which outlive the agent and not the machine. It writes down what they do, and
//! can hang.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kontiki_worker::{
    image::Credential,
    runtime::{
        AdoptedPod, ContainerSpec, ExecOutput, ImageDefaults, ImageRef, PodSandbox, PodStream, PodUsage,
        ProcessStreams, PullError, Runtime, RuntimeError, RuntimeEvent, SimulatedRuntime, Started,
        StdStreams,
    },
};
use tokio::sync::{mpsc, watch};

/// A simulated runtime that can hang.
pub(super) struct Hanging {
    inner: SimulatedRuntime,
    hangs: watch::Receiver<bool>,
}

impl Hanging {
    /// Hangs while it is told so.
    pub(super) fn new(inner: SimulatedRuntime, hangs: watch::Receiver<bool>) -> Arc<Hanging> {
        Arc::new(Hanging { inner, hangs })
    }

    async fn answers(&self) {
        let mut hangs = self.hangs.clone();
        if hangs.wait_for(|hangs| !hangs).await.is_err() {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Runtime for Hanging {
    fn images(&self) -> Vec<ImageRef> {
        self.inner.images()
    }

    fn resolve_image(&self, name: &str) -> Option<ImageRef> {
        self.inner.resolve_image(name)
    }

    fn image_defaults(&self, image: &ImageRef) -> ImageDefaults {
        self.inner.image_defaults(image)
    }

    async fn pull_image(&self, name: &str, credentials: &[Credential]) -> Result<ImageRef, PullError> {
        self.answers().await;
        self.inner.pull_image(name, credentials).await
    }

    fn free_images(&self, bytes: u64, unused_for: Duration) -> Result<u64, String> {
        self.inner.free_images(bytes, unused_for)
    }

    fn usage(&self) -> Vec<PodUsage> {
        self.inner.usage()
    }

    async fn start_pod(&self, pod: PodSandbox) -> Result<(), RuntimeError> {
        self.answers().await;
        self.inner.start_pod(pod).await
    }

    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        self.answers().await;
        self.inner.start_container(pod_uid, spec).await
    }

    async fn signal(&self, pod_uid: &str, container: &str, signal: i32) -> Result<(), RuntimeError> {
        self.answers().await;
        self.inner.signal(pod_uid, container, signal).await
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.answers().await;
        self.inner.exec(pod_uid, container, command, timeout).await
    }

    async fn run(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        self.answers().await;
        self.inner.run(pod_uid, container, command, streams).await
    }

    async fn attach(
        &self,
        pod_uid: &str,
        container: &str,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        self.answers().await;
        self.inner.attach(pod_uid, container, streams).await
    }

    async fn connect(
        &self,
        pod_uid: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Box<dyn PodStream>, RuntimeError> {
        self.answers().await;
        self.inner.connect(pod_uid, port, timeout).await
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.answers().await;
        self.inner.remove_pod(pod_uid).await
    }

    async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError> {
        self.answers().await;
        self.inner.adopt().await
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        self.inner.events()
    }
}
