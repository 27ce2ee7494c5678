//! What a stream is wanted of, read from the query as PodExecOptions and PodAttachOptions.

use kontiki_actors::Object;
use serde_json::{Value, json};

use crate::{
    resource::{fields::text, pod},
    rest::{logs, query::Query},
    status::Status,
    streams::{StdStreams, StreamTo},
};

/// The options of a stream as webhooks are told them, and their kind.
pub(super) fn told(query: &Query, subresource: &str) -> (&'static str, Value) {
    let mut told = json!({});
    if subresource == "portforward" {
        let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
        if !ports.is_empty() {
            told["ports"] = json!(ports);
        }
        return ("PodPortForwardOptions", told);
    }
    for name in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|name| query.switch(name)) {
        told[name] = true.into();
    }
    if let Some(container) = query.text("container") {
        told["container"] = container.into();
    }
    if subresource == "attach" {
        return ("PodAttachOptions", told);
    }
    told["command"] = query.all("command").collect();
    ("PodExecOptions", told)
}

/// Containers' processes, and commands beside them.
pub(super) fn of_process(
    query: &Query,
    object: &Object,
    subresource: &str,
) -> Result<(StreamTo, StdStreams), Status> {
    let streams = std_streams(query)?;
    let spec = object.document.spec_value();
    let container = logs::container(&spec, &object.key.name, query.text("container"))?;
    let command: Vec<String> = query.all("command").map(str::to_owned).collect();
    if subresource == "attach" {
        let of_it = pod::containers(&spec).find(|(_, _, c)| text(c, "name") == container);
        let switch = |name: &str| of_it.as_ref().is_some_and(|(_, _, c)| c[name] == true);
        // As the kubelet does: a terminal is the container's own or none.
        let (tty, stdin) = (switch("tty"), streams.stdin && switch("stdin"));
        let streams = StdStreams { tty, stdin, stderr: streams.stderr && !tty, ..streams };
        return Ok((StreamTo::Attach { container, streams }, streams));
    }
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    Ok((StreamTo::Exec { container, command, streams }, streams))
}

fn std_streams(query: &Query) -> Result<StdStreams, Status> {
    let [stdin, stdout, stderr, tty] = ["stdin", "stdout", "stderr", "tty"].map(|name| query.switch(name));
    if !(stdin || stdout || stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if tty && stderr {
        return Err(Status::bad_request("tty and stderr cannot both be true"));
    }
    Ok(StdStreams { stdin, stdout, stderr, tty })
}
