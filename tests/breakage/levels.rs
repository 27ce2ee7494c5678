//! A rolling upgrade from a build that knows less: nobody stops, what is new is refused until all know it, and who comes later must.

use kontiki_actors::{LEVEL, level::FIRST};
use kontiki_chaos_tests::{Cluster, eventually};
use serde_json::Value;

use crate::stage::{Stage, free_address, says};

/// The hidden setting by which a controller plays an older build.
const PRETEND: &str = "KONTIKI_PRETEND_LEVEL";
const NAMES: [&str; 3] = ["c1", "c2", "c3"];
const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: boats.example.com}\n\
    spec:\n  group: example.com\n  scope: Namespaced\n  names: {plural: boats, kind: Boat}\n  versions:\n  - {name: v1, \
    served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n";

fn level(status: &Value) -> u64 {
    status["level"].as_u64().unwrap()
}

fn problems(status: &Value) -> String {
    let list = status["problems"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// All run, and know each as much as they should; the cluster is where it should be.
fn settles(stage: &Stage, of_all: u64, of_each: [u32; 3]) -> Value {
    stage.settles(&format!("level {of_all}, with builds of {of_each:?}"), |status| {
        let list = status["controllers"].as_array().unwrap();
        let runs = |(name, level): (&str, u32)| {
            list.iter().any(|c| c["name"] == name && c["reachable"] == true && c["level"] == level)
        };
        list.len() == 3 && NAMES.into_iter().zip(of_each).all(runs) && level(status) == of_all
    })
}

/// kill -9, and another build takes its place.
fn replaced(stage: &Cluster, name: &str, level: u32) {
    stage.kill(name).unwrap();
    stage.up_with(&[(PRETEND, &level.to_string())]).unwrap();
}

fn refused(stage: &Cluster) -> String {
    let refused = stage.apply(DEFINITION).unwrap_err().to_string();
    assert!(refused.contains("ServiceUnavailable") || refused.contains("503"), "{refused}");
    refused
}

fn flow_schemas(stage: &Cluster) -> usize {
    stage
        .kubectl(&["get", "flowschemas", "-o", "name"])
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .count()
}

#[test]
fn a_rolling_upgrade_stops_nobody_and_brings_what_is_new_at_its_end() {
    let first = FIRST.to_string();
    let stage = Stage::with(3, 0, &[(PRETEND, &first)]);
    let shared = stage.address();
    let names = ["old", "led-by-new", "led-by-old", "without-the-last"].map(str::to_owned);
    let write = |name: &str| stage.write(&shared, name);
    settles(&stage, 1, [1, 1, 1]);
    assert!(!problems(&stage.status().unwrap()).contains("level"), "nobody knows more");
    write("old");

    // The leader first, which is the worst order: a new build leads or follows old ones.
    let leader = stage.leader().unwrap();
    replaced(&stage, &leader, LEVEL);
    let mut builds = NAMES.map(|name| if name == leader { LEVEL } else { FIRST });
    let status = settles(&stage, 1, builds);
    let older: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
    let said = problems(&status);
    for name in &older {
        assert!(
            said.contains(&format!("controller {name} (")) && said.contains("runs an older one"),
            "{said}"
        );
    }
    stage.kontiki(&["members", "transfer-leader", &leader]).unwrap();
    eventually("the new build leads", || match stage.leader() {
        Ok(now) if now == leader => Ok(()),
        other => Err(format!("{other:?}")),
    });
    write("led-by-new");
    let said = refused(&stage);
    assert!(
        said.contains("the cluster is at level 1 until all controllers run a build that knows level 2"),
        "{said}"
    );
    assert!(older.iter().all(|name| said.contains(&format!("controller {name} ("))), "{said}");
    assert_eq!(flow_schemas(&stage), 0, "nor does the leader make what others do not know");
    let waits =
        format!("the cluster is at level 1 until all controllers run a build that knows level {LEVEL}");
    stage.logs(&leader, &waits);

    // An old build leads, and a new one is asked.
    stage.kontiki(&["members", "transfer-leader", older[0]]).unwrap();
    refused(&stage);
    write("led-by-old");
    replaced(&stage, older[0], LEVEL);
    builds = NAMES.map(|name| if name == older[1] { FIRST } else { LEVEL });
    settles(&stage, 1, builds);
    // The last one is away: it could come back as it was.
    stage.kill(older[1]).unwrap();
    eventually("who is away holds the level down", || {
        let said = problems(&stage.status().map_err(|e| e.to_string())?);
        let all = said.contains("level 1") && said.contains(&format!("controller {} (", older[1]));
        if all && said.contains("does not answer") { Ok(()) } else { Err(said) }
    });
    eventually("a refusal names who is away", || {
        let said = refused(&stage);
        if said.contains("does not answer") { Ok(()) } else { Err(said) }
    });
    write("without-the-last");
    // It does, and nothing is there that it cannot read.
    stage.up_with(&[(PRETEND, &first)]).unwrap();
    settles(&stage, 1, builds);
    stage.has_all(&stage.address_of(older[1]), &names);

    // It is upgraded, and the leader dies just then.
    let leader = stage.leader().unwrap();
    stage.kill(older[1]).unwrap();
    stage.up_with(&[(PRETEND, &LEVEL.to_string())]).unwrap();
    stage.kill(&leader).unwrap();
    stage.up_with(&[(PRETEND, &LEVEL.to_string())]).unwrap();
    let status = settles(&stage, LEVEL.into(), [LEVEL; 3]);
    assert!(!problems(&status).contains("level"), "{}", problems(&status));
    stage.apply(DEFINITION).unwrap();
    eventually("the new kind is served", || {
        let boat = "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: kon-tiki}\n";
        stage.apply(boat).map(drop).map_err(|error| error.to_string())
    });
    assert!(flow_schemas(&stage) > 0);
    // Through the death of that leader, too.
    stage.kill(&stage.leader().unwrap()).unwrap();
    write("after-the-raise");
    stage.up_with(&[(PRETEND, &LEVEL.to_string())]).unwrap();
    let status = settles(&stage, LEVEL.into(), [LEVEL; 3]);
    for controller in status["controllers"].as_array().unwrap() {
        stage.has_all(controller["address"].as_str().unwrap(), &names);
    }
    assert_eq!(stage.kubectl(&["get", "boats", "-o", "name"]).unwrap().trim(), "boat.example.com/kon-tiki");

    there_is_no_way_back(&stage);
}

/// Neither for one that was here, nor for one that comes.
fn there_is_no_way_back(stage: &Stage) {
    let follower = NAMES.into_iter().find(|name| *name != stage.leader().unwrap()).unwrap();
    let address = stage.address_of(follower);
    stage.kill(follower).unwrap();
    let dir = stage.dir().join(follower);
    let dir = dir.to_str().unwrap();
    let run = ["controller", "run", "--pretend-level", "1", "--name"];
    let at = ["--listen", &address, "--advertise", &address];
    let (ran, said) = says(&[&run[..], &[follower, "--data-dir", dir], &at].concat());
    // In its state, or in the entry of the raise where that is not in its state on disk yet.
    let why = format!("the cluster is at level {LEVEL}, and this build knows level 1");
    assert!(!ran && said.contains(&why), "{said}");
    // Nothing is lost by it.
    stage.up_with(&[(PRETEND, &LEVEL.to_string())]).unwrap();
    settles(stage, LEVEL.into(), [LEVEL; 3]);

    let token = stage.token("controller", "10m");
    let (dir, servers, address) = (stage.dir().join("c4"), stage.servers(), free_address());
    let dir = dir.to_str().unwrap();
    let at = ["--listen", &address, "--advertise", &address, "--join", &token, "--server", &servers];
    let (ran, said) = says(&[&run[..], &["c4", "--data-dir", dir], &at].concat());
    let why = format!(
        "the cluster is at level {LEVEL}, and the build of controller c4 knows level 1: install the build that the others run"
    );
    assert!(!ran && said.contains(&why), "{said}");
    assert_eq!(stage.status().unwrap()["controllers"].as_array().unwrap().len(), 3);
}
