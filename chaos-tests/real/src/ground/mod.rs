//! What a run takes of the machine, and how it is given back. Everything is found by the run's id: namespaces and cgroups carry
//! it in their names, processes in their environment, mounts and loop devices lie below the run's folder. So the clean-up needs
//! no list, and what a killed harness left behind is removed by the same code.

mod able;
mod born;
pub mod command;
mod processes;
mod signals;
mod sweep;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

pub use able::able;
pub use born::{alive, born};
pub use processes::{descendants, of_run};
pub use sweep::{leftovers, remove, sweep};

/// The variable that marks every process of a run.
pub const MARK: &str = "KONTIKI_CHAOS";
/// Runs keep their files in folders that begin so.
pub(crate) const RUNS: &str = "kontiki-chaos-";

/// A run's place on the machine. Everything of it is gone when it is dropped, on a panic and on SIGINT or SIGTERM, too.
pub struct Ground {
    id: String,
    dir: PathBuf,
}

/// Where a run keeps its files.
pub fn dir_of(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{RUNS}{id}"))
}

/// A network namespace of a run.
pub fn netns_of(id: &str, host: &str) -> String {
    format!("kc-{id}-{host}")
}

/// A run's cgroup below each hierarchy.
pub fn cgroup_of(id: &str) -> String {
    format!("{RUNS}{id}")
}

impl Ground {
    /// Removes what dead runs left, and takes a place for a new one.
    pub fn take() -> anyhow::Result<Ground> {
        // Whoever else runs may still hold something of theirs; this run takes nothing of it.
        if let Err(error) = sweep() {
            eprintln!("{error:#}");
        }
        let id = format!("{:08x}", rand::random::<u32>());
        let dir = dir_of(&id);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let pid = std::process::id();
        let owner = format!("{pid} {}\n", born(pid).unwrap_or_default());
        fs::write(dir.join("owner"), owner)?;
        signals::watch(&id)?;
        Ok(Ground { id, dir })
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        signals::forget(&self.id);
        if let Err(error) = remove(&self.id) {
            eprintln!("cleaning up run {}: {error:#}", self.id);
        }
    }
}
