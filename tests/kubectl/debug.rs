//! `kubectl debug`: containers that are added to a pod that runs, copies of pods, and nodes.

use std::os::unix::fs::MetadataExt;

use kontiki_chaos_tests::eventually;
use serde_json::Value;

use crate::scenario::Scenario;
use crate::streams::{Terminal, command, the_box};

const IMAGE: [&str; 2] = ["--image=kontiki.local/web:1", "--image-pull-policy=IfNotPresent"];

/// Whether there are containers, rather than plain processes, and a kubectl that knows profiles.
fn can(s: &Scenario) -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("skipped: containers need root");
    }
    root && s.knows(30)
}

fn debug(s: &Scenario, args: &[&str], script: &str) -> String {
    s.kubectl(&[&["debug"], args, &IMAGE, &["--", "sh", "-c", script]].concat())
}

/// The status of one that was added to the box.
fn status(s: &Scenario, name: &str) -> Value {
    let pod = s.json(&["get", "pod", "box"]);
    let list = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
    list.into_iter().find(|status| status["name"] == name).unwrap_or_default()
}

pub fn looks_into_a_pod_that_runs(s: &Scenario) {
    if !can(s) {
        return;
    }
    the_box(s);
    let before = s.json(&["get", "pod", "box"])["status"]["containerStatuses"].clone();
    let target = ["box", "-c", "looker", "--target=c", "--profile=baseline"];
    debug(s, &target, "ps; echo from $(hostname); sleep 99999");
    let said = s.until(&["logs", "box", "-c", "looker"], "from box");
    assert!(said.contains("sleep 100000"), "the target's process: {said}");
    let first = status(s, "looker");
    assert!(first["state"]["running"].is_object(), "{first}");
    let events = s.until(&["get", "events"], "Started container looker");
    assert!(events.contains("Created container: looker"), "{events}");

    // With a shell in a terminal, as people do. Its end is not the pod's.
    let shell = ["debug", "-it", "box", "-c", "shell", "--target=c", "--profile=baseline"];
    let mut shell = Terminal::open(command(s, &[&shell[..], &IMAGE, &["--", "sh"]].concat()), 80, 24);
    eventually("the shell", || {
        let status = status(s, "shell");
        if status["state"]["running"].is_object() { Ok(()) } else { Err(status.to_string()) }
    });
    shell.types("ps; echo a$((1+1))\n");
    shell.shows("sleep 100000");
    shell.shows("a2\r\n");
    shell.types("exit 3\n");
    shell.child.wait().unwrap();
    eventually("the end of the shell", || {
        let status = status(s, "shell");
        let code = &status["state"]["terminated"]["exitCode"];
        if *code == 3 { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(s.json(&["get", "pod", "box"])["status"]["containerStatuses"], before);
    s.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]);

    // The agent dies and comes back; what runs does not notice.
    let node = s.json(&["get", "pod", "box"])["spec"]["nodeName"].as_str().unwrap().to_owned();
    s.cluster.kill(&node).unwrap();
    s.cluster.up().unwrap();
    s.until(&["exec", "box", "-c", "looker", "--", "ps"], "sleep 100000");
    let again = status(s, "looker");
    assert_eq!((&again["containerID"], &again["state"]), (&first["containerID"], &first["state"]));
    assert_eq!(status(s, "shell")["state"]["terminated"]["exitCode"], 3, "it is not started again");
    s.kubectl(&["delete", "pod", "box"]);
}

pub fn profiles_say_what_it_may(s: &Scenario) {
    if !can(s) {
        return;
    }
    the_box(s);
    let begun = |name: &str| {
        eventually(name, || {
            let status = status(s, name);
            let state = &status["state"];
            let failed = state["waiting"]["message"].is_string();
            if failed || state["running"].is_object() { Ok(state.clone()) } else { Err(status.to_string()) }
        })
    };
    for profile in ["legacy", "general", "baseline", "netadmin", "sysadmin"] {
        debug(s, &["box", "-c", profile, "--profile", profile], "sleep 99999");
        let state = begun(profile);
        // A worker that is confined itself may have less to give, and says so.
        let less =
            state["waiting"]["message"].as_str().is_some_and(|told| told.contains("has no capability"));
        assert!(less || state["running"].is_object(), "{profile}: {state}");
    }
    debug(s, &["box", "-c", "restricted", "--profile=restricted"], "sleep 99999");
    let state = begun("restricted");
    let told = state["waiting"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("container has runAsNonRoot and image will run as root"), "{state}");

    // The namespace's standard counts for them, too.
    let namespace = s.namespace.as_str();
    s.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline"]);
    let refused =
        [&["debug", "box", "-c", "more", "--profile=sysadmin"][..], &IMAGE, &["--", "true"]].concat();
    let told = s.refused(&refused);
    assert!(told.contains("violates PodSecurity \"baseline:latest\""), "{told}");
    s.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce-"]);
    s.kubectl(&["delete", "pod", "box"]);
}

pub fn looks_into_a_copy_and_into_a_node(s: &Scenario) {
    if !can(s) {
        return;
    }
    the_box(s);
    debug(
        s,
        &["box", "--copy-to=copy", "-c", "looker", "--share-processes"],
        "ps; echo through; sleep 99998",
    );
    let said = s.until(&["logs", "copy", "-c", "looker"], "through");
    assert!(said.contains("ps"), "{said}");
    let node = s.json(&["get", "pod", "box"])["spec"]["nodeName"].as_str().unwrap().to_owned();
    let target = format!("node/{node}");
    debug(s, &[&target, "--profile=general"], "ls -d /host/etc; echo through; sleep 99997");
    let pods = s.kubectl(&["get", "pods", "-o", "name"]);
    let mut pods = pods.lines().filter_map(|name| name.strip_prefix("pod/"));
    let pod = pods.find(|name| name.starts_with("node-debugger-")).unwrap();
    let said = s.until(&["logs", pod], "through");
    assert!(said.contains("/host/etc"), "{said}");
    s.kubectl(&["delete", "pod", "box", "copy", pod, "--now"]);
}
