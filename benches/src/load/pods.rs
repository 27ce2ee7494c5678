//! What a watch shows of the pods.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use super::Rest;

/// An event is smaller, or something else than pods is watched.
const EVENT_MAX: usize = 1 << 20;
/// What is waited for happens by then, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    /// It has a node.
    pub(crate) placed: bool,
    /// Its node says that it runs.
    pub(crate) running: bool,
}

/// All pods, as the events so far tell.
pub(crate) struct Pods {
    body: Incoming,
    buffer: BytesMut,
    all: HashMap<String, Pod>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    spec: Spec,
    status: Status,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

impl Pods {
    /// Begins with the pods that are there.
    pub(crate) async fn watch(rest: &Rest) -> anyhow::Result<Pods> {
        let path = "/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=3600";
        let body = rest.open(Method::GET, path, Bytes::new()).await?.into_body();
        Ok(Pods { body, buffer: BytesMut::new(), all: HashMap::new() })
    }

    /// Reads events until this holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        holds: impl Fn(&HashMap<String, Pod>) -> bool,
    ) -> anyhow::Result<()> {
        let reading = async {
            while !holds(&self.all) {
                self.next().await?;
            }
            Ok(())
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.with_context(|| format!("waited {PATIENCE:?} for {what}"))?
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        while !self.take()? {
            let frame = self.body.frame().await.context("the watch has ended")??;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > EVENT_MAX {
                bail!("an event of over {EVENT_MAX} bytes");
            }
        }
        Ok(())
    }

    /// Takes one event out of the buffer, if a whole one is there.
    fn take(&mut self) -> anyhow::Result<bool> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        let event: Event = serde_json::from_slice(&line).context("an event that is no JSON")?;
        let object = event.object;
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let placed = !object.spec.node_name.is_empty();
                let running = object.status.phase == "Running";
                self.all.insert(object.metadata.name, Pod { placed, running });
            }
            "DELETED" => drop(self.all.remove(&object.metadata.name)),
            "BOOKMARK" => {}
            kind => bail!("the watch says {kind}: {}", object.message),
        }
        Ok(true)
    }
}
