//! What a person types beside kubectl: `up` in a terminal and Ctrl-C, images, completion, version.
#![allow(clippy::unwrap_used, missing_docs)]

mod images;
#[path = "../../worker/tests/registry_support/mod.rs"]
mod registry_support;

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use kontiki_chaos_tests::{Cluster, Plan, eventually, example_image, kubectl_path};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_kontiki");

fn kontiki(args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn kubectl(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(kubectl_path())
        .args(args)
        .env("KUBECONFIG", dir.join("kubeconfig"))
        .env("KUBECACHEDIR", dir.join("kubectl-cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `kontiki up` in the foreground. Ended when dropped, also after a panic.
struct Foreground {
    child: Child,
}

impl Foreground {
    /// Starts it and reads what it says until the cluster stands.
    fn start(dir: &Path, image: &Path) -> (Foreground, String) {
        let mut command = Command::new(BINARY);
        command.arg("up").arg("--data-dir").arg(dir);
        if !dir.exists() {
            command.args(["--port", "0"]);
        }
        let mut child =
            command.arg("--image").arg(image).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Both streams in one: which of them carries the progress is not the point.
        let errors = child.stderr.take().unwrap();
        let told = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = BufReader::new(errors).read_to_string(&mut text);
            text
        });
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !said.contains("Ctrl-C") {
            match lines.next() {
                Some(line) => said.push_str(&(line.unwrap() + "\n")),
                None => panic!("it ended: {said}{}", told.join().unwrap()),
            }
        }
        (Foreground { child }, said)
    }

    fn interrupt(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0));
            let _ = pid.map(|pid| kill_process(pid, Signal::INT));
            let _ = self.child.wait();
        }
    }
}

