//! The cluster loses controllers and workers and goes on: nothing that was acknowledged is lost, no running pod restarts.
#![allow(clippy::unwrap_used, missing_docs)]

mod writes;

use std::collections::BTreeMap;

use http::Method;
use kontiki_chaos_tests::{Answer, Client, Cluster, Plan, eventually, example_image, identity};
use serde_json::{Value, json};

const WEB: &str = include_str!("../../examples/web.yaml");

fn start() -> Cluster {
    kontiki_pki::install_crypto();
    let image = Some(example_image().unwrap());
    Cluster::start(Plan { image, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap()
}

fn web(cluster: &Cluster) {
    cluster.apply(WEB).unwrap();
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).unwrap();
}

fn pods(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "json"]).unwrap();
    serde_json::from_str::<Value>(&list).unwrap()["items"].as_array().unwrap().clone()
}

/// uid -> (container id, restarts): what must stay the same when nothing restarts.
fn lives(cluster: &Cluster) -> BTreeMap<String, (String, i64)> {
    pods(cluster)
        .iter()
        .map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let id = container["containerID"].as_str().unwrap_or_default().to_string();
            let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
            (uid, (id, container["restartCount"].as_i64().unwrap()))
        })
        .collect()
}

fn all_ready(cluster: &Cluster) {
    eventually("three controllers with a leader, all workers ready", || {
        let status = cluster.status().map_err(|e| e.to_string())?;
        let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
        let leads = list("controllers").iter().filter(|c| c["role"] == "leader").count() == 1;
        let follow = list("controllers").iter().filter(|c| c["role"] == "follower").count() == 2;
        let ready = list("workers").iter().filter(|w| w["state"] == "Ready").count() == 3;
        if leads && follow && ready { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn it_loses_its_leader_and_a_worker_and_goes_on() {
    let cluster = start();
    web(&cluster);
    let before = lives(&cluster);

    // The leader dies: the next write through the shared address is acknowledged, no pod notices.
    let leader = cluster.leader().unwrap();
    cluster.kill(&leader).unwrap();
    cluster.kubectl(&["create", "configmap", "after-the-leader"]).unwrap();
    assert_eq!(lives(&cluster), before);
    eventually("status names the dead controller", || {
        let status = cluster.kontiki(&["status"]).map_err(|e| e.to_string())?;
        if status.contains(&leader) { Ok(()) } else { Err(status) }
    });

    // A worker dies, too: its pod is replaced elsewhere.
    let victim = pods(&cluster)[0]["spec"]["nodeName"].as_str().unwrap().to_string();
    cluster.kill(&victim).unwrap();
    eventually("three ready pods without the dead worker", || {
        let ready = pods(&cluster)
            .iter()
            .filter(|p| p["spec"]["nodeName"] != victim.as_str())
            .filter(|p| {
                let conditions = p["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
            .count();
        if ready == 3 { Ok(()) } else { Err(format!("{ready} ready")) }
    });

    // `up` starts what is missing; everything that was written is there.
    cluster.up().unwrap();
    all_ready(&cluster);
    cluster.kubectl(&["get", "configmap", "after-the-leader"]).unwrap();
    eventually("the dead worker's old pod is gone", || {
        let left = pods(&cluster).len();
        if left == 3 { Ok(()) } else { Err(format!("{left} pods")) }
    });
}

#[test]
fn restarts_lose_nothing_and_restart_no_pod() {
    let cluster = start();
    web(&cluster);
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=1"]).unwrap();
    let before = lives(&cluster);

    // Controllers, one by one and then all at once.
    for name in ["c1", "c2", "c3"] {
        cluster.kill(name).unwrap();
        cluster.up().unwrap();
        all_ready(&cluster);
    }
    let pids: Vec<_> = ["c1", "c2", "c3"].iter().map(|name| cluster.pid(name).unwrap()).collect();
    for pid in pids {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    cluster.up().unwrap();
    all_ready(&cluster);
    assert_eq!(cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).unwrap(), "1");
    assert_eq!(lives(&cluster), before, "pods ran on while the controllers were away");

    // An agent that is killed and comes back adopts its pods.
    cluster.kill("w1").unwrap();
    cluster.up().unwrap();
    all_ready(&cluster);
    assert_eq!(lives(&cluster), before, "adopted, not restarted");

    // Down and up again: same data, all pods back.
    cluster.down().unwrap();
    cluster.up().unwrap();
    all_ready(&cluster);
    assert_eq!(cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).unwrap(), "1");
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=90s"]).unwrap();
    assert_eq!(pods(&cluster).len(), 3);
}

/// A write through this very controller, as a client does it that takes the first answer.
fn write_directly(cluster: &Cluster, controller: &str) -> Answer {
    let status = cluster.status().unwrap();
    let controllers = status["controllers"].as_array().unwrap();
    let address = controllers.iter().find(|c| c["name"] == controller).unwrap()["address"].as_str().unwrap();
    let identity = identity(&cluster.kubeconfig()).unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "refused"}});
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(&identity, address).await.unwrap();
        client.send(Method::POST, "/api/v1/namespaces/default/configmaps", Some(&map)).await.unwrap()
    })
}

#[test]
fn without_a_quorum_it_refuses_and_comes_back() {
    let cluster = start();
    cluster.kubectl(&["create", "configmap", "before"]).unwrap();
    let leader = cluster.leader().unwrap();
    let followers: Vec<&str> = ["c1", "c2", "c3"].into_iter().filter(|name| *name != leader).collect();
    let pids: Vec<_> = followers.iter().map(|name| cluster.pid(name).unwrap()).collect();
    for pid in pids {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    // Not by kubectl: that one tries again for half a minute.
    let refused = write_directly(&cluster, &leader);
    let (reason, retry) = (&refused.body["reason"], &refused.body["details"]["retryAfterSeconds"]);
    assert!([503, 504].contains(&refused.code), "{refused:?}");
    assert!(reason == "ServiceUnavailable" || reason == "Timeout", "{refused:?}");
    assert!(retry.as_i64().is_some_and(|seconds| seconds > 0), "{refused:?}");
    cluster.up().unwrap();
    all_ready(&cluster);
    cluster.kubectl(&["create", "configmap", "after"]).unwrap();
    cluster.kubectl(&["get", "configmap", "before"]).unwrap();
}
