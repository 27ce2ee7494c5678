//! Which Service has an address, or a port on all nodes.

use std::net::IpAddr;

use super::State;
use crate::{
    addresses, node_ports,
    object::{Object, ObjectKey},
};

impl State {
    /// The Service that has this address.
    pub fn service_of(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    /// All addresses that Services have.
    pub(crate) fn service_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// The Service that has this port on all nodes.
    pub fn service_at(&self, port: u16) -> Option<&ObjectKey> {
        self.node_ports.get(&port)
    }

    pub(super) fn replace_service(&mut self, old: Option<&Object>, new: Option<&Object>) {
        if old.zip(new).is_some_and(|(old, new)| old.document.whole().spec == new.document.whole().spec) {
            return;
        }
        if let Some(old) = old {
            for address in addresses::of(&old.document.whole()) {
                // States of former versions may have two with one address: the other one keeps it.
                if self.addresses.get(&address) == Some(&old.key) {
                    self.addresses.remove(&address);
                }
            }
            for port in node_ports::of(&old.document.whole()) {
                if self.node_ports.get(&port) == Some(&old.key) {
                    self.node_ports.remove(&port);
                }
            }
        }
        if let Some(new) = new {
            for address in addresses::of(&new.document.whole()) {
                self.addresses.insert(address, new.key.clone());
            }
            for port in node_ports::of(&new.document.whole()) {
                self.node_ports.insert(port, new.key.clone());
            }
        }
    }
}
