//! What a watch shows of the pods.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use serde::Deserialize;

use super::{Event, Rest, Watch};

/// What is waited for happens by then, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// It has a node.
    pub placed: bool,
    /// Its node says that it runs.
    pub running: bool,
}

/// All pods of a namespace, as the events so far tell.
pub struct Pods {
    watch: Watch,
    all: HashMap<String, Pod>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    spec: Spec,
    status: Status,
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
    pub async fn watch(rest: &Rest, namespace: &str) -> anyhow::Result<Pods> {
        let watch = Watch::open(rest, &format!("/api/v1/namespaces/{namespace}/pods")).await?;
        Ok(Pods { watch, all: HashMap::new() })
    }

    /// Reads events until this holds.
    pub async fn until(
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

    /// Reads an event: which pod it is about, and what is known of it; none: it is gone. Cut short, it loses nothing.
    pub async fn next(&mut self) -> anyhow::Result<(String, Option<Pod>)> {
        loop {
            match self.watch.next::<Object>().await? {
                Event::Put(object) => {
                    let placed = !object.spec.node_name.is_empty();
                    let pod = Pod { placed, running: object.status.phase == "Running" };
                    self.all.insert(object.metadata.name.clone(), pod);
                    return Ok((object.metadata.name, Some(pod)));
                }
                Event::Deleted(object) => {
                    self.all.remove(&object.metadata.name);
                    return Ok((object.metadata.name, None));
                }
                Event::Bookmark => {}
            }
        }
    }
}
