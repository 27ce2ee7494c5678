//! The processes of a run: those that carry its mark, and everything that they started.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::MARK;

/// All that live and are not this one.
fn pids() -> impl Iterator<Item = i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |pid| *pid != own && super::born(u32::try_from(*pid).unwrap_or_default()).is_some())
}

/// The parent of each process.
fn parents() -> BTreeMap<i32, i32> {
    let parent = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    pids().filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// These processes and all that come from them.
pub fn descendants(of: impl IntoIterator<Item = i32>) -> BTreeSet<i32> {
    let parents = parents();
    let mut found: BTreeSet<i32> = of.into_iter().filter(|pid| parents.contains_key(pid)).collect();
    loop {
        let more = parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid);
        let more: Vec<i32> = more.filter(|pid| !found.contains(pid)).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The processes of a run, or only of one of its hosts.
pub fn of_run(id: &str, host: Option<&str>) -> BTreeSet<i32> {
    let mark = format!("{MARK}={id}/{}", host.map(|host| format!("{host}\0")).unwrap_or_default());
    let marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut places = environment.windows(mark.len()).enumerate();
        places.any(|(at, window)| window == mark.as_bytes() && (at == 0 || environment[at - 1] == 0))
    };
    descendants(pids().filter(marked))
}
