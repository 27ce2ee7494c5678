//! Where pods run, as a watch through one controller tells it: the moment of its event is the moment that counts.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use kontiki_pki::Identity;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

use crate::client::{Rest, Sent};

const PODS: &str = "/api/v1/namespaces/default/pods";
const PAUSE: Duration = Duration::from_millis(20);

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    /// Its node; empty: none yet.
    pub(super) node: String,
    /// It runs and nobody wants it away.
    pub(super) runs: bool,
}

/// All pods, by uid.
pub(super) type Pods = BTreeMap<String, Pod>;

/// A watch that goes on until it is dropped.
pub(super) struct Watch {
    seen: watch::Receiver<Pods>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches through these controllers, the first that answers.
    pub(super) async fn start(identity: Identity, addresses: Vec<String>) -> anyhow::Result<Watch> {
        let (tell, mut seen) = watch::channel(Pods::new());
        let task = tokio::spawn(async move {
            for address in addresses.iter().cycle() {
                // A watch that broke begins anew with a list, here or elsewhere.
                if follow(&identity, address, &tell).await.is_err() && tell.is_closed() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        tokio::time::timeout(super::pump::LIMIT, seen.changed()).await.context("no list of the pods")??;
        Ok(Watch { seen, task })
    }

    /// What it has seen last.
    pub(super) fn now(&self) -> Pods {
        self.seen.borrow().clone()
    }

    /// Waits for something.
    pub(super) async fn until(
        &mut self,
        what: &str,
        such: impl FnMut(&Pods) -> bool,
    ) -> anyhow::Result<Pods> {
        let limit = super::pump::LIMIT;
        if let Ok(seen) = tokio::time::timeout(limit, self.seen.wait_for(such)).await {
            return Ok(seen.context("the watch ended")?.clone());
        }
        let pods = self.now();
        let runs = running(&pods, |_| true);
        bail!("waited for {what} in vain for {limit:?}: {} pods, of which {runs} run", pods.len())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(identity: &Identity, address: &str, tell: &watch::Sender<Pods>) -> anyhow::Result<()> {
    let rest = Rest::connect(identity, address).await?;
    let Sent::Answered(reply) = rest.send(Method::GET, PODS, None).await else { bail!("no list") };
    let items = reply.body["items"].as_array().context("no list")?;
    let all: Pods = items.iter().filter_map(read).collect();
    let revision = reply.body["metadata"]["resourceVersion"].as_str().context("a list without a revision")?;
    tell.send_replace(all);
    let response =
        rest.open(Method::GET, &format!("{PODS}?watch=true&resourceVersion={revision}"), None).await?;
    let mut body = response.into_body().into_data_stream();
    let mut buffer = Vec::new();
    while let Some(bytes) = body.next().await {
        buffer.extend_from_slice(&bytes?);
        let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
        let lines: Vec<u8> = buffer.drain(..=end).collect();
        let events: Vec<Value> =
            serde_json::Deserializer::from_slice(&lines).into_iter().collect::<Result<_, _>>()?;
        if let Some(error) = events.iter().find(|event| event["type"] == "ERROR") {
            bail!("the watch ended: {}", error["object"]["message"]);
        }
        tell.send_modify(|pods| {
            for event in events {
                let Some((uid, pod)) = read(&event["object"]) else { continue };
                match event["type"].as_str() {
                    Some("DELETED") => drop(pods.remove(&uid)),
                    _ => drop(pods.insert(uid, pod)),
                }
            }
        });
    }
    bail!("the watch ended")
}

fn read(object: &Value) -> Option<(String, Pod)> {
    let meta = &object["metadata"];
    let node = object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let runs = object["status"]["phase"] == "Running" && meta["deletionTimestamp"].is_null();
    Some((meta["uid"].as_str()?.to_owned(), Pod { node, runs }))
}

/// How many run on nodes that are such.
pub(super) fn running(pods: &Pods, such: impl Fn(&str) -> bool) -> usize {
    pods.values().filter(|pod| pod.runs && such(&pod.node)).count()
}
