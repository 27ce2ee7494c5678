//! What nodes and pods use, for who asks: the leader asks the workers on their sessions, and remembers for a moment what
//! they said, so that a crowd of clients costs them no more than one. None of it is in the state.
//!
//! ```text
//!   api --of--> Usages --(here, or by Ask elsewhere)--> the leader's Usages --AskUsage on the sessions--> workers
//! ```

mod memory;
mod service;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::Addr;
use kontiki_api::usage::{ContainerUsage, NodeUsage, PodUsage};
use kontiki_proto::worker::{self, UsagesAsk, usages_client::UsagesClient};
use kontiki_raft::{MemberInfo, Node};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout_at},
};
use tonic::transport::Channel;

use self::memory::Memory;
use super::sessions::{AskNodes, Sessions};
pub(super) use service::UsageService;

/// How long workers are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// One answer of a worker: as many pods as one may speak of in its hello.
const MESSAGE_BYTES: usize = 16 << 20;

/// Tells what nodes use. A clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Usages {
    node: Node,
    sessions: Addr<Sessions>,
    /// Held while workers are asked, so that who comes meanwhile finds what they said.
    memory: Arc<Mutex<Memory>>,
}

impl Usages {
    /// Nobody was asked yet.
    pub(super) fn new(node: Node, sessions: Addr<Sessions>) -> Usages {
        Usages { node, sessions, memory: Arc::default() }
    }

    /// What these nodes use, and their pods if they are asked for; without those that do not say. `channel` is a connection
    /// to another controller.
    pub(super) async fn of(
        &self,
        nodes: BTreeSet<String>,
        pods: bool,
        channel: impl Fn(&MemberInfo) -> Channel,
    ) -> Result<Vec<NodeUsage>, String> {
        let now = self.node.leadership().borrow().clone();
        let said = match (now.leading, &now.leader) {
            (true, _) => self.here(nodes, pods).await,
            (false, Some(leader)) => ask(channel(leader), nodes, pods).await?,
            (false, None) => return Err("no controller leads at the moment".to_owned()),
        };
        Ok(said.into_iter().filter_map(read).collect())
    }

    /// The same at the leader, of nodes with their pods.
    pub(super) async fn told(&self, nodes: BTreeSet<String>) -> Vec<NodeUsage> {
        self.here(nodes, true).await.into_iter().filter_map(read).collect()
    }

    /// The same at the leader, in the words of the wire.
    async fn here(&self, nodes: BTreeSet<String>, pods: bool) -> Vec<worker::NodeUsage> {
        let mut memory = self.memory.lock().await;
        let ask = memory.stale(&nodes, pods, Instant::now());
        if !ask.is_empty() {
            let answers = self.ask_workers(&ask, pods).await;
            memory.learn(ask, pods, answers, Instant::now());
        }
        memory.tell(&nodes)
    }

    async fn ask_workers(&self, nodes: &BTreeSet<String>, pods: bool) -> Vec<worker::NodeUsage> {
        let (tell, mut told) = mpsc::channel(nodes.len());
        let nodes = nodes.iter().map(|node| node.as_str().into()).collect();
        // If the sessions are gone, nobody answers.
        self.sessions.do_send(AskNodes { nodes, pods, tell });
        let until = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        // It ends when all have answered whose sessions live and can.
        while let Ok(Some(usage)) = timeout_at(until, told.recv()).await {
            answers.push(usage);
        }
        answers
    }
}

async fn ask(
    channel: Channel,
    nodes: BTreeSet<String>,
    pods: bool,
) -> Result<Vec<worker::NodeUsage>, String> {
    let request = UsagesAsk { nodes: nodes.into_iter().collect(), pods };
    let mut client = UsagesClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let failed = |status: tonic::Status| format!("the leader does not tell: {}", status.message());
    let until = Instant::now() + 3 * PATIENCE;
    let all = async {
        let mut said = Vec::new();
        let mut stream = client.ask(request).await?.into_inner();
        while let Some(usage) = stream.message().await? {
            said.push(usage);
        }
        Ok(said)
    };
    timeout_at(until, all).await.map_err(|_| "the leader did not answer".to_owned())?.map_err(failed)
}

/// Nothing if the worker has nothing to tell yet.
fn read(said: worker::NodeUsage) -> Option<NodeUsage> {
    let container = |it: worker::ContainerUsage| ContainerUsage {
        name: it.name,
        cpu_nanocores: it.cpu_nanocores,
        memory_bytes: it.memory_bytes,
    };
    let pod = |it: worker::PodUsage| PodUsage {
        uid: it.uid,
        containers: it.containers.into_iter().map(container).collect(),
    };
    (said.window_ms > 0).then(|| NodeUsage {
        node: said.node,
        time_ms: said.time_ms,
        window_ms: said.window_ms,
        cpu_nanocores: said.cpu_nanocores,
        memory_bytes: said.memory_bytes,
        pods: said.pods.into_iter().map(pod).collect(),
    })
}
