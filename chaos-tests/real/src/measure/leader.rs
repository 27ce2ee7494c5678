//! The leader is lost: how long until a write is acknowledged again. Ours and others take turns, so that whatever else the machine
//! does meets all of them alike.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::Rng;

use super::{
    ours::until_whole,
    progress::Progress,
    pump::{all_there, some, until_acknowledged},
    report::Report,
    store::Members,
};

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// SIGKILL: its machine lives on and resets its connections.
    Killed,
    /// Its links are cut: nobody is told anything.
    Silent,
}

impl Loss {
    const fn what(self) -> &'static str {
        match self {
            Loss::Killed => "leader killed -> next write",
            Loss::Silent => "leader silent -> next write",
        }
    }
}

/// Writes before the fault, which it must not lose.
const BEFORE: usize = 20;

/// Takes the leader of each of these away so often.
pub(super) fn measure(
    all: &[&dyn Members],
    loss: Loss,
    n: usize,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    for round in 0..n {
        for members in all {
            let name = members.name().to_owned();
            let after = once(*members, loss, round, report)
                .with_context(|| format!("{}, {name}, round {round}", loss.what()))?;
            report.row(loss.what(), &name).add(after);
            let seconds = after.as_secs_f64();
            progress.now(&format!("{} {}/{n}: {name} {seconds:.3} s", loss.what(), round + 1));
        }
    }
    Ok(())
}

fn once(members: &dyn Members, loss: Loss, round: usize, report: &mut Report) -> anyhow::Result<Duration> {
    let (store, runtime, count) = (members.store(), members.runtime(), members.count());
    let prefix = format!("{}{round}-", format!("{loss:?}").to_lowercase());
    let leader = until_whole(members)?;
    let mut keys =
        runtime.block_on(runtime.spawn(some(store.clone(), count, format!("{prefix}before-"), BEFORE)))??;
    // Not always at the same place between two heartbeats.
    std::thread::sleep(Duration::from_millis(rand::rng().random_range(100..400)));
    let survivors: Vec<usize> = (0..count).filter(|member| *member != leader).collect();
    let via = survivors[0];
    let mut cut = None;
    let from = match loss {
        Loss::Killed => {
            let from = Instant::now();
            members.strike(leader)?;
            from
        }
        Loss::Silent => {
            // The command that cuts takes some milliseconds: what is acknowledged before it has ended must not count.
            cut = Some(members.silence(leader)?);
            Instant::now()
        }
    };
    let writing = until_acknowledged(store.clone(), survivors.clone(), format!("{prefix}after-"), from);
    let done = runtime.block_on(runtime.spawn(writing))??;
    ensure!(members.one_leads(&survivors)?, "nobody else leads: the lost one did not");
    keys.extend(done.keys);
    report.acknowledged += runtime.block_on(runtime.spawn(all_there(store, via, prefix, keys)))??;
    match cut {
        Some(cut) => ensure!(cut.heal()? > 0, "the cut links carried nothing"),
        None => members.bring_back(leader)?,
    }
    Ok(done.after)
}
