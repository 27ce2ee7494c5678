//! Wall clocks of hosts jump and run at other rates, by a library that is preloaded into their processes. Timers go on as ever.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};

use super::{Bit, Doing};
use crate::ground::command;

/// The library's source: it is built where it is needed.
const SOURCE: &str = include_str!("../../clock/shift.c");
/// A clock that is right: no offset, no beginning, a rate of one.
const RIGHT: [i64; 3] = [0, 0, 1000];

/// Builds the library, if this machine has a C compiler.
pub(crate) fn library(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("shift.c"), dir.join("shift.so"));
    fs::write(&source, SOURCE).ok()?;
    let (from, to) = (source.to_string_lossy(), library.to_string_lossy());
    command::run(&["cc", "-O2", "-shared", "-fPIC", "-o", &to, &from]).ok()?;
    Some(library)
}

/// The environment by which a process takes its wall clock from a file.
pub(crate) fn environment(library: &Path, file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    set(file, RIGHT)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(vec![("LD_PRELOAD".into(), text(library)), ("CHAOS_CLOCK".into(), text(file))])
}

/// Written in place: the process has mapped it.
fn set(file: &Path, setting: [i64; 3]) -> anyhow::Result<()> {
    let bytes: Vec<u8> = setting.into_iter().flat_map(i64::to_le_bytes).collect();
    let file = fs::File::options().create(true).truncate(false).write(true).open(file)?;
    file.write_all_at(&bytes, 0).context("a clock")
}

impl Doing<'_> {
    fn clocks(&self, setting: [i64; 3]) -> Bit {
        if self.field.cluster.clock_library().is_none() {
            bail!("no C compiler to build the clock's library with");
        }
        let hosts: Vec<_> = self.hosts.iter().filter(|host| host.claim("clock", self.hold)).collect();
        if hosts.is_empty() {
            bail!("another fault has the clock");
        }
        for host in &hosts {
            set(&self.field.cluster.clock_file(&host.name), setting)?;
        }
        self.wait();
        // Proof: a process runs by this clock.
        let bit = hosts.iter().any(|host| runs_by_it(host.pid()));
        for host in &hosts {
            set(&self.field.cluster.clock_file(&host.name), RIGHT)?;
            host.release("clock", self.hold);
        }
        Ok(bit)
    }

    pub(super) fn clock_jump(&self, by_ms: i64) -> Bit {
        self.clocks([by_ms * 1_000_000, 0, 1000])
    }

    pub(super) fn clock_rate(&self, per_mille: u32) -> Bit {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        self.clocks([0, i64::try_from(now)?, i64::from(per_mille)])
    }
}

/// Whether this process has the clock's file mapped.
fn runs_by_it(pid: Option<u32>) -> bool {
    let maps = pid.map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default());
    maps.is_some_and(|maps| maps.contains(".clock"))
}
