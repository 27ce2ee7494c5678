//! What containers learn of Services by their environment: the whole agent, in virtual time.

use kontiki_proto::worker::{Assignments, LinkPort, PodAssignment, ServiceLink, ServiceLinks};
use serde_json::{Value, json};

use super::life::{Worker, pod};
use crate::agent::layout::Layout;

/// The Service `web` with this port.
fn links(port: u32) -> Vec<ServiceLinks> {
    let ports = vec![LinkPort { name: String::new(), protocol: "TCP".into(), port }];
    let web = ServiceLink { name: "web".into(), address: "10.96.0.7".into(), ports, always: false };
    vec![ServiceLinks { namespace: "shop".into(), services: vec![web], left_out: 0 }]
}

/// A pod whose container ends at once, with the port as its code.
fn assigned() -> PodAssignment {
    let pod = pod(json!({"command": ["exit", "$(WEB_SERVICE_PORT)"]}));
    PodAssignment {
        uid: "uid-1".into(),
        namespace: "shop".into(),
        name: "web-0".into(),
        revision: 1,
        pod: pod.to_string().into(),
        ..PodAssignment::default()
    }
}

fn ended_with(code: i64) -> impl Fn(&Value, bool) -> bool {
    move |status, _| {
        let container = &status["containerStatuses"][0];
        ["state", "lastState"].iter().any(|state| container[state]["terminated"]["exitCode"] == code)
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_starts_with_the_services_of_that_moment() {
    let mut worker = Worker::new().await;
    worker.assign(Assignments { links: links(41), put: vec![assigned()], ..Assignments::default() }).await;
    worker.until("the first port", ended_with(41)).await;
    // They change, and nothing is said of the pod.
    worker.assign(Assignments { links: links(42), ..Assignments::default() }).await;
    worker.until("the second port", ended_with(42)).await;
    // The agent starts again, and no leader speaks to it.
    worker.restart().await;
    let restarts = |status: &Value| status["containerStatuses"][0]["restartCount"].as_i64().unwrap();
    let now = restarts(&worker.until("the second port again", ended_with(42)).await);
    let later = move |status: &Value, _: bool| restarts(status) > now + 1 && ended_with(42)(status, false);
    worker.until("it from disk", later).await;
    assert!(!worker.reasons().contains(&"Killing"), "{:?}", worker.reasons());
    // With the last pod of the namespace, they are forgotten.
    let folder = Layout::new(&worker.config.data_dir).links();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    worker.assign(Assignments { remove: vec!["uid-1".into()], ..Assignments::default() }).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}
