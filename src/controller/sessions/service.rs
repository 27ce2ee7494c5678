//! The door of the sessions: checks who comes, sends away who comes to the wrong controller, starts a session for the rest.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Addr, AsyncContext};
use kontiki_actors::input::NodeHello;
use kontiki_api::{GIT_VERSION, rest::node_may_label, token::Issuer};
use kontiki_pki::{Peer, Role};
use kontiki_proto::worker::{
    Controller, FromWorker, Heartbeat, HeartbeatAck, Hello, NodeInfo, Redirect, Welcome, from_worker,
    sessions_server, to_worker,
};
use kontiki_raft::Node;
use serde_json::{Value, json};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Pace, Sessions, election,
    outbox::{Outbox, ToWorkers},
    session::{Parts, Session},
    sign::SignOfLife,
};
use crate::controller::{
    crew::{Room, Spawner, start_soon},
    replica::Replica,
    stage::Stage,
};

/// A worker says who it is within this time.
const HELLO: Duration = Duration::from_secs(5);
/// Pods that a worker may speak of in its hello.
const PODS_MAX: usize = 10_000;

/// The gRPC service.
pub(crate) struct SessionService {
    pub(crate) node: Node,
    pub(crate) replica: Arc<Replica>,
    pub(crate) stage: Addr<Stage>,
    pub(crate) sessions: Addr<Sessions>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) pace: Pace,
    pub(crate) lease: Duration,
    pub(crate) next: AtomicU64,
    /// Makes tokens for pods.
    pub(crate) issuer: Option<Arc<Issuer>>,
}

impl SessionService {
    fn controllers(node: &Node) -> Vec<Controller> {
        let members = node.status().members.into_iter().map(|m| m.info);
        members.map(|m| Controller { name: m.name, address: m.address, id: m.id }).collect()
    }

    fn redirect(node: &Node) -> Redirect {
        let leader = node.leadership().borrow().leader.clone();
        Redirect {
            leader_address: leader.map(|l| l.address).unwrap_or_default(),
            controllers: Self::controllers(node),
        }
    }
}

/// Who may open a session as whom.
fn check(peer: Option<&Peer>, hello: &Hello) -> Result<(), Status> {
    match peer {
        Some(peer) if peer.role == Role::Worker && peer.name == hello.node => Ok(()),
        Some(peer) => {
            tracing::warn!(peer = %peer, node = hello.node, "a session was refused: the certificate is another's");
            Err(Status::permission_denied(format!("{peer} may not speak for node {:?}", hello.node)))
        }
        None => Err(Status::unauthenticated("a worker's certificate of this cluster is needed")),
    }
}

#[tonic::async_trait]
impl sessions_server::Sessions for SessionService {
    type SessionStream = ToWorkers;

