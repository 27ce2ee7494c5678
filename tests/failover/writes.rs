//! What clients were promised: an acknowledged write is never lost, and no write is done twice, whatever happens to
//! whoever leads. Each writer uses each name once, so that a name that "already exists" was written twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use kontiki_chaos_tests::{Client, eventually, identity};
use kontiki_pki::Identity;
use parking_lot::Mutex;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// A client's patience: a controller that hangs says nothing.
const PATIENCE: Duration = Duration::from_secs(6);
/// Writes that must be acknowledged after each fault.
const GO_ON: usize = 20;

#[derive(Default)]
struct Promised {
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    twice: Mutex<Vec<Value>>,
}

/// Writes one name after the other through whichever controller answers, beginning with the given one.
async fn write(promised: Arc<Promised>, identity: Identity, addresses: Vec<String>, writer: usize) {
    let mut at = writer;
    let mut client = None;
    for number in 0.. {
        if promised.stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("w{writer}-{number}");
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        if client.is_none() {
            client = Client::connect(&identity, &addresses[at % addresses.len()]).await.ok();
        }
        let Some(connected) = &client else {
            at += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let answer = tokio::time::timeout(PATIENCE, connected.send(Method::POST, MAPS, Some(&map))).await;
        let Ok(Ok(answer)) = answer else {
            // It may be done or not, and is not tried again.
            (client, at) = (None, at + 1);
            continue;
        };
        match answer.code {
            201 => {
                promised.acknowledged.lock().insert(name);
            }
            409 => promised.twice.lock().push(answer.body),
            _ => {}
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_done_twice() {
    let cluster = super::start();
    let status = cluster.status().unwrap();
    let addresses: Vec<String> = status["controllers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["address"].as_str().unwrap().to_string())
        .collect();
    let identity = identity(&cluster.kubeconfig()).unwrap();
    let promised = Arc::new(Promised::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let writers: Vec<_> = (0..3)
        .map(|writer| runtime.spawn(write(promised.clone(), identity.clone(), addresses.clone(), writer)))
        .collect();
    let goes_on = || {
        let before = promised.acknowledged.lock().len();
        eventually("writes are acknowledged again", || {
            let now = promised.acknowledged.lock().len();
            if now >= before + GO_ON { Ok(()) } else { Err(format!("{now} after {before}")) }
        });
    };
    goes_on();
    for round in 0..6 {
        let leader = cluster.leader().unwrap();
        if round % 3 == 2 {
            // It hangs, another one leads, and it comes back with what it had in hand.
            let pid = cluster.pid(&leader).unwrap();
            kill_process(pid, Signal::STOP).unwrap();
            goes_on();
            kill_process(pid, Signal::CONT).unwrap();
        } else {
            cluster.kill(&leader).unwrap();
            goes_on();
            cluster.up().unwrap();
        }
        super::all_ready(&cluster);
    }
    promised.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    let list = cluster.kubectl(&["get", "configmaps", "-o", "name"]).unwrap();
    let there: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_prefix("configmap/")).collect();
    let acknowledged = promised.acknowledged.lock();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !there.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(*promised.twice.lock(), Vec::<Value>::new(), "done twice");
}
