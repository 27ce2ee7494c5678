//! What the cluster costs when nothing happens.

use std::{fs, time::Duration};

use anyhow::Context;

use super::{rows::Row, stage::Stage};
use crate::load::Meter;

/// Before it is looked at, so that what went before is over.
const SETTLE: Duration = Duration::from_secs(20);
/// How long is looked.
const LOOK: Duration = Duration::from_secs(30);

/// Memory of the largest controller, processor time of the leader.
pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<(Row, f64)>> {
    tokio::time::sleep(SETTLE).await;
    let controllers = stage.controllers()?;
    let leader = controllers.first().filter(|first| first.leads).context("no leader")?;
    let meter = Meter::start(&[leader.pid])?;
    tokio::time::sleep(LOOK).await;
    let leader = meter.stop()?.servers * 100.0;
    let memory = controllers.iter().map(|c| resident_mib(c.pid)).collect::<anyhow::Result<Vec<f64>>>()?;
    let largest = memory.into_iter().fold(0.0, f64::max);
    Ok(vec![(Row::Memory, largest), (Row::IdleLeader, leader)])
}

/// Resident memory of a process.
pub(super) fn resident_mib(pid: i32) -> anyhow::Result<f64> {
    figure(pid, "VmRSS:")
}

/// The most that it ever had, or had since [`forget_peak`].
pub(super) fn peak_mib(pid: i32) -> anyhow::Result<f64> {
    figure(pid, "VmHWM:")
}

/// The peak begins anew: proc(5), clear_refs.
pub(super) fn forget_peak(pid: i32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("forgetting the peak of a process")
}

fn figure(pid: i32, name: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.with_context(|| format!("no {name} of {pid}"))?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<f64>()? / 1024.0)
}
