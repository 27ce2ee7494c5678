//! A worker with a valid certificate that lies: it speaks for other nodes, ends other nodes' pods, says that it has obeyed leaders that
//! never were, and talks nonsense. Whoever has stolen a worker's key can do as much.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use http::Method;
use kontiki_chaos_plan::names;
use kontiki_pki::{DialOptions, Dialer, Identity};
use kontiki_proto::worker::{
    FromWorker, Heartbeat, Hello, NodeInfo, PodReport, StatusReport, from_worker::What,
    sessions_client::SessionsClient, to_worker,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Bit, Doing};
use crate::{
    client::{Rest, Sent},
    host::Host,
};

/// How long each session is kept up.
const SESSION: Duration = Duration::from_millis(800);
/// Where a worker serves its logs.
const NODE_PORT: u32 = 10250;

/// What a controller did with a session.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    /// It took one up.
    welcomed: bool,
    /// It acknowledged a report.
    acknowledged: bool,
}

/// Somebody else's pod.
#[derive(Clone, Debug)]
struct Victim {
    uid: String,
    namespace: String,
    name: String,
}

impl Doing<'_> {
    /// Lies as long as the fault lasts, to every controller. Proof: the leader took the liar up and acknowledged what it said of pods
    /// that are not its own. What that did is for the checks to see.
    pub(super) fn lie(&self) -> Bit {
        let Some(liar) = self.workers().next().cloned() else { bail!("no worker is meant") };
        let other = self.field.cluster.workers().find(|host| host.name != liar.name);
        let other = other.map_or("worker-none", |host| host.name.as_str()).to_owned();
        let identity = Identity::load(&liar.dir.join("identity")).context("the worker's certificate")?;
        let addresses: Vec<String> =
            self.field.cluster.controllers().map(|host| host.address.clone()).collect();
        let hello = self.hello(&liar);
        let mut heard = false;
        let end = std::time::Instant::now() + self.lasts;
        loop {
            let victims = self.victims(&liar.name).unwrap_or_default();
            for address in &addresses {
                let sessions = lies(&hello, &other, &victims);
                for (number, messages) in sessions.into_iter().enumerate() {
                    let talking = talk(identity.clone(), address.clone(), messages);
                    let met = self.field.runtime.block_on(self.field.runtime.spawn(talking))?;
                    if number == AS_ANOTHER && met.welcomed {
                        self.field.broken("G2", format!("{} was let in as {other}", liar.name));
                    }
                    heard |= number == OF_OTHERS && met.welcomed && met.acknowledged;
                }
            }
            if std::time::Instant::now() > end || self.field.ended() {
                return Ok(heard);
            }
        }
    }

    /// What the worker would say of its own machine: nobody else could know, so it is no lie.
    fn hello(&self, liar: &Host) -> Hello {
        let shape = &self.field.cluster.shape;
        let info = NodeInfo {
            cpu_milli: i64::try_from(shape.node_cpu_m).unwrap_or(i64::MAX),
            memory_bytes: i64::try_from(shape.node_memory_mib << 20).unwrap_or(i64::MAX),
            max_pods: i64::from(shape.node_pods),
            ..NodeInfo::default()
        };
        let address = liar.address.split(':').next().unwrap_or_default().to_owned();
        Hello {
            node: liar.name.clone(),
            zone: names::zone(liar.zone),
            address,
            port: NODE_PORT,
            info: Some(info),
            ..Hello::default()
        }
    }

    /// Pods of other nodes.
    fn victims(&self, liar: &str) -> anyhow::Result<Vec<Victim>> {
        let identity = self.field.cluster.identity()?;
        let addresses: Vec<String> =
            self.field.cluster.controllers().map(|host| host.address.clone()).collect();
        let listing = self.field.runtime.spawn(async move {
            for address in addresses {
                let Ok(rest) = Rest::connect(&identity, &address).await else { continue };
                let sent = rest.send(Method::GET, "/api/v1/pods?resourceVersion=0", None).await;
                if let Sent::Answered(reply) = sent {
                    return reply.body["items"].as_array().cloned().unwrap_or_default();
                }
            }
            Vec::new()
        });
        let pods = self.field.runtime.block_on(listing)?;
        let others = pods.iter().filter(|pod| pod["spec"]["nodeName"].as_str().is_some_and(|n| n != liar));
        let victim = |pod: &serde_json::Value| {
            let of = |name: &str| Some(pod["metadata"][name].as_str()?.to_owned());
            Some(Victim { uid: of("uid")?, namespace: of("namespace")?, name: of("name")? })
        };
        Ok(others.filter_map(victim).collect())
    }
}

/// The session, by number, in which it speaks for another node.
const AS_ANOTHER: usize = 0;
/// The one in which it speaks of other nodes' pods.
const OF_OTHERS: usize = 2;

/// What is said in each session.
fn lies(hello: &Hello, other: &str, victims: &[Victim]) -> Vec<Vec<FromWorker>> {
    let say = |what: What| FromWorker { what: Some(what) };
    let beat = |serial| say(What::Heartbeat(Heartbeat { serial }));
    let own = || say(What::Hello(hello.clone()));
    let ended = |victim: &Victim| PodReport {
        uid: victim.uid.clone(),
        namespace: victim.namespace.clone(),
        name: victim.name.clone(),
        status: br#"{"phase":"Failed"}"#.as_slice().into(),
        gone: true,
        ..PodReport::default()
    };
    let report = |serial, pods| say(What::Report(StatusReport { serial, pods, ..StatusReport::default() }));
    let garbled = PodReport { uid: "x".into(), status: b"{".as_slice().into(), ..PodReport::default() };
    let far_ahead = Hello { accepted_term: u64::MAX, ..hello.clone() };
    let as_another = Hello { node: other.to_owned(), ..hello.clone() };
    vec![
        vec![say(What::Hello(as_another))],
        vec![beat(7)],
        vec![own(), report(1, victims.iter().map(ended).collect()), beat(1)],
        vec![own(), report(u64::MAX, vec![garbled]), FromWorker { what: None }],
        vec![say(What::Hello(far_ahead)), beat(1)],
        vec![own(), own(), beat(u64::MAX), beat(0)],
    ]
}

/// One session, from its first message to its end or until it has lasted long enough.
async fn talk(identity: Identity, address: String, messages: Vec<FromWorker>) -> Met {
    let met = Arc::new(parking_lot::Mutex::new(Met::default()));
    let (out, outgoing) = mpsc::channel(16);
    for message in messages {
        // There is room for all of them.
        let _ = out.try_send(message);
    }
    let seen = met.clone();
    let talking = async move {
        let name = identity.controller_server_name(None);
        let channel = Dialer::new(&identity).channel(&address, name, DialOptions::default());
        let mut answers = match SessionsClient::new(channel).session(ReceiverStream::new(outgoing)).await {
            Ok(answer) => answer.into_inner(),
            // Refused, as it should be for most of this.
            Err(_) => return,
        };
        loop {
            match answers.message().await {
                Ok(Some(message)) => {
                    let mut met = seen.lock();
                    met.welcomed |= matches!(message.what, Some(to_worker::What::Welcome(_)));
                    met.acknowledged |= matches!(message.what, Some(to_worker::What::ReportAck(_)));
                }
                Ok(None) | Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(SESSION, talking).await;
    drop(out);
    *met.lock()
}
