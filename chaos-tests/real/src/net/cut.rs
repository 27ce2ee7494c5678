//! Cut links, by nftables in the namespace through which all frames go. The kernel counts what it drops: that is the proof.

use anyhow::Context;
use serde_json::Value;

use super::{Link, frame::UDP_PORT};
use crate::ground::command;

/// Links that are cut.
pub struct Cut {
    netns: String,
    table: String,
}

impl Cut {
    pub(super) fn make(netns: &str, links: &[Link]) -> anyhow::Result<Cut> {
        let table = format!("cut{:08x}", rand::random::<u32>());
        let mut rules = String::new();
        for (from, to) in links {
            // After UDP's header: the tunnel's number is the sender, the frame begins with the receiver.
            rules.push_str(&format!(
                "udp dport {UDP_PORT} @th,96,24 {from} @th,128,48 {:#x} counter drop\n",
                0x0200_0000_0000_u64 + u64::from(*to)
            ));
        }
        let hook = "type filter hook output priority 0; policy accept;";
        let script = format!("table ip {table} {{\nchain out {{\n{hook}\n{rules}}}\n}}\n");
        let [nsenter, net] = command::inside(netns);
        command::feed(&[&nsenter, &net, "nft", "-f", "-"], &script)?;
        Ok(Cut { netns: netns.to_owned(), table })
    }

    /// Heals it. Answers how many frames were dropped.
    pub fn heal(self) -> anyhow::Result<u64> {
        let [nsenter, net] = command::inside(&self.netns);
        let listed = command::run(&[&nsenter, &net, "nft", "-j", "list", "table", "ip", &self.table])?;
        command::run(&[&nsenter, &net, "nft", "delete", "table", "ip", &self.table])?;
        let listed: Value = serde_json::from_str(&listed).context("nft's answer")?;
        let rules = listed["nftables"].as_array().into_iter().flatten();
        let parts = rules.flat_map(|item| item["rule"]["expr"].as_array().into_iter().flatten());
        Ok(parts.filter_map(|part| part["counter"]["packets"].as_u64()).sum())
    }
}
