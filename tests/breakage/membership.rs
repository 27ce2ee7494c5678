//! Members come and go: a fourth controller, a change of the leader, the removal of the leader, a controller that lost its disk, a
//! fourth worker.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use kontiki_chaos_tests::{Cluster, eventually, kubectl_path};
use serde_json::Value;

use crate::stage::{Guest, Stage, free_address, says};

fn members(stage: &Cluster) -> Vec<Value> {
    let list = stage.kontiki(&["members", "list", "-o", "json"]).unwrap();
    serde_json::from_str::<Value>(&list).unwrap()["members"].as_array().unwrap().clone()
}

fn role(stage: &Cluster, name: &str) -> Option<String> {
    let list = members(stage);
    let member = list.iter().find(|member| member["name"] == name)?;
    member["role"].as_str().map(str::to_owned)
}

fn becomes(stage: &Cluster, name: &str, wanted: Option<&str>) {
    eventually(&format!("{name} is {wanted:?}"), || {
        let role = role(stage, name);
        if role.as_deref() == wanted { Ok(()) } else { Err(format!("{role:?}")) }
    });
}

fn problems(stage: &Stage) -> String {
    let status = stage.status().unwrap();
    let list = status["problems"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

struct Fourth {
    dir: String,
    address: String,
    servers: String,
}

impl Fourth {
    fn start(&self, stage: &Stage, more: &[&str]) -> Guest {
        let mut args = vec!["controller", "run", "--name", "c4", "--zone", "d", "--data-dir", &self.dir];
        args.extend(["--listen", &self.address, "--advertise", &self.address]);
        args.extend(more);
        Guest::start(&args, &stage.dir().join("logs/c4.log"))
    }

    fn join(&self, stage: &Stage, token: &str, more: &[&str]) -> Guest {
        let mut args = vec!["--join", token, "--server", &self.servers];
        args.extend(more);
        self.start(stage, &args)
    }
}

#[test]
fn a_fourth_controller_joins_leads_is_lost_comes_back_and_goes() {
    let stage = Stage::of(3, 0);
    let shared = stage.address();
    let names: Vec<String> = (0..30).map(|n| format!("m{n}")).collect();
    names.iter().for_each(|name| stage.write(&shared, name));
    assert!(problems(&stage).is_empty(), "{}", problems(&stage));

    let dir = stage.dir().join("c4").to_string_lossy().into_owned();
    let fourth = Fourth { dir: dir.clone(), address: free_address(), servers: stage.servers() };
    let token = stage.token("controller", "10m");
    let guest = fourth.join(&stage, &token, &[]);
    becomes(&stage, "c4", Some("voter"));
    stage.has_all(&fourth.address, &names);
    assert!(
        problems(&stage).contains("4 voting controllers tolerate the loss of 1, as 3 would"),
        "{}",
        problems(&stage)
    );
    // Repeated, nothing changes.
    stage.kontiki(&["members", "promote", "c4"]).unwrap();

    // Its token is used up.
    let (joined, said) = says(&[
        "controller",
        "run",
        "--name",
        "c5",
        "--data-dir",
        &format!("{dir}-5"),
        "--advertise",
        &free_address(),
        "--join",
        &token,
        "--server",
        &fourth.servers,
    ]);
    assert!(!joined && said.contains("the join token is not valid"), "{said}");

    stage.kontiki(&["members", "transfer-leader", "c4"]).unwrap();
    becomes(&stage, "c4", Some("leader"));
    stage.write(&shared, "led-by-c4");

    // Its disk is lost: one command brings it back, under a new number.
    let old = number(&stage, "c4");
    guest.kill();
    fs::remove_dir_all(&dir).unwrap();
    stage.write(&shared, "without-c4");
    let guest = fourth.join(&stage, &stage.token("controller", "10m"), &["--replace"]);
    eventually("c4 votes under a new number", || match role(&stage, "c4").as_deref() {
        Some("voter" | "leader") if number(&stage, "c4") != old => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(members(&stage).len(), 4);
    stage.has_all(&fourth.address, &["led-by-c4".into(), "without-c4".into()]);
    // It starts again without a token.
    guest.kill();
    let guest = fourth.start(&stage, &[]);
    stage.has_all(&fourth.address, &names);

    // Removed while it leads: another one takes over at once, and it does not come back by itself.
    stage.kontiki(&["members", "transfer-leader", "c4"]).unwrap();
    becomes(&stage, "c4", Some("leader"));
    stage.kontiki(&["members", "remove", "c4"]).unwrap();
    becomes(&stage, "c4", None);
    stage.write(&shared, "after-the-removal");
    guest.kill();
    let guest = fourth.start(&stage, &[]);
    for n in 0..5 {
        stage.write(&shared, &format!("still-{n}"));
    }
    assert_eq!(role(&stage, "c4"), None);
    drop(guest);
    stage.settles("three controllers again", |status| status["controllers"].as_array().unwrap().len() == 3);
    assert!(problems(&stage).is_empty(), "{}", problems(&stage));

    a_learner_by_hand(&stage);
    two_controllers_are_warned_of(&stage);
}

fn number(stage: &Cluster, name: &str) -> Value {
    members(stage)
        .iter()
        .find(|member| member["name"] == name)
        .map(|member| member["id"].clone())
        .unwrap_or_default()
}

/// One that is only announced learns, and is not counted on.
fn a_learner_by_hand(stage: &Stage) {
    let add = ["members", "add", "--id", "77", "--name", "c77", "--address", "127.0.0.1:1", "--zone", "z"];
    stage.kontiki(&add).unwrap();
    assert_eq!(role(stage, "c77").as_deref(), Some("learner"));
    let refused = stage.kontiki(&["members", "transfer-leader", "c77"]).unwrap_err().to_string();
    assert!(refused.contains("c77 has no vote: promote it first"), "{refused}");
    let refused = stage.kontiki(&["members", "promote", "nobody"]).unwrap_err().to_string();
    assert!(refused.contains("no controller \"nobody\" in this cluster"), "{refused}");
    stage.kontiki(&["members", "remove", "c77"]).unwrap();
    assert_eq!(role(stage, "c77"), None);
}

fn two_controllers_are_warned_of(stage: &Stage) {
    stage.kontiki(&["members", "remove", "c3"]).unwrap();
    eventually("two controllers in two zones are warned of", || {
        let said = problems(stage);
        let all =
            said.contains("2 voting controllers tolerate the loss of 0") && said.contains("in 2 zone(s)");
        if all { Ok(()) } else { Err(said) }
    });
    // The last majority is not thrown away.
    stage.kill("c2").unwrap();
    eventually("a removal that would need the silent one is refused", || {
        match stage.kontiki(&["members", "remove", "c1"]) {
            Err(_) => Ok(()),
            Ok(done) => Err(done),
        }
    });
}

#[test]
fn a_fourth_worker_joins_with_a_token() {
    let stage = Stage::of(1, 1);
    let token = stage.token("worker", "10m");
    let (dir, servers) = (stage.dir().join("w4"), stage.servers());
    let (dir, images) = (dir.to_string_lossy().into_owned(), stage.dir().join("images"));
    let listen = free_address();
    let start = |more: &[&str]| {
        let mut args =
            vec!["worker", "run", "--name", "w4", "--zone", "d", "--data-dir", &dir, "--listen", &listen];
        args.extend(["--images", images.to_str().unwrap()]);
        args.extend(more);
        Guest::start(&args, &stage.dir().join("logs/w4.log"))
    };
    let guest = start(&["--join", &token, "--server", &servers]);
    let ready = || {
        stage.settles("w4 is ready", |status| {
            status["workers"].as_array().unwrap().iter().any(|w| w["name"] == "w4" && w["state"] == "Ready")
        })
    };
    assert!(ready()["workers"].as_array().unwrap().iter().any(|w| w["name"] == "w4" && w["zone"] == "d"));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: on-w4}\nspec: {nodeName: w4, containers: \
               [{name: sleep, image: 'kontiki.local/web:1', command: [/bin/sh, -c, 'echo one; sleep 1000']}]}\n";
    stage.apply(pod).unwrap();
    stage.kubectl(&["wait", "--for=condition=Ready", "pod/on-w4", "--timeout=60s"]).unwrap();
    // The name is taken.
    let (joined, said) = says(&[
        "worker",
        "run",
        "--name",
        "w4",
        "--data-dir",
        &format!("{dir}-2"),
        "--join",
        &token,
        "--server",
        &servers,
    ]);
    assert!(!joined && said.contains("there is a worker w4 already"), "{said}");
    // Later starts need neither token nor server; its pod has not noticed. From now on it says that it is where nobody listens.
    guest.kill();
    let shut = "127.0.0.9";
    let _guest = start(&["--advertise", shut]);
    ready();
    let address = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    eventually("its new address is known", || {
        let said = stage.kubectl(&["get", "node", "w4", "-o", address]).map_err(|error| error.to_string())?;
        if said == shut { Ok(()) } else { Err(said) }
    });
    logs_come_though_the_port_is_shut(&stage, (shut, port_of(&listen)));
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(stage.kubectl(&["get", "pod", "on-w4", "-o", restarts]).unwrap(), "0");
    stage.kubectl(&["delete", "pod", "on-w4", "--grace-period=1"]).unwrap();
}

fn port_of(address: &str) -> u16 {
    address.parse::<SocketAddr>().unwrap().port()
}

/// Of the pod `on-w4`, whose worker cannot be dialed.
fn logs_come_though_the_port_is_shut(stage: &Stage, port: (&str, u16)) {
    assert!(TcpStream::connect(port).is_err(), "{port:?} is open");
    assert_eq!(stage.kubectl(&["logs", "on-w4"]).unwrap(), "one\n");
    let mut command = Command::new(kubectl_path());
    command.args(["logs", "-f", "on-w4"]).env("KUBECONFIG", stage.kubeconfig());
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    stage.kubectl(&["exec", "on-w4", "--", "sh", "-c", "echo two > /proc/1/fd/1"]).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    following.kill().unwrap();
    following.wait().unwrap();
}
