//! What is wrong or will soon be, in words for people, worst first.

use std::collections::BTreeSet;

use kontiki_actors::object::parse_time_ms;
use kontiki_actors::{Kind, Object, State};
use kontiki_proto::cluster::StatusReply;
use kontiki_raft::{Room, Status};

use super::levels::{Older, known, waits};
use super::workers::state_of;

/// A controller further behind than this is worth a word.
const LAG: u64 = 1000;
/// Of one sort of trouble, so many are named and the rest counted.
const NAMED: usize = 5;
/// A pod may take so long to come up before that is worth a word.
const PATIENCE_MS: i64 = 10_000;

/// What the advice is drawn from.
pub(super) struct Seen<'a> {
    pub(super) reply: &'a StatusReply,
    pub(super) own: &'a Status,
    /// What the consensus itself has to say.
    pub(super) membership: Vec<String>,
    pub(super) state: &'a State,
}

/// All advice.
pub(super) fn advice(seen: &Seen<'_>, now_ms: i64) -> Vec<String> {
    let mut words = controllers(seen.reply, seen.own);
    words.extend(nodes(seen.state, now_ms));
    words.extend(pods(seen.state, now_ms));
    words.extend(seen.membership.iter().cloned());
    words
}

fn controllers(reply: &StatusReply, own: &Status) -> Vec<String> {
    let mut words = Vec::new();
    let voters = own.members.iter().filter(|m| m.voter).count();
    if reply.leader_id.is_none() {
        words.push(format!(
            "no controller leads: writes are refused until a majority of the {voters} voting controllers reach each other"
        ));
    }
    for c in reply.controllers.iter().filter(|c| !c.reachable) {
        words.push(format!(
            "controller {} ({}) does not answer: start it, or if its machine is lost for good: kontiki members remove {}",
            c.name, c.address, c.name
        ));
    }
    for c in reply.controllers.iter().filter(|c| c.reachable && c.lag > LAG) {
        words.push(format!("controller {} is {} entries behind the leader", c.name, c.lag));
    }
    words.extend(reply.controllers.iter().flat_map(|c| c.troubles.iter().cloned()));
    let top = reply.controllers.iter().map(|c| known(c.level)).max().unwrap_or_default();
    if top > known(reply.level) {
        let lower = reply.controllers.iter().filter(|c| known(c.level) < top);
        let older: Vec<Older> = lower
            .map(|c| Older { name: c.name.clone(), address: c.address.clone(), answers: c.reachable })
            .collect();
        words.push(waits(known(reply.level), top, &older));
    }
    let versions: BTreeSet<&str> =
        reply.controllers.iter().filter(|c| c.reachable).map(|c| c.version.as_str()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        words.push(format!(
            "the controllers run different versions ({}): finish the upgrade",
            versions.join(", ")
        ));
    }
    words
}

/// What a controller knows to be wrong with itself; it tells whoever asks.
pub(super) fn own_troubles(own: &Status) -> Vec<String> {
    let mut words = Vec::new();
    let name = &own.name;
    match own.room {
        Room::Ample => {}
        Room::Low => words
            .push(format!("the disk of controller {name} is nearly full: it does not lead; free some space")),
        Room::None => {
            words.push(format!("the disk of controller {name} is full: it writes nothing; free some space"))
        }
    }
    if let Some(failure) = &own.failure {
        words.push(format!("controller {name} has failed: {failure}"));
    }
    words
}

fn nodes(state: &State, now_ms: i64) -> Vec<String> {
    let mut troubles = Vec::new();
    for object in state.list(Kind::NODE, None) {
        let Some(node) = object.node() else { continue };
        let zone = object.meta.labels.get("topology.kubernetes.io/zone").map_or("", |zone| zone.as_str());
        let since = node.ready_since.as_deref().and_then(parse_time_ms);
        let since = since.map_or_else(String::new, |at| format!(" for {} s", (now_ms - at).max(0) / 1000));
        let name = &object.key.name;
        match state_of(node) {
            "Ready" => {}
            "Suspect" => troubles.push(format!("worker {name} (zone {zone}) has been silent{since}")),
            "Down" => troubles.push(format!(
                "worker {name} (zone {zone}) has been down{since}: its pods are replaced elsewhere"
            )),
            other => troubles.push(format!("worker {name} (zone {zone}) is {other}{since}")),
        }
    }
    shortened(troubles, "workers are not ready")
}

