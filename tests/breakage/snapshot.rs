//! A controller that was away longer than the log reaches back catches up by a snapshot, while pods keep running.

use std::{collections::BTreeMap, fs};

use kontiki_chaos_tests::eventually;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::stage::Stage;

const WEB: &str = include_str!("../../examples/web.yaml");

/// uid -> container and restarts.
fn lives(stage: &Stage) -> BTreeMap<String, (String, i64)> {
    let list = stage.kubectl(&["get", "pods", "-l", "app=web", "-o", "json"]).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let life = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let id = container["containerID"].as_str().unwrap_or_default().to_owned();
        (
            pod["metadata"]["uid"].as_str().unwrap().to_owned(),
            (id, container["restartCount"].as_i64().unwrap()),
        )
    };
    list["items"].as_array().unwrap().iter().map(life).collect()
}

#[test]
fn a_follower_that_was_long_away_catches_up_by_a_snapshot() {
    let stage = Stage::with(3, 3, &[("KONTIKI_SNAPSHOT_ENTRIES", "40")]);
    stage.apply(WEB).unwrap();
    stage.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).unwrap();
    let before = lives(&stage);
    let away = if stage.leader().unwrap() == "c2" { "c3" } else { "c2" };
    let address = stage.address_of(away);
    stage.kill(away).unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    names.iter().for_each(|name| stage.write(&stage.address(), name));

    stage.up().unwrap();
    stage.has_all(&address, &names);
    let current = fs::read_to_string(stage.dir().join(away).join("state/CURRENT")).unwrap();
    assert_ne!(current.trim(), "state-1", "it caught up from the log, not by a snapshot");
    // What comes after the snapshot follows as ever, and it may lead.
    stage.write(&stage.address(), "after");
    stage.has_all(&address, &["after".into()]);
    stage.kontiki(&["members", "transfer-leader", away]).unwrap();
    stage.write(&stage.address(), "led-by-it");
    assert_eq!(lives(&stage), before);

    // All at once with kill -9: what was acknowledged is there, on each of them, and no pod restarted.
    let all = ["c1", "c2", "c3", "w1", "w2", "w3"].map(|name| stage.pid(name).unwrap());
    all.into_iter().for_each(|pid| kill_process(pid, Signal::KILL).unwrap());
    stage.up().unwrap();
    let mut all = names.clone();
    all.extend(["after".into(), "led-by-it".into()]);
    for name in ["c1", "c2", "c3"] {
        stage.has_all(&stage.address_of(name), &all);
    }
    eventually("the pods are as they were", || {
        let now = lives(&stage);
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
}
