//! When and where something was measured.

use std::fs;

use serde::{Deserialize, Serialize};

/// The surroundings of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// When it began, RFC 3339.
    pub(crate) date: String,
    /// Processor, number of processors, memory, kernel, file system.
    pub(crate) machine: String,
    /// The load of the last 1, 5 and 15 minutes before ...
    pub(crate) load_before: String,
    /// ... and after.
    pub(crate) load_after: String,
    /// What else the reader should know.
    pub(crate) note: String,
}

impl Setting {
    /// Notes the surroundings before something is measured.
    pub(crate) fn begin(note: &str) -> Setting {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%MZ").to_string();
        let load = load();
        Setting { date, machine: machine(), load_before: load.clone(), load_after: load, note: note.into() }
    }

    /// Notes them after it.
    pub(crate) fn end(self) -> Setting {
        Setting { load_after: load(), ..self }
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The value behind this word in one of the kernel's lists.
fn field(file: &str, word: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(word)?.trim_start().strip_prefix(':'));
    value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({}), {:.0} GiB, Linux {}, data on {}",
        field("/proc/cpuinfo", "model name"),
        kib / f64::from(1 << 20),
        kernel.trim(),
        file_system(),
    )
}

/// The kind of file system that carries the data: that of the longest mount point above it.
fn file_system() -> String {
    let folder = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.len());
    above.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