fn pods(state: &State, now_ms: i64) -> Vec<String> {
    let mut troubles = Vec::new();
    for key in state.unplaced().take(1000) {
        let Some(pod) = state.get(key).and_then(|object| object.pod()) else { continue };
        if let Some(why) = &pod.unscheduled_message {
            troubles.push(format!("pod {}/{} waits for a place: {why}", key.namespace, key.name));
        }
    }
    let mut words = shortened(troubles, "pods wait for a place");
    let late = state.list(Kind::POD, None).filter(|object| {
        let pod = object.pod();
        let waits = pod.is_some_and(|pod| pod.node.is_some() && !pod.ready && !pod.terminal());
        waits && !object.meta.deleting() && now_ms - object.meta.created_ms > PATIENCE_MS
    });
    let late: Vec<String> = late.take(1000).filter_map(|object| waiting(object)).collect();
    words.extend(shortened(late, "pods do not come up"));
    words
}

/// Why a container of the pod does not run, if its worker says so.
fn waiting(pod: &Object) -> Option<String> {
    let status = pod.document.status_value();
    let containers = status["containerStatuses"].as_array()?;
    let waiting = containers.iter().find_map(|c| Some((c, c["state"]["waiting"]["reason"].as_str()?)));
    let (container, reason) = waiting?;
    let message = container["state"]["waiting"]["message"].as_str().unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    let name = container["name"].as_str().unwrap_or_default();
    Some(format!("pod {}/{} container {name}: {reason}{colon}{message}", pod.key.namespace, pod.key.name))
}

/// Names the first few and counts the rest.
fn shortened(mut troubles: Vec<String>, what: &str) -> Vec<String> {
    if troubles.len() > NAMED {
        let rest = troubles.len() - NAMED;
        troubles.truncate(NAMED);
        troubles.push(format!("{rest} more {what}"));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use kontiki_actors::Document;
    use kontiki_actors::{Change, ObjectKey};
    use serde_json::{Value, json};

    use super::*;

    fn put(state: &mut State, kind: Kind, namespace: &str, name: &str, value: Value) {
        let Document { metadata, spec, status, rest } = Document::from_value(value);
        let key = ObjectKey::new(kind, namespace, name);
        let change = Change::Put {
            key,
            metadata: Some(metadata),
            spec: Some(spec),
            status: Some(status),
            rest: Some(rest),
        };
        state.apply(&change);
    }

    #[test]
    fn a_lost_worker_is_named_with_its_zone() {
        let mut state = State::default();
        let taint = json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" });
        let node = json!({
            "metadata": { "labels": { "topology.kubernetes.io/zone": "b" } },
            "spec": { "taints": [taint] },
            "status": { "conditions": [
                { "type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:10Z" }] },
        });
        put(&mut state, Kind::NODE, "", "w2", node);
        let words = nodes(&state, 22_500);
        assert_eq!(words, ["worker w2 (zone b) has been down for 12 s: its pods are replaced elsewhere"]);
    }

    #[test]
    fn a_container_that_waits_says_why() {
        let mut state = State::default();
        let pod = json!({
            "metadata": { "creationTimestamp": "1970-01-01T00:00:00Z" },
            "spec": { "nodeName": "w1" },
            "status": { "phase": "Pending", "containerStatuses": [{ "name": "web",
                "state": { "waiting": { "reason": "ErrImagePull", "message": "no such image" } } }] },
        });
        put(&mut state, Kind::POD, "default", "web-1", pod);
        assert_eq!(pods(&state, 11_000), ["pod default/web-1 container web: ErrImagePull: no such image"]);
        assert!(pods(&state, 9_000).is_empty(), "it may still come up");
    }

    #[test]
    fn many_troubles_are_counted() {
        let troubles = (0..8).map(|n| format!("trouble {n}")).collect();
        let words = shortened(troubles, "pods wait");
        assert_eq!((words.len(), words[5].as_str()), (6, "3 more pods wait"));
    }
}
