//! What idle processes cost.

use std::{fs, thread, time::Duration};

use anyhow::Context;
use kontiki_chaos_tests::Cluster;

/// How long is watched, after the same time to settle.
const WATCH: Duration = Duration::from_secs(20);
/// Clock ticks per second in /proc, on every Linux that runs this.
const TICKS: f64 = 100.0;

fn cpu_ticks(pid: i32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").context("an unreadable /proc/*/stat")?.1;
    let fields: Vec<f64> = after.split(' ').filter_map(|f| f.parse().ok()).collect();
    // After the state letter, which is no number: utime and stime are the 11th and 12th.
    Ok(fields[10] + fields[11])
}

/// What a process has in memory.
pub(super) fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Prints memory and processor time of each process.
pub(crate) fn measure(cluster: &Cluster) -> anyhow::Result<()> {
    thread::sleep(WATCH);
    let names = ["c1", "c2", "c3", "w1", "w2", "w3"];
    let pids: Vec<i32> =
        names.iter().map(|n| Ok(cluster.pid(n)?.as_raw_nonzero().get())).collect::<anyhow::Result<_>>()?;
    let before: Vec<f64> = pids.iter().map(|p| cpu_ticks(*p)).collect::<anyhow::Result<_>>()?;
    thread::sleep(WATCH);
    for ((name, pid), before) in names.iter().zip(&pids).zip(before) {
        let cpu = (cpu_ticks(*pid)? - before) / TICKS / WATCH.as_secs_f64() * 100.0;
        let target = if name.starts_with('c') { "80 MB, 2%" } else { "30 MB, 2%" };
        println!(
            "idle {name}: {:.1} MB resident, {cpu:.2}% of a core   (target {target})",
            resident_mb(*pid)?
        );
    }
    Ok(())
}
