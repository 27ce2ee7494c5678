//! Links are cut, slow, and lose what they carry. Proof: the kernel's counters, or the switch's.

use std::time::Duration;

use kontiki_chaos_plan::plan::{Side, Target};

use super::{Bit, Doing};
use crate::{
    ground::command,
    net::{Link, Port, Trouble},
};

/// The links between two groups, in these directions as the first one sees them.
fn between(these: &[Port], those: &[Port], side: Side) -> Vec<Link> {
    let pairs = || these.iter().flat_map(|a| those.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
    let out = pairs().filter(|_| side != Side::In);
    let back = pairs().filter(|_| side != Side::Out).map(|(a, b)| (b, a));
    out.chain(back).collect()
}

impl Doing<'_> {
    fn ports(&self) -> Vec<Port> {
        self.hosts.iter().map(|host| host.port).collect()
    }

    /// The links to everyone who is not hit.
    fn outward(&self, side: Side) -> Vec<Link> {
        let own = self.ports();
        let others: Vec<Port> = self.field.cluster.net.ports().filter(|port| !own.contains(port)).collect();
        between(&own, &others, side)
    }

    fn without(&self, links: &[Link], lasts: Duration) -> Bit {
        let cut = self.field.cluster.net.cut(links)?;
        self.field.wait(lasts);
        Ok(cut.heal()? > 0)
    }

    pub(super) fn isolate(&self, side: Side) -> Bit {
        self.without(&self.outward(side), self.lasts)
    }

    pub(super) fn cut(&self, other: Target, side: Side) -> Bit {
        let others: Vec<Port> = self.field.meant(other).iter().map(|host| host.port).collect();
        let links = between(&self.ports(), &others, side);
        if links.is_empty() {
            anyhow::bail!("there is no link between them");
        }
        self.without(&links, self.lasts)
    }

    /// Away and back, so often in a row.
    pub(super) fn flap(&self, times: u32) -> Bit {
        let times = times.max(1);
        let mut bit = false;
        for _ in 0..times {
            bit |= self.without(&self.outward(Side::Both), self.lasts / (2 * times))?;
            self.field.wait(self.lasts / (2 * times));
        }
        Ok(bit)
    }

    fn trouble(&self, trouble: Trouble) -> Bit {
        let links = self.field.cluster.net.links();
        let own = self.ports();
        let all: Vec<Port> = self.field.cluster.net.ports().collect();
        let number = links.trouble(between(&own, &all, Side::Both), trouble);
        self.wait();
        Ok(links.heal(number) > 0)
    }

    pub(super) fn slow(&self, delay: Duration, jitter: Duration) -> Bit {
        self.trouble(Trouble { delay, jitter, ..Trouble::default() })
    }

    pub(super) fn lossy(&self, loss: u32, duplicate: u32, reorder: u32) -> Bit {
        self.trouble(Trouble { loss, duplicate, reorder, ..Trouble::default() })
    }

    pub(super) fn corrupt(&self, per_mille: u32) -> Bit {
        self.trouble(Trouble { corrupt: per_mille, ..Trouble::default() })
    }

    pub(super) fn bandwidth(&self, bytes_per_s: u64) -> Bit {
        self.trouble(Trouble { rate: Some(bytes_per_s), ..Trouble::default() })
    }

    /// All connections of the hosts are reset, once. Proof: `ss` lists those that it killed.
    pub(super) fn reset(&self) -> Bit {
        let mut killed = 0;
        for host in &self.hosts {
            let [nsenter, net] = command::inside(host.netns());
            let listed = command::run(&[&nsenter, &net, "ss", "-K", "-H", "-t", "state", "established"])?;
            killed += listed.lines().count();
        }
        Ok(killed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_directions() {
        assert_eq!(between(&[1], &[2, 3], Side::Out), [(1, 2), (1, 3)]);
        assert_eq!(between(&[1], &[2], Side::In), [(2, 1)]);
        assert_eq!(between(&[1, 2], &[2, 1], Side::Both).len(), 4);
    }
}
