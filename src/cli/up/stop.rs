//! Stopping a local cluster: processes, and what pods have left running, so that nothing of it stays behind on the machine.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::plan::Plan;
use super::process;
use super::trust::home;
use crate::cli::say::say;

/// After this a process is not asked any more.
const GRACE: Duration = Duration::from_secs(8);
/// Pods get this long: their containers are killed, not asked.
const POD_GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Stops the plan's processes and their pods. Pods stay in the cluster's state: the next start brings them back.
pub(super) async fn stop(dir: &Path, plan: &Plan) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut stopped: Vec<&str> = Vec::new();
    for planned in plan.processes() {
        if tell(dir, &planned.name, Signal::TERM)? {
            stopped.push(&planned.name);
        }
    }
    let left = |names: &[&str]| names.iter().any(|name| process::running(dir, name).is_some());
    while left(&stopped) && began.elapsed() < GRACE {
        sleep(PAUSE).await;
    }
    for name in &stopped {
        if tell(dir, name, Signal::KILL)? {
            say(format_args!("{name} did not stop within {} s and was killed", GRACE.as_secs()));
        }
        process::forget(dir, name);
    }
    let pods = stop_pods(dir, plan).await?;
    let seconds = began.elapsed().as_secs_f64();
    match (stopped.is_empty(), pods) {
        (true, 0) => say("nothing was running"),
        (_, 0) => say(format_args!("stopped {} in {seconds:.1} s", stopped.join(", "))),
        (_, pods) => say(format_args!("stopped {} and {pods} pods in {seconds:.1} s", stopped.join(", "))),
    }
    Ok(())
}

fn tell(dir: &Path, name: &str, what: Signal) -> anyhow::Result<bool> {
    let Some(pid) = process::running(dir, name) else { return Ok(false) };
    process::signal(pid, what, || process::running(dir, name) == Some(pid))?;
    if what == Signal::TERM {
        // One that was stopped by SIGSTOP could not hear it.
        process::signal(pid, Signal::CONT, || process::running(dir, name) == Some(pid))?;
    }
    Ok(true)
}

/// Ends the shims of the workers' pods, and with them their containers. Answers how many there were.
async fn stop_pods(dir: &Path, plan: &Plan) -> anyhow::Result<usize> {
    let homes: Vec<_> =
        plan.workers.iter().filter_map(|worker| home(dir, &worker.name).canonicalize().ok()).collect();
    let all = || -> Vec<(u32, &Path)> {
        homes
            .iter()
            .flat_map(|home| process::shims(home).into_iter().map(|pid| (pid, home.as_path())))
            .collect()
    };
    let shims = all();
    for (what, grace) in [(Signal::TERM, POD_GRACE), (Signal::KILL, Duration::from_millis(500))] {
        for (pid, home) in all() {
            process::signal(pid, what, || process::is_shim(pid, home))?;
        }
        let end = Instant::now() + grace;
        while !all().is_empty() && Instant::now() < end {
            sleep(PAUSE).await;
        }
    }
    Ok(shims.len())
}
