//! `kontiki controller inspect`: what a stopped controller has on its disk, one JSON object in a line, for people and programs.
//! Nothing is changed.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use kontiki_api::feed::{Feed, FeedLimits};
use kontiki_raft::{Fold, LogPosition, stored_log, stored_state};
use serde_json::{Value, json};

use crate::controller::{Replica, TABLES};

/// Arguments of `kontiki controller inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "The controller must not run. Lines: `log` (what is purged, what is known to be committed), one `entry` \
                        for each entry of the log with its payload in base64, `state` (how far it is folded on the disk), and \
                        one `object` for each object in it."
)]
pub(crate) struct InspectArgs {
    /// The stopped controller's data directory.
    #[arg(long, value_name = "DIR", env = "KONTIKI_DATA_DIR")]
    data_dir: PathBuf,
}

pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut say = |line: Value| writeln!(out, "{line}");
    let index = |position: Option<LogPosition>| position.map(|position| position.index);
    let log = stored_log(&args.data_dir).context("the log")?;
    say(json!({"what": "log", "purged": index(log.purged), "committed": index(log.committed)}))?;
    for entry in log.entries {
        say(json!({"what": "entry", "index": entry.position.index, "term": entry.position.term,
                   "kind": entry.kind, "payload": STANDARD.encode(&entry.payload)}))?;
    }
    let stored = stored_state(&args.data_dir, TABLES).context("the state")?;
    let replica = Replica::new(Arc::new(Feed::new(0, FeedLimits { events: 1, bytes: 1 })));
    replica.load(&mut stored.records.into_iter().map(Ok)).context("the state")?;
    let state = replica.view();
    let chain: String = state.chain().iter().map(|byte| format!("{byte:02x}")).collect();
    say(
        json!({"what": "state", "applied": index(stored.applied), "revision": state.revision(), "chain": chain,
               "level": state.level()}),
    )?;
    for object in state.iter() {
        let key = &object.key;
        let name = format!("{}/{}/{}", key.kind.info().plural, key.namespace, key.name);
        say(json!({"what": "object", "key": name, "revision": object.revision,
                   "document": object.document.to_value(), "wakeAtMs": state.wake_of(key)}))?;
    }
    Ok(out.flush()?)
}
