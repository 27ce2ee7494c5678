//! Which Service has an address.

use std::net::IpAddr;

use super::State;
use crate::{
    addresses,
    object::{Object, ObjectKey},
};

impl State {
    /// The Service that has this address.
    pub fn service_of(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    pub(super) fn replace_service(&mut self, old: Option<&Object>, new: Option<&Object>) {
        if old.zip(new).is_some_and(|(old, new)| old.document.spec == new.document.spec) {
            return;
        }
        if let Some(old) = old {
            for address in addresses::of(&old.document) {
                // States of former versions may have two with one address: the other one keeps it.
                if self.addresses.get(&address) == Some(&old.key) {
                    self.addresses.remove(&address);
                }
            }
        }
        if let Some(new) = new {
            for address in addresses::of(&new.document) {
                self.addresses.insert(address, new.key.clone());
            }
        }
    }
}
