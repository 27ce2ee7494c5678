//! Starts shims.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::shim::READY;

/// A shim that is not ready by then hangs.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const VERDICT_MAX: u64 = 16 * 1024;
/// An allocator that starts threads would break the shim; one that keeps arenas would make it fat.
const ALLOCATOR: &str = "background_thread:false,narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0";

/// Starts the shim of the pod in this directory and waits until it is ready. It runs the sealed copy of its program, if there is one.
pub(super) async fn spawn(command: &[String], sealed: Option<&File>, dir: &Path) -> Result<(), String> {
    let (program, args) = command.split_first().ok_or("no shim command is configured")?;
    let sealed = sealed.map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut child = match sealed.map(|sealed| execute(&sealed, program, args, dir)) {
        Some(Ok(child)) => Ok(child),
        Some(Err(error)) => {
            tracing::warn!(%error, "the sealed copy of the shims' program cannot be executed: this shim runs the file");
            execute(program, program, args, dir)
        }
        None => execute(program, program, args, dir),
    }
    .map_err(|source| format!("execute {program}: {source}"))?;
    let stdout = child.stdout.take().ok_or("the shim has no output")?;
    let mut verdict = String::new();
    let mut reader = stdout.take(VERDICT_MAX);
    // It closes its output when it is ready, or by its end.
    match tokio::time::timeout(READY_TIMEOUT, reader.read_to_string(&mut verdict)).await {
        Ok(read) => read.map_err(|source| format!("read the shim's answer: {source}"))?,
        Err(_) => {
            child.start_kill().ok();
            return Err(format!("not ready within {} s", READY_TIMEOUT.as_secs()));
        }
    };
    // Reaps it one day, as long as this agent lives.
    tokio::spawn(async move { child.wait().await });
    match verdict.trim_end() {
        READY => Ok(()),
        "" => Err("it ended without a word".to_owned()),
        reason => Err(reason.to_owned()),
    }
}

/// Starts what is at this path under the name of the shims' program.
fn execute(path: &str, program: &str, args: &[String], dir: &Path) -> std::io::Result<Child> {
    Command::new(path)
        .arg0(program)
        .args(args)
        .arg("--dir")
        .arg(dir)
        .env("MALLOC_CONF", ALLOCATOR)
        .env("_RJEM_MALLOC_CONF", ALLOCATOR)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(false)
        // Until it leads a session of its own it must at least not share the agent's fate in a terminal.
        .process_group(0)
        .spawn()
}
