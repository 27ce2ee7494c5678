//! A worker with a valid certificate that lies: it reports on pods that are not its own, names other nodes, and talks nonsense.

use std::{sync::Arc, time::Duration};

use kontiki_proto::worker::{
    FromWorker, Heartbeat, Hello, NodeInfo, PodReport, StatusReport, from_worker::What,
    sessions_client::SessionsClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use kontiki_raft::Scope;

use crate::{network::HostId, player::Fabric};

/// How long each session is kept up.
const SESSION: Duration = Duration::from_millis(400);

/// Opens some sessions with a controller and lies in each. `victims` are pods of others: uid, namespace, name. What it says of its own
/// machine is true: nobody else could know.
pub async fn lie(
    fabric: Arc<Fabric>,
    host: HostId,
    info: NodeInfo,
    address: String,
    victims: Vec<(String, String, String)>,
) {
    let (name, scope) = (fabric.name(host), Scope::new(0));
    let as_other =
        FromWorker { what: Some(What::Hello(Hello { node: "worker-0".into(), ..Hello::default() })) };
    let hello = || FromWorker {
        what: Some(What::Hello(Hello { node: name.clone(), info: Some(info.clone()), ..Hello::default() })),
    };
    let report = |(uid, namespace, name): (String, String, String)| PodReport {
        uid,
        namespace,
        name,
        status: br#"{"phase":"Failed"}"#.as_slice().into(),
        gone: true,
        ..PodReport::default()
    };
    let lies = StatusReport {
        serial: 1,
        pods: victims.into_iter().map(report).collect(),
        ..StatusReport::default()
    };
    let nonsense = StatusReport {
        serial: u64::MAX,
        pods: vec![PodReport { uid: "x".into(), status: b"{".as_slice().into(), ..PodReport::default() }],
        ..StatusReport::default()
    };
    let beat = |serial| FromWorker { what: Some(What::Heartbeat(Heartbeat { serial })) };
    let say = |report| FromWorker { what: Some(What::Report(report)) };
    let sessions = [
        vec![as_other],
        vec![beat(7)],
        vec![hello(), say(lies), beat(1)],
        vec![hello(), say(nonsense), FromWorker { what: None }],
    ];
    for messages in sessions {
        let (out, outgoing) = mpsc::channel(16);
        let mut client = SessionsClient::new(fabric.channel(host, &address, &scope));
        for message in messages {
            // There is room for all of them.
            let _ = out.send(message).await;
        }
        let talk = async {
            let Ok(answer) = client.session(ReceiverStream::new(outgoing)).await else { return };
            let mut answers = answer.into_inner();
            while let Ok(Some(_)) = answers.message().await {}
        };
        let _ = tokio::time::timeout(SESSION, talk).await;
    }
}
