//! Hosts on which one process plays many workers.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::Context;
use kontiki_chaos_plan::names;

use crate::{cluster::Cluster, ground::RUNS, host::Host};

/// In a mount namespace of its own: what the process forgets with its end lies in a memory file system that ends with it. Copies of
/// the runs' own mounts would keep their disks in use, so they go first.
const OWN_MEMORY: &str = r#"cut -d' ' -f2 /proc/mounts | grep "^$0" | xargs -r umount -l
mount -t tmpfs none /dev/shm && exec "$@""#;

impl Cluster {
    /// Makes a host's process one that plays so many workers, which are all in the host's zone.
    pub(crate) fn becomes_crowd(&self, host: &Host, nodes: u32) -> anyhow::Result<()> {
        let authority = self.copy_of_authority()?.to_string_lossy().into_owned();
        let runs = std::env::temp_dir().join(RUNS).to_string_lossy().into_owned();
        let others: Vec<&str> = self.controllers().map(|c| c.address.as_str()).collect();
        let mut words: Vec<String> = ["unshare", "--mount", "sh", "-c", OWN_MEMORY].map(String::from).into();
        words.extend([runs, self.binary(), "worker".into(), "simulate".into()]);
        let mut say = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        say("--nodes", &nodes.to_string());
        say("--ca", &authority);
        say("--server", &others.join(","));
        say("--prefix", &format!("{}-", host.name));
        say("--zones", &names::zone(host.zone));
        say("--cpu-milli", &self.shape.node_cpu_m.to_string());
        say("--memory-mib", &self.shape.node_memory_mib.to_string());
        say("--max-pods", &self.shape.node_pods.to_string());
        host.becomes(words, Vec::new());
        Ok(())
    }

    /// The cluster's authority, which signs the crowd's certificates, beside the disks and not on one of them.
    fn copy_of_authority(&self) -> anyhow::Result<PathBuf> {
        let (from, to) = (self.hosts[0].dir.join("ca"), self.dir().join("ca"));
        fs::create_dir_all(&to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
            let path = entry?.path();
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(to)
    }
}
