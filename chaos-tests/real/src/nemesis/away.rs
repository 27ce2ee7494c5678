//! A controller is away until the others have thrown away what it lacks: it can only come back by a snapshot.
//!
//! The last controller is the witness: it takes no snapshots and keeps its whole log, which is the evidence. So it is never the one
//! that is away, and must not lead when that one comes back: from the witness's log it would get everything without a snapshot.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use http::Method;
use serde_json::json;

use super::{Bit, Doing};
use crate::{
    client::{Gauges, Rest, Sent, gauges},
    host::{Host, Role},
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What a controller says when it has taken a snapshot from another one.
const INSTALLED: &str = "the snapshot is installed";
const PAUSE: Duration = Duration::from_millis(100);
/// Writers at once: each entry waits for its own fdatasync, and takes what came meanwhile along.
const WRITERS: u32 = 4;
/// The others have gone on without it by then, or other faults keep them from it. The end of the plan does not: half of this is
/// nothing.
const PATIENCE: Duration = Duration::from_secs(20);

impl Doing<'_> {
    /// Away, much is written, back. Proof: it says that it has installed a snapshot, which it had not said before.
    pub(super) fn snapshot_while_away(&self) -> Bit {
        let cluster = &self.field.cluster;
        if !cluster.setup.snapshots {
            bail!("this run takes no snapshots");
        }
        let witness = cluster.witness();
        let meant = self.controllers().find(|host| Some(&host.name) != witness.as_ref());
        let Some(away) = meant.cloned() else { bail!("only the witness is meant, which must keep its log") };
        let Role::Controller(number) = away.role else { bail!("no controller is meant") };
        let before = away.logged().matches(INSTALLED).count();
        let lacks = self.asked(&away)?.last;
        let cut = cluster.net.cut(&cluster.net.around(away.port))?;
        let left_behind = self.leave_behind(number, lacks);
        cut.heal()?;
        left_behind?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if away.logged().matches(INSTALLED).count() > before {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(false)
    }

    fn asked(&self, host: &Arc<Host>) -> anyhow::Result<Gauges> {
        let (identity, address) = (self.field.cluster.identity()?, vec![host.address.clone()]);
        let asking = self.field.runtime.spawn(async move { gauges(&identity, &address).await });
        let said = self.field.runtime.block_on(asking)?;
        said.into_iter().next().flatten().with_context(|| format!("{} does not answer", host.name))
    }

    /// Writes through whoever leads until it has purged its log beyond this entry.
    fn leave_behind(&self, away: u32, lacks: u64) -> anyhow::Result<()> {
        let cluster = &self.field.cluster;
        let enough = lacks + cluster.shape.snapshot_entries + 1;
        let end = Instant::now() + PATIENCE;
        let mut round = 0;
        while Instant::now() < end {
            let leader = self.field.reigns.leader().filter(|leader| *leader != away);
            let leader = leader.and_then(|number| {
                cluster.controllers().find(|host| host.role == Role::Controller(number)).cloned()
            });
            let Some(leader) = leader else {
                std::thread::sleep(PAUSE);
                continue;
            };
            if Some(&leader.name) == cluster.witness().as_ref() {
                // While others are down as well it may have to stay.
                let _ = cluster.kontiki(&["members", "transfer-leader"]);
                std::thread::sleep(PAUSE);
                continue;
            }
            if self.asked(&leader).is_ok_and(|said| said.snapshot > enough) {
                return Ok(());
            }
            round += 1;
            self.write_much(&leader, round)?;
        }
        bail!("the others did not purge their logs beyond entry {lacks}: they may be held up, too")
    }

    fn write_much(&self, leader: &Arc<Host>, round: u32) -> anyhow::Result<()> {
        let (identity, address, hold) = (self.field.cluster.identity()?, leader.address.clone(), self.hold);
        let writing = self.field.runtime.spawn(async move {
            let Ok(rest) = Rest::connect(&identity, &address).await else { return };
            let writers = (0..WRITERS).map(|writer| {
                let rest = &rest;
                async move {
                    // Objects of its own: what registers are checked for must not depend on who else writes.
                    for n in 0..10 {
                        let name = format!("away-{hold}-{writer}-{round}-{n}");
                        let body =
                            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
                        if !matches!(rest.send(Method::POST, MAPS, Some(&body)).await, Sent::Answered(_)) {
                            return;
                        }
                    }
                }
            });
            futures_util::future::join_all(writers).await;
        });
        Ok(self.field.runtime.block_on(writing)?)
    }
}
