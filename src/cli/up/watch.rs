//! While `up` stays in the foreground it reports processes that die. It does not start them again: who kills one wants to
//! see what the cluster does about it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use super::plan::Plan;
use super::process;
use super::start::Started;
use crate::cli::say::say;

const PAUSE: Duration = Duration::from_millis(250);

/// Watches until none of the cluster's processes is left.
pub(super) async fn watch(dir: &Path, plan: &Plan, started: &mut Started) {
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        for planned in plan.processes() {
            let name = &planned.name;
            let was = known.get(name).copied();
            match (was, process::running(dir, name)) {
                (was, Some(pid)) if was != Some(pid) => {
                    if was.is_some() {
                        say(format_args!("{name} runs again (pid {pid})"));
                    }
                    known.insert(name.clone(), pid);
                }
                (Some(pid), None) => {
                    known.remove(name);
                    let how = ended(started, name, pid);
                    say(format_args!(
                        "{name} (pid {pid}) {how}; `kontiki up` in another terminal starts it again; log: {}",
                        process::log_file(dir, name).display()
                    ));
                }
                _ => {}
            }
        }
        reap(started);
        if known.is_empty() {
            say("no process of the cluster is left");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a process ended, as far as its parent can tell.
fn ended(started: &mut Started, name: &str, pid: u32) -> String {
    let child = started.children.get_mut(name).filter(|child| child.id() == pid);
    let Some(Ok(Some(status))) = child.map(|child| child.try_wait()) else { return "ended".into() };
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended by itself".into(),
        (Some(code), _) => format!("failed with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// Lets the kernel forget children that have ended.
fn reap(started: &mut Started) {
    started.children.retain(|_, child| !matches!(child.try_wait(), Ok(Some(_))));
}
