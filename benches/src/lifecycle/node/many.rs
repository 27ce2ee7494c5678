//! A hundred pods at once on one worker, and what they cost beside their own processes.

use std::fs;

use anyhow::Context;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{
    super::{figures::Figures, idle::resident_mb},
    Ground,
};

/// As many as a node of Kubernetes usually takes are 110.
const PODS: usize = 100;

pub(super) async fn measure(ground: &mut Ground, n: usize) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    for round in 0..n.max(1) {
        let from = Instant::now();
        let names: Vec<String> = (0..PODS).map(|pod| format!("many-{round}-{pod}")).collect();
        try_join_all(names.iter().map(|name| ground.create(name, &[]))).await?;
        let all_run = ground
            .pods
            .until("all pods to run", |all| all.values().filter(|pod| pod.running).count() == PODS);
        all_run.await?;
        figures.add(from.elapsed());
        if round == 0 {
            memory(ground)?;
        }
        ground.clear().await?;
    }
    figures.print(&format!("{PODS} pods asked for at once to all Running, one node"), "<= 4 s");
    Ok(())
}

/// Prints what the agent and the shims hold while the pods run.
fn memory(ground: &Ground) -> anyhow::Result<()> {
    let agent = ground.cluster.pid("w1")?.as_raw_nonzero().get();
    println!("the agent with {PODS} pods: {:.1} MB resident   (target 60 MB)", resident_mb(agent)?);
    let shims = shims(&ground.cluster.dir().display().to_string())?;
    let mut sizes = shims.iter().map(|pid| own_mb(*pid)).collect::<anyhow::Result<Vec<f64>>>()?;
    sizes.sort_by(f64::total_cmp);
    let (median, most) = (sizes.get(sizes.len() / 2), sizes.last());
    let (median, most) = (median.context("no shim was found")?, most.context("no shim was found")?);
    println!("{} shims: {median:.1} MB of its own, the largest {most:.1} MB   (target 3 MB)", sizes.len());
    Ok(())
}

/// The shims whose files are below this folder.
fn shims(below: &str) -> anyhow::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes come and go meanwhile.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains(below) && line.split('\0').any(|word| word.ends_with("shim")) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// What a process holds that no other one shares: of a program that runs a hundred times its code is there once.
fn own_mb(pid: i32) -> anyhow::Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name: &str| -> f64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
    };
    Ok((kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0)
}
