//! Whose processes the containers of a pod see: each its own, all those of the pod, or all of the machine.
//!
//! A process namespace of the pod's own is held by a first process that does nothing else: orphans become its children,
//! and all that is in the namespace ends with it. It ends when its input does, and so when the shim does.

use std::process::{Child, Command, ExitCode, Stdio};

use nix::sched::CloneFlags;
use serde_json::{Value, json};

use super::signals;
use crate::runtime::Processes;

/// What the holder is called with, behind the words that make this program a shim.
pub(super) const HOLD: &str = "hold";
/// The shim's own arguments behind those words: `--dir` and a directory.
const OWN_ARGUMENTS: usize = 2;

/// The process namespaces of a pod.
#[derive(Debug, Default)]
pub(super) enum Namespace {
    /// A new one for each container.
    #[default]
    PerContainer,
    /// One for the pod, with who holds it.
    Held(Child),
    /// The machine's.
    Machine,
}

impl Namespace {
    /// Makes what the pod asks for.
    pub(super) fn make(processes: Processes) -> Result<Self, String> {
        match processes {
            Processes::Container => Ok(Self::PerContainer),
            Processes::Pod => hold().map(Self::Held),
            Processes::Machine => Ok(Self::Machine),
        }
    }

    /// The namespace in a container's description, if it gets one that is not the shim's. Where each has its own, it may get that of
    /// the process `beside` which it is started.
    pub(super) fn describe(&self, beside: Option<i32>) -> Option<Value> {
        let of =
            |pid: &dyn std::fmt::Display| json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") });
        match (self, beside) {
            (Self::PerContainer, None) => Some(json!({ "type": "pid" })),
            (Self::PerContainer, Some(pid)) => Some(of(&pid)),
            (Self::Held(holder), _) => Some(of(&holder.id())),
            (Self::Machine, _) => None,
        }
    }

    /// Whether all processes of a container end with its first one, by the kernel.
    pub(super) fn ends_with_first(&self) -> bool {
        matches!(self, Self::PerContainer)
    }

    /// Whether this process holds the pod's namespace.
    pub(super) fn is_held_by(&self, pid: i32) -> bool {
        matches!(self, Self::Held(holder) if i32::try_from(holder.id()) == Ok(pid))
    }
}

/// Starts the first process of a new namespace.
fn hold() -> Result<Child, String> {
    let failed =
        |what: &str, source: &dyn std::fmt::Display| format!("{what} the pod's process namespace: {source}");
    let own = std::fs::File::open("/proc/self/ns/pid").map_err(|source| failed("leave", &source))?;
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    nix::sched::unshare(CloneFlags::CLONE_NEWPID).map_err(|source| failed("make", &source))?;
    let holder = Command::new("/proc/self/exe")
        .args(&words[..words.len().saturating_sub(OWN_ARGUMENTS)])
        .arg(HOLD)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Children are born where the shim is again: libcontainer tells their numbers as they are here.
    nix::sched::setns(own, CloneFlags::CLONE_NEWPID).map_err(|source| failed("leave", &source))?;
    holder.map_err(|source| failed("hold", &source))
}

/// The life of the holder.
pub(super) fn hold_until_input_ends() -> ExitCode {
    if signals::forget_children().is_err() {
        return ExitCode::FAILURE;
    }
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).ok();
    ExitCode::SUCCESS
}