/// The processes of a cluster, as its own status names them.
fn processes(dir: &Path) -> Vec<Pid> {
    let status = kontiki(&["status", "-o", "json", "--data-dir", dir.to_str().unwrap()]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let lists =
        ["controllers", "workers"].into_iter().flat_map(|list| status[list].as_array().cloned().unwrap());
    let pids: Vec<Pid> =
        lists.filter_map(|p| Pid::from_raw(i32::try_from(p["pid"].as_i64()?).ok()?)).collect();
    assert_eq!(pids.len(), 6, "{status}");
    pids
}

#[test]
fn up_in_a_terminal_ends_with_ctrl_c_and_goes_on_with_the_same_data() {
    let home = tempfile::Builder::new().prefix("kontiki-test-").tempdir().unwrap();
    let dir = home.path().join("cluster");
    let image = example_image().unwrap();
    let (up, said) = Foreground::start(&dir, &image);
    // The state as a table, and what to type next.
    for words in ["CONTROLLER", "WORKER", "kubectl", "kontiki status"] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    kubectl(&dir, &["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/web.yaml")]);
    kubectl(&dir, &["rollout", "status", "deployment/web", "--timeout=90s"]);
    let uids = || kubectl(&dir, &["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let before = uids();
    let running = processes(&dir);
    up.interrupt();
    for pid in running {
        // One that has ended and was not waited for yet has no command line any more.
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        assert_eq!(command, "", "{pid:?} still runs after Ctrl-C");
    }

    let (up, _) = Foreground::start(&dir, &image);
    eventually("the same pods are back", || {
        let ready = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        let ready = kubectl(&dir, &["get", "pods", "-l", "app=web", "-o", ready]);
        if ready == "True True True" { Ok(()) } else { Err(ready) }
    });
    assert_eq!(uids(), before);
    up.interrupt();
}

#[test]
fn images_are_loaded_and_listed() {
    let cluster = Cluster::start(Plan { controllers: 1, workers: 2, ..Plan::of(BINARY) }).unwrap();
    let image = example_image().unwrap();
    let listed = |cluster: &Cluster| -> Value {
        serde_json::from_str(&cluster.kontiki(&["image", "list", "-o", "json"]).unwrap()).unwrap()
    };
    assert!(!listed(&cluster).to_string().contains("kontiki.local/web"), "{}", listed(&cluster));
    cluster.kontiki(&["image", "load", image.to_str().unwrap()]).unwrap();
    let list = listed(&cluster).to_string();
    assert!(list.contains("kontiki.local/web"), "{list}");
    assert!(cluster.kontiki(&["image", "list"]).unwrap().contains("kontiki.local/web"));
    // What was loaded into a running worker runs there.
    cluster.apply(include_str!("../../examples/web.yaml")).unwrap();
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).unwrap();
    // What is no image is refused in words, and nothing is lost.
    let rubbish = cluster.dir().join("rubbish.tar");
    std::fs::write(&rubbish, "no image at all").unwrap();
    let error = cluster.kontiki(&["image", "load", rubbish.to_str().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("rubbish.tar"), "{error}");
    assert_eq!(listed(&cluster).to_string(), list);
    // What runs keeps its image, until it is gone.
    let remove =
        || cluster.kontiki(&["image", "remove", "kontiki.local/web:1"]).map_err(|error| error.to_string());
    let error = remove().unwrap_err();
    assert!(error.contains("in use"), "{error}");
    let pruned = cluster.kontiki(&["image", "prune", "--all"]).unwrap();
    assert!(!pruned.contains("kontiki.local/web"), "{pruned}");
    cluster.kubectl(&["delete", "deployment/web"]).unwrap();
    eventually("the image is nobody's", remove);
    assert!(!listed(&cluster).to_string().contains("kontiki.local/web"));
    assert!(remove().unwrap_err().contains("there is no image kontiki.local/web:1"));
}

fn namespaces_of_bench(cluster: &Cluster) -> Vec<String> {
    let all = cluster.kubectl(&["get", "namespaces", "-o", "name"]).unwrap();
    all.lines().filter(|name| name.contains("kontiki-bench-")).map(str::to_owned).collect()
}

#[test]
fn a_live_cluster_is_measured_and_left_as_it_was() {
    let cluster = Cluster::start(Plan { controllers: 3, workers: 1, ..Plan::of(BINARY) }).unwrap();
    cluster.kontiki(&["image", "load", example_image().unwrap().to_str().unwrap()]).unwrap();
    let sizes = ["--seconds", "1", "--clients", "8", "--watchers", "6", "--pods", "2"];
    let mut command = cluster.command();
    command.arg("bench").arg("--data-dir").arg(cluster.dir()).args(sizes);
    command.args(["--image", "kontiki.local/web:1", "-o", "json"]);
    // How fast a busy machine is, is not the point: a poor verdict ends it with 1.
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(output.status.success(), !said.contains("not fit for production"), "{said}");
    let mut rows: Vec<&Value> = report["more"].as_array().unwrap().iter().collect();
    rows.extend(["trip", "write", "read", "event", "placement"].map(|name| &report[name]));
    for row in &rows {
        assert!(row["count"].as_u64().unwrap() > 0 && row["errors"] == 0, "{report:#}");
        assert!(row["p50Ms"].as_f64().unwrap() <= row["p99Ms"].as_f64().unwrap(), "{row}");
    }
    let told = |what: &str| rows.iter().any(|row| row["what"].as_str().unwrap().contains(what));
    for what in ["to the leader", "writes", "reads", "event", "to a node", "to running", "to gone"] {
        assert!(told(what), "{what}: {report:#}");
    }
    let about: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| f["about"].clone()).collect();
    for what in ["network", "disk", "steadiness", "watches", "placement"] {
        assert!(about.contains(&what.into()), "{what}: {about:?}");
    }
    assert_eq!(namespaces_of_bench(&cluster), [""; 0]);

    // Ctrl-C in the middle cleans up as well.
    let mut command = cluster.command();
    command.args(["bench", "writes", "--seconds", "600", "--clients", "2", "--data-dir"]).arg(cluster.dir());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("its namespace", || match namespaces_of_bench(&cluster).is_empty() {
        true => Err("none".to_owned()),
        false => Ok(()),
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("stopped before the end"), "{said}");
    assert_eq!(namespaces_of_bench(&cluster), [""; 0]);
}

#[test]
fn completion_and_version() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = kontiki(&["completion", shell]);
        assert!(script.contains("transfer-leader"), "{shell}: {script}");
    }
    // What the script offers is what the shell takes.
    let script = "source <(\"$0\" completion bash) && complete -p kontiki";
    let output = Command::new("bash").args(["-c", script, BINARY]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let version = env!("CARGO_PKG_VERSION");
    assert!(kontiki(&["version"]).contains(version));
    let version_json: Value = serde_json::from_str(&kontiki(&["version", "-o", "json"])).unwrap();
    assert_eq!(version_json["version"], version);
}
