//! What system calls a container may make: profiles, and the kernel's filters that they become.
//!
//! ```text
//! RuntimeDefault -> default (what every container needs, and what its capabilities are for) -\
//! Localhost      -> document (a file of the machine, as the OCI runtime specification has it) -> Profile -> compile -> filters
//! ```
//!
//! The agent does all of this; the shim installs what came out of it, in a container's first process and in every one that is
//! executed beside it. Not for 32-bit programs on 64-bit machines: a filter ends them.

mod compile;
mod default;
mod document;
mod table;

use std::path::{Component, Path, PathBuf};

use crate::runtime::SyscallFilter;

/// A profile larger than this is none.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Allow,
    Log,
    Errno(u16),
    Trap,
    KillThread,
    KillProcess,
}

/// What an argument must be for a rule to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    index: u8,
    test: Test,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    /// Equal in these bits.
    Masked(u64),
}

/// What happens to some system calls, if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    names: Vec<String>,
    action: Action,
    conditions: Vec<Condition>,
}

/// Rules, and what happens to system calls for which there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Profile {
    otherwise: Action,
    rules: Vec<Rule>,
}

/// The profile of containers that ask for the runtime's own (`RuntimeDefault`), given the capabilities that they have
/// (`CAP_...`).
pub fn runtime_default(capabilities: &[String]) -> Result<Vec<SyscallFilter>, String> {
    compile::filters(&default::profile(capabilities))
}

/// The file of a profile below a folder (`Localhost`). An error says why there is none.
pub fn file(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside {
        return Err(format!("seccomp profile \"{name}\" must be a path below {}", folder.display()));
    }
    let path = folder.join(name);
    let told = |cause: String| format!("cannot load seccomp profile \"{}\": {cause}", path.display());
    let size = std::fs::metadata(&path).map_err(|source| told(source.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(told(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(path)
}

/// The profile in such a file. An error says what is wrong with it.
pub fn localhost(path: &Path) -> Result<Vec<SyscallFilter>, String> {
    let told = |cause: String| format!("cannot load seccomp profile \"{}\": {cause}", path.display());
    let text = std::fs::read(path).map_err(|source| told(source.to_string()))?;
    document::parse(&text).and_then(|profile| compile::filters(&profile)).map_err(told)
}
