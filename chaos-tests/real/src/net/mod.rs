//! The run's network: each host has a namespace of its own with one interface, and all interfaces meet in a switch of this
//! process. The machine's own interfaces, tables and routes are not touched.
//!
//! ```text
//! namespace of a host --eth0 (vxlan)--> namespace "wire" --veth--> namespace "desk": one UDP socket, the switch
//! ```
//! An interface of a host is a VXLAN device whose tunnel stayed in "wire": so every frame comes to the switch as one datagram
//! that says who sent it, and nftables in "wire" can cut links before the switch sees them.

mod cut;
mod frame;
mod link;
mod queue;
mod switch;

use std::{
    net::Ipv4Addr,
    sync::{Arc, mpsc},
};

use anyhow::Context;
use nix::sched::{CloneFlags, setns};

pub use cut::Cut;
pub use link::{Link, Links, Trouble};

use crate::ground::{Ground, command, netns_of};

const WIRE: &str = "wire";
const DESK: &str = "desk";
const WIRE_IP: &str = "192.0.2.1";
const DESK_IP: &str = "192.0.2.2";
/// Frames are whole Ethernet frames of 1500 bytes in a datagram.
const OUTER_MTU: &str = "9000";

/// A host's place in the network: from 1.
pub type Port = u8;

/// The network of a run.
pub struct Net {
    id: String,
    prefix: [u8; 2],
    hosts: Vec<String>,
    links: Arc<Links>,
}

/// The address of a host's interface.
fn mac(port: Port) -> String {
    format!("02:00:00:00:00:{port:02x}")
}

/// Runs lines of `ip` in a namespace.
fn ip(netns: &str, lines: &[String]) -> anyhow::Result<()> {
    command::feed(&["ip", "-n", netns, "-batch", "-"], &lines.join("\n")).map(drop)
}

/// Puts this thread into a namespace of the run, for ever.
pub fn enter(netns: &str) -> anyhow::Result<()> {
    let file = std::fs::File::open(format!("/run/netns/{netns}")).with_context(|| netns.to_owned())?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering namespace {netns}"))
}

impl Net {
    /// Makes a network of these hosts. The seed decides what the switch does at random.
    pub fn lay(ground: &Ground, hosts: &[String], seed: u64) -> anyhow::Result<Net> {
        let id = ground.id().to_owned();
        let number = u32::from_str_radix(&id, 16).unwrap_or_default();
        let prefix = [(number >> 8) as u8, number as u8];
        let net = Net { id, prefix, hosts: hosts.to_vec(), links: Arc::new(Links::default()) };
        let all = [WIRE, DESK].into_iter().chain(hosts.iter().map(String::as_str));
        let lines: Vec<String> = all.map(|host| format!("netns add {}", net.netns(host))).collect();
        command::feed(&["ip", "-batch", "-"], &lines.join("\n"))?;
        net.lay_wire()?;
        for (index, host) in hosts.iter().enumerate() {
            net.attach(host, Port::try_from(index + 1)?)?;
        }
        net.start_switch(seed)?;
        Ok(net)
    }

    fn lay_wire(&self) -> anyhow::Result<()> {
        let desk = self.netns(DESK);
        let up = |address: &str| {
            ["link set lo up", "link set under0 up"]
                .map(String::from)
                .into_iter()
                .chain([
                    format!("link set under0 mtu {OUTER_MTU} txqueuelen 10000"),
                    format!("addr add {address}/30 dev under0"),
                ])
                .collect::<Vec<_>>()
        };
        let pair = format!("link add under0 type veth peer name under0 netns {desk}");
        ip(&self.netns(WIRE), &[vec![pair], up(WIRE_IP)].concat())?;
        ip(&desk, &up(DESK_IP))
    }

    fn attach(&self, host: &str, port: Port) -> anyhow::Result<()> {
        let netns = self.netns(host);
        let tunnel = format!(
            "link add host{port} type vxlan id {port} remote {DESK_IP} local {WIRE_IP} dstport {} nolearning noudpcsum",
            frame::UDP_PORT
        );
        ip(&self.netns(WIRE), &[tunnel, format!("link set host{port} netns {netns}")])?;
        let mut lines = vec![
            "link set lo up".to_owned(),
            // The switch takes frames as they are on a wire: no segment is larger than one.
            format!(
                "link set host{port} name eth0 address {} mtu 1500 gso_max_segs 1 addrgenmode none",
                mac(port)
            ),
            format!("addr add {}/24 dev eth0", self.address(port)),
            "link set eth0 up".to_owned(),
        ];
        // Everybody knows everybody: a fault hits what is sent, not the search for whom it is meant for.
        let ports = (1..=self.hosts.len()).filter_map(|other| Port::try_from(other).ok());
        lines.extend(ports.filter(|other| *other != port).map(|other| {
            format!("neigh replace {} lladdr {} dev eth0 nud permanent", self.address(other), mac(other))
        }));
        ip(&netns, &lines)
    }

    /// The switch runs in a thread of its own, in its own namespace, as long as this process.
    fn start_switch(&self, seed: u64) -> anyhow::Result<()> {
        let (desk, links) = (self.netns(DESK), self.links.clone());
        let (ready, readiness) = mpsc::channel();
        std::thread::Builder::new().name("switch".into()).spawn(move || {
            let opened = enter(&desk).and_then(|()| switch::Switch::open(DESK_IP, WIRE_IP, links, seed));
            match opened {
                Ok(switch) => {
                    let _ = ready.send(Ok(()));
                    switch.run();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        })?;
        readiness.recv().context("the switch did not start")?
    }

    /// A namespace of the run.
    pub fn netns(&self, host: &str) -> String {
        netns_of(&self.id, host)
    }

    /// A host's address.
    pub fn address(&self, port: Port) -> Ipv4Addr {
        Ipv4Addr::new(10, self.prefix[0], self.prefix[1], port)
    }

    /// The place of a host.
    pub fn port(&self, host: &str) -> anyhow::Result<Port> {
        let index = self.hosts.iter().position(|name| name == host);
        Ok(Port::try_from(index.with_context(|| format!("no host {host}"))? + 1)?)
    }

    /// All places.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        (1..=self.hosts.len()).filter_map(|port| Port::try_from(port).ok())
    }

    /// What the switch does to which links.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// All links to and from a host.
    pub fn around(&self, port: Port) -> Vec<Link> {
        let others = self.ports().filter(|other| *other != port);
        others.flat_map(|other| [(port, other), (other, port)]).collect()
    }

    /// Cuts links, each from one to another, until it is healed.
    pub fn cut(&self, links: &[Link]) -> anyhow::Result<Cut> {
        Cut::make(&self.netns(WIRE), links)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.links.end();
    }
}
