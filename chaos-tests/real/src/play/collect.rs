//! The evidence: what the controllers have on their disks when all have stopped in order.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_actors::{Entry, State};
use kontiki_chaos_plan::{
    history::{LoggedEntry, ReplicaHash},
    names,
};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    ground::command,
    host::{Host, Role},
};

/// A controller stops within this time.
const STOP: Duration = Duration::from_secs(20);

/// A stopped controller's data.
struct Stored {
    log: BTreeMap<u64, LoggedEntry>,
    hash: ReplicaHash,
    committed: u64,
}

/// The committed log and the hash of every replica's state.
pub(super) fn collect(cluster: &Cluster) -> anyhow::Result<(Vec<LoggedEntry>, Vec<ReplicaHash>)> {
    for host in &cluster.hosts {
        if !host.terminate(STOP) {
            eprintln!("      {} did not stop within {STOP:?} and was killed", host.name);
        }
    }
    let mut all = Vec::new();
    for host in cluster.controllers() {
        all.push(read(cluster, host).with_context(|| host.name.clone())?);
    }
    let log = whole_log(&all)?;
    let mut hashes: Vec<ReplicaHash> = all.iter().map(|stored| stored.hash.clone()).collect();
    let indexes: Vec<u64> = hashes.iter().map(|hash| hash.index).collect();
    hashes.extend(replay(&log, &indexes)?);
    Ok((log, hashes))
}

/// The committed log from its first entry, put together: who came back by a snapshot has only the end of it.
fn whole_log(all: &[Stored]) -> anyhow::Result<Vec<LoggedEntry>> {
    let committed = all.iter().map(|stored| stored.committed).max().context("there is no controller")?;
    // Those that know more of it to be committed last: theirs is what counts.
    let mut order: Vec<&Stored> = all.iter().collect();
    order.sort_by_key(|stored| stored.committed);
    let mut log = BTreeMap::new();
    for stored in order {
        let known = stored.log.range(..=stored.committed);
        log.extend(known.map(|(index, entry)| (*index, entry.clone())));
    }
    let first = log.keys().next().copied().unwrap_or(0);
    if first > 1 || log.len() as u64 != committed - first + 1 {
        bail!(
            "evidence is lost: of {committed} committed entries only {} are left, from {first} on",
            log.len()
        );
    }
    Ok(log.into_values().collect())
}

fn read(cluster: &Cluster, host: &Host) -> anyhow::Result<Stored> {
    let Role::Controller(replica) = host.role else { bail!("no controller") };
    let (binary, dir) = (cluster.setup.binary.to_string_lossy(), host.dir.to_string_lossy());
    let text = command::run(&[&binary, "controller", "inspect", "--data-dir", &dir])?;
    let (mut log, mut committed, mut state) = (BTreeMap::new(), 0, None);
    let mut objects = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let number = |name: &str| line[name].as_u64().unwrap_or(0);
        match line["what"].as_str() {
            Some("entry") => {
                let bytes = STANDARD.decode(line["payload"].as_str().unwrap_or_default())?;
                let (index, term) = (number("index"), number("term"));
                log.insert(index, LoggedEntry { index, term, committed_ns: 0, bytes });
            }
            Some("log") => committed = committed.max(number("committed")),
            Some("state") => {
                committed = committed.max(number("applied"));
                state = Some((number("applied"), number("revision")));
            }
            Some("object") => {
                let key = line["key"].as_str().unwrap_or_default();
                objects.push(say(key, number("revision"), &line["document"], line["wakeAtMs"].as_i64()));
            }
            _ => {}
        }
    }
    let (index, revision) = state.context("it has no state")?;
    Ok(Stored { log, hash: ReplicaHash { replica, index, revision, hash: digest(objects) }, committed })
}

/// Everything that a state has of an object.
fn say(key: &str, revision: u64, document: &Value, wake: Option<i64>) -> String {
    format!("{key} {revision} {document} {wake:?}")
}

/// A hash of everything in a state.
fn digest(mut objects: Vec<String>) -> u64 {
    objects.sort();
    let mut hasher = DefaultHasher::new();
    objects.hash(&mut hasher);
    hasher.finish()
}

/// The state as the log makes it, from nothing, at these entries.
fn replay(log: &[LoggedEntry], indexes: &[u64]) -> anyhow::Result<Vec<ReplicaHash>> {
    let (mut state, mut hashes) = (State::default(), Vec::new());
    for logged in log {
        if !logged.bytes.is_empty() {
            let entry = Entry::decode(&logged.bytes).with_context(|| format!("entry {}", logged.index))?;
            if entry.term == logged.term {
                state.fold(&entry, &logged.bytes);
            }
        }
        if indexes.contains(&logged.index) {
            let objects = state.iter().map(|object| {
                let (key, document) = (names::text(&object.key), object.document.to_value());
                say(&key, object.revision, &document, state.wake_of(&object.key))
            });
            let (index, revision, hash) = (logged.index, state.revision(), digest(objects.collect()));
            hashes.push(ReplicaHash { replica: u32::MAX, index, revision, hash });
        }
    }
    Ok(hashes)
}
