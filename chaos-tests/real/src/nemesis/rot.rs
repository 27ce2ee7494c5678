//! Bits flip in what a controller has stored while it is down. It must notice, and never serve what is wrong.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Bit, Doing};

impl Doing<'_> {
    /// Down, flip, up. Whoever does not start any more is replaced by its operator. Proof: bytes of its databases were changed.
    pub(super) fn bit_rot(&self, flips: u32) -> Bit {
        let Some(host) = self.controllers().next().filter(|host| host.claim("disk", self.hold)) else {
            bail!("another fault has the disk, or it has none");
        };
        host.crash(self.hold);
        let mut rng = StdRng::seed_from_u64(self.field.seed ^ self.hold as u64);
        let mut files = Vec::new();
        ["raft.db", "state"].iter().for_each(|name| list(&host.dir.join(name), &mut files));
        let mut flipped = 0;
        for _ in 0..flips {
            if !files.is_empty() {
                flipped += u32::from(flip(&files[rng.random_range(0..files.len())], &mut rng).is_ok());
            }
        }
        self.wait();
        host.rots();
        host.let_up(self.hold)?;
        host.release("disk", self.hold);
        Ok(flipped > 0)
    }
}

/// The files that hold data.
fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            list(&path, files);
        } else if [".sst", ".log"].iter().any(|end| name.ends_with(end)) || name.starts_with("MANIFEST") {
            files.push(path);
        }
    }
}

fn flip(path: &Path, rng: &mut StdRng) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        bail!("it is empty");
    }
    let at = rng.random_range(0..length);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << rng.random_range(0..8);
    file.write_all_at(&byte, at)?;
    file.sync_all()?;
    Ok(())
}