    async fn session(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut inbound = request.into_inner();
        let first = tokio::time::timeout(HELLO, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello within 5 s"))??;
        let Some(FromWorker { what: Some(from_worker::What::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("a session begins with a hello"));
        };
        check(peer.as_ref(), &hello)?;
        if hello.pods.len() > PODS_MAX {
            return Err(Status::invalid_argument(format!("a hello with more than {PODS_MAX} pods")));
        }
        let own = self.node.status().id;
        let leadership = election::leader(self.node.leadership(), own, &hello.lost_leader).await;
        let (out, outbound) = Outbox::of(leadership.term);
        if !leadership.leading {
            // There is room: it is new and empty.
            let _ = out.send(to_worker::What::Redirect(Self::redirect(&self.node)));
            return Ok(Response::new(outbound));
        }
        let welcome = Welcome {
            leader: self.node.status().name,
            heartbeat_ms: self.pace.millis(),
            lease_ms: millis(self.lease),
            controllers: Self::controllers(&self.node),
            takes_node: true,
            gives_tokens: self.issuer.is_some(),
        };
        let node = self.node.clone();
        let (heard, out) = (SignOfLife::new(), Arc::new(out));
        let inbound = heard.noting(inbound, answering(&out, &self.pace));
        let parts = Parts {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            term: leadership.term,
            node_status: node_hello(&hello),
            hello,
            welcome,
            heard,
            out,
            replica: self.replica.clone(),
            stage: self.stage.clone(),
            sessions: self.sessions.clone(),
            redirect: Arc::new(move || Self::redirect(&node)),
            issuer: self.issuer.clone(),
        };
        start_soon(&*self.spawner, Room::Sessions, move |ctx| {
            ctx.add_stream(inbound);
            Session::new(parts)
        })
        .await;
        Ok(Response::new(outbound))
    }
}

/// Answers heartbeats, for as long as the session is there that holds this outbox.
fn answering(out: &Arc<Outbox>, pace: &Pace) -> impl Fn(&Heartbeat) -> bool + Send + 'static {
    let (out, pace) = (Arc::downgrade(out), pace.clone());
    move |beat| {
        let ack = HeartbeatAck { serial: beat.serial, heartbeat_ms: pace.millis() };
        out.upgrade().is_some_and(|out| out.send(to_worker::What::HeartbeatAck(ack)).is_ok())
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Processors as Kubernetes writes them: thousandths only where there are any.
fn cpu(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// The labels that a worker asks for, but for those that a node may not give itself, and those that tell what it is.
fn labels(hello: &Hello, info: &NodeInfo) -> BTreeMap<String, String> {
    let (mut labels, refused): (BTreeMap<_, _>, BTreeMap<_, _>) =
        hello.labels.clone().into_iter().partition(|(name, _)| node_may_label(name));
    if !refused.is_empty() {
        let names = refused.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            node = hello.node,
            labels = names,
            "left out labels that a node may not give itself: set them with kubectl label"
        );
    }
    let mut own = vec![
        ("node-role.kubernetes.io/worker", ""),
        ("kubernetes.io/hostname", hello.node.as_str()),
        ("kubernetes.io/os", info.operating_system.as_str()),
        ("kubernetes.io/arch", info.architecture.as_str()),
    ];
    if !hello.zone.is_empty() {
        own.push(("topology.kubernetes.io/zone", hello.zone.as_str()));
    }
    labels.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels
}

/// The worker's introduction as labels and a NodeStatus.
pub(super) fn node_hello(hello: &Hello) -> NodeHello {
    let info = hello.info.clone().unwrap_or_default();
    let labels = labels(hello, &info);
    let amounts = |cpu_milli: i64, memory: i64, storage: i64| {
        json!({
            "cpu": cpu(cpu_milli.max(0)), "memory": format!("{}Ki", memory.max(0) / 1024),
            "ephemeral-storage": format!("{}Ki", storage.max(0) / 1024), "pods": info.max_pods.to_string(),
        })
    };
    let capacity = amounts(info.cpu_milli, info.memory_bytes, info.ephemeral_storage_bytes);
    let allocatable = amounts(
        info.cpu_milli.saturating_sub(info.reserved_cpu_milli),
        info.memory_bytes.saturating_sub(info.reserved_memory_bytes),
        info.ephemeral_storage_bytes.saturating_sub(info.reserved_ephemeral_storage_bytes),
    );
    // Only that it is under pressure, or leaves, comes from the worker; the rest of a condition is the node's own.
    let mut conditions: Vec<Value> =
        info.pressures.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    if info.shutting_down {
        conditions.push(json!({"type": "Ready", "status": "False"}));
    }
    let images: Vec<Value> =
        info.images.iter().map(|i| json!({"names": i.names, "sizeBytes": i.size_bytes})).collect();
    let status = json!({
        "capacity": capacity, "allocatable": allocatable, "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": hello.address}, {"type": "Hostname", "address": hello.node}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": hello.port}},
        "nodeInfo": {
            "machineID": info.machine_id, "systemUUID": info.machine_id, "bootID": info.boot_id,
            "kernelVersion": info.kernel_version, "osImage": info.os_image,
            "containerRuntimeVersion": info.container_runtime, "kubeletVersion": GIT_VERSION,
            "kubeProxyVersion": "", "operatingSystem": info.operating_system,
            "architecture": info.architecture,
        },
        "images": images,
    });
    NodeHello {
        name: hello.node.as_str().into(),
        labels: labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        status: serde_json::to_vec(&status).expect("a JSON value always serializes").into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_worker_gives_its_node_no_labels_that_are_for_others_to_give() {
        let mut hello = Hello { node: "w1".into(), zone: "a".into(), ..Hello::default() };
        let info = NodeInfo {
            operating_system: "linux".into(),
            architecture: "amd64".into(),
            ..NodeInfo::default()
        };
        hello.info = Some(info);
        for (name, value) in [
            ("disk", "ssd"),
            ("topology.kubernetes.io/region", "r"),
            ("topology.kubernetes.io/zone", "zz"),
            ("kubernetes.io/hostname", "zz"),
            ("node-restriction.kubernetes.io/tier", "pci"),
            ("node-role.kubernetes.io/control-plane", ""),
        ] {
            hello.labels.insert(name.into(), value.into());
        }
        let labels = node_hello(&hello).labels;
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("disk", "ssd"),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", "w1"),
            ("kubernetes.io/os", "linux"),
            ("node-role.kubernetes.io/worker", ""),
            ("topology.kubernetes.io/region", "r"),
            ("topology.kubernetes.io/zone", "a"),
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn what_is_reserved_is_not_for_pods() {
        let info = NodeInfo {
            cpu_milli: 4000,
            memory_bytes: 8 << 30,
            ephemeral_storage_bytes: 1 << 30,
            max_pods: 110,
            reserved_cpu_milli: 500,
            reserved_memory_bytes: 1 << 30,
            reserved_ephemeral_storage_bytes: 2 << 30,
            pressures: vec!["DiskPressure".to_owned()],
            shutting_down: true,
            ..NodeInfo::default()
        };
        let hello = node_hello(&Hello { info: Some(info), ..Hello::default() });
        let status: Value = serde_json::from_slice(&hello.status).unwrap();
        assert_eq!(
            status["capacity"],
            json!({"cpu": "4", "memory": "8388608Ki", "ephemeral-storage": "1048576Ki", "pods": "110"})
        );
        assert_eq!(
            status["allocatable"],
            json!({"cpu": "3500m", "memory": "7340032Ki", "ephemeral-storage": "0Ki", "pods": "110"})
        );
        assert_eq!(
            status["conditions"],
            json!([{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "False"}])
        );
    }
}
