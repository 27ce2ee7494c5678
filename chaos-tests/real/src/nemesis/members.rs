//! The membership changes while other things break.

use std::time::Duration;

use super::{Bit, Doing};

const PAUSE: Duration = Duration::from_millis(200);

impl Doing<'_> {
    /// A controller is taken out and joins again as a new one. Proof: it has another number after.
    pub(super) fn member_replaced(&self) -> Bit {
        let Some(host) = self.controllers().next().filter(|host| host.claim("disk", self.hold)) else {
            anyhow::bail!("another fault has the disk, or no controller is meant");
        };
        let cluster = &self.field.cluster;
        let number = || {
            let members = cluster.members().ok()?;
            let own = members.iter().filter(|member| member["name"] == host.name.as_str());
            own.filter_map(|member| member["id"].as_u64()).max()
        };
        let before = number();
        // A removal that would leave no majority is refused: then it stays.
        let removed = cluster.kontiki(&["members", "remove", &host.name]);
        if removed.is_ok() {
            host.crash(self.hold);
            self.wait();
            cluster.replace_when_possible(host, || self.field.wait(PAUSE))?;
            host.let_up(self.hold)?;
        }
        host.release("disk", self.hold);
        removed?;
        let after = (0..50).find_map(|_| {
            self.field.wait(PAUSE);
            number().filter(|number| Some(*number) != before)
        });
        Ok(after.is_some())
    }

    /// Somebody else leads. Proof: the command names another leader than before, and succeeds.
    pub(super) fn leader_transfer(&self) -> Bit {
        let before = self.field.reigns.leader();
        self.field.cluster.kontiki(&["members", "transfer-leader"])?;
        for _ in 0..20 {
            if self.field.reigns.leader() != before {
                return Ok(true);
            }
            self.field.wait(PAUSE / 2);
        }
        Ok(false)
    }
}
