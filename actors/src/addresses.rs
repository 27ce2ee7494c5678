//! The addresses of Services: each that asks for one gets one out of the cluster's ranges, and no two have the same.
//! <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>
//!
//! Given in the turn, where the addresses that are taken are known.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::{
    input::Rejection,
    kind::Kind,
    object::{Document, Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// The range that every cluster begins with, and while there is no ServiceCIDR: that of kubeadm.
pub(crate) const RANGE: Range = Range { base: u32::from_be_bytes([10, 96, 0, 0]), bits: 12 };
/// Of a range, at least and at most so many addresses at its begin are for Services that name theirs, as in Kubernetes.
const NAMED: (u32, u32) = (16, 256);

/// A range of IPv4 addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    base: u32,
    bits: u32,
}

impl Range {
    /// From `address/bits`.
    fn parse(text: &str) -> Option<Range> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (u32::from(address.parse::<Ipv4Addr>().ok()?), bits.parse().ok()?);
        (bits <= 32).then(|| Range { base: address & mask(bits), bits })
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.bits) == self.base
    }

    /// First and last address that a Service may have: neither that of the network nor that of all in it.
    fn usable(self) -> Option<(u32, u32)> {
        (self.bits < 31).then(|| (self.base + 1, (self.base | !mask(self.bits)) - 1))
    }
}

fn mask(bits: u32) -> u32 {
    u32::MAX.checked_shl(32 - bits).unwrap_or(0)
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

/// The addresses that a Service has, if it has any.
pub(crate) fn of(document: &Document) -> Vec<IpAddr> {
    let spec = document.spec_value();
    let all = spec["clusterIPs"].as_array().into_iter().flatten();
    all.filter_map(|ip| ip.as_str()?.parse().ok()).collect()
}

/// A Service as it is to be stored: with an address, where its type has one; or why it may not have the one that it names. `old` is the
/// Service as it is, if it is.
pub(crate) fn assign(
    turn: &mut Turn,
    key: &ObjectKey,
    old: Option<&Document>,
    document: Document,
) -> Result<Document, Rejection> {
    if key.kind != Kind::SERVICE {
        return Ok(document);
    }
    let mut spec = document.spec_value();
    let named = of(&document);
    if !named.is_empty() {
        let kept = old.map(of).unwrap_or_default();
        for ip in named.into_iter().filter(|ip| !kept.contains(ip)) {
            may_have(turn, ip).map_err(|why| {
                let why = format!("Invalid value: {}: failed to allocate IP {ip}: {why}", spec["clusterIPs"]);
                Rejection::Invalid(key.clone(), "spec.clusterIPs".into(), why)
            })?;
        }
        return Ok(document);
    }
    let wants = spec["type"] != "ExternalName" && spec["clusterIP"].as_str().unwrap_or_default().is_empty();
    if !wants {
        return Ok(document);
    }
    let Some(address) = free(turn) else {
        let why = "Internal error: failed to allocate a serviceIP: range is full";
        return Err(Rejection::Invalid(key.clone(), "spec.clusterIPs".into(), why.into()));
    };
    spec["clusterIP"] = address.to_string().into();
    spec["clusterIPs"] = json!([address.to_string()]);
    Ok(document.with_spec(spec))
}

/// Those that give addresses.
fn ranges(turn: &Turn) -> Vec<Range> {
    let mut told = turn.state().list(Kind::SERVICE_CIDR, None).peekable();
    if told.peek().is_none() {
        return vec![RANGE];
    }
    let staying = told.filter(|range| !range.meta.deleting());
    staying.flat_map(|range| cidrs(range)).filter_map(|cidr| Range::parse(&cidr)).collect()
}

/// What a ServiceCIDR holds.
fn cidrs(range: &Object) -> Vec<String> {
    let spec = range.document.spec_value();
    let cidrs = spec["cidrs"].as_array().into_iter().flatten();
    cidrs.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a Service has an address of this ServiceCIDR that no other one holds that stays.
pub(crate) fn needed(state: &State, range: &Object) -> bool {
    let others = state.list(Kind::SERVICE_CIDR, None);
    let others = others.filter(|other| other.key != range.key && !other.meta.deleting());
    let others: Vec<String> = others.flat_map(|other| cidrs(other)).collect();
    let own = cidrs(range);
    let one_holds = |cidrs: &[String], address| cidrs.iter().any(|cidr| holds(cidr, address));
    state.service_addresses().any(|address| one_holds(&own, address) && !one_holds(&others, address))
}

/// Whether `address/bits`, of either family, holds an address.
fn holds(cidr: &str, address: IpAddr) -> bool {
    let Some((base, bits)) = cidr.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    // What the first bits leave of the difference is nothing.
    let same =
        |most: u32, difference: u128| bits <= most && difference.checked_shr(most - bits).unwrap_or(0) == 0;
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => same(32, u128::from(u32::from(base) ^ u32::from(address))),
        (IpAddr::V6(base), IpAddr::V6(address)) => same(128, u128::from(base) ^ u128::from(address)),
        _ => false,
    }
}

fn may_have(turn: &Turn, ip: IpAddr) -> Result<(), String> {
    if turn.state().service_of(ip).is_some() {
        return Err("provided IP is already allocated".into());
    }
    // There is no range of IPv6 addresses to compare with.
    let IpAddr::V4(address) = ip else { return Ok(()) };
    let ranges = ranges(turn);
    if ranges.iter().any(|range| range.contains(address)) {
        return Ok(());
    }
    let all: Vec<String> = ranges.iter().map(Range::to_string).collect();
    let all = all.join(",");
    Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {all}"))
}

/// An address that nobody has: from a chance one on, in the upper part of the first range that has one, else in its lower part. It
/// looks at no more addresses than are taken, and one more.
fn free(turn: &mut Turn) -> Option<Ipv4Addr> {
    for range in ranges(turn) {
        let Some((first, last)) = range.usable() else { continue };
        let named = ((last - first) / 16).clamp(NAMED.0, NAMED.1).min(last - first);
        for (first, last) in [(first + named, last), (first, first + named - u32::from(named > 0))] {
            let size = u64::from(last - first) + 1;
            let start = turn.context().next_u64() % size;
            let found = (0..size)
                .map(|step| Ipv4Addr::from(first + u32::try_from((start + step) % size).unwrap_or(0)))
                .find(|address| turn.state().service_of(IpAddr::V4(*address)).is_none());
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_both_families_hold_addresses() {
        let holds = |cidr: &str, address: &str| super::holds(cidr, address.parse().unwrap());
        assert!(holds("10.96.0.0/12", "10.111.255.255") && !holds("10.96.0.0/12", "10.112.0.0"));
        assert!(holds("0.0.0.0/0", "255.0.0.1") && holds("10.0.0.1/32", "10.0.0.1"));
        assert!(!holds("10.0.0.1/32", "10.0.0.0"));
        assert!(holds("2001:db8::/64", "2001:db8::1") && !holds("2001:db8::/64", "2001:db8:0:1::"));
        assert!(holds("::/0", "ff00::1") && !holds("::/0", "10.0.0.1") && !holds("0.0.0.0/0", "::1"));
        assert!(!holds("10.0.0.0/33", "10.0.0.0") && !holds("10.0.0.0", "10.0.0.0"));
    }

    #[test]
    fn ranges_are_read_and_bounded() {
        let range = Range::parse("10.96.0.0/12").unwrap();
        assert_eq!((range, range.to_string().as_str()), (RANGE, "10.96.0.0/12"));
        assert!(range.contains(Ipv4Addr::new(10, 111, 255, 255)));
        assert!(!range.contains(Ipv4Addr::new(10, 112, 0, 0)));
        let usable = |text: &str| {
            let (first, last) = Range::parse(text)?.usable()?;
            Some((Ipv4Addr::from(first).to_string(), Ipv4Addr::from(last).to_string()))
        };
        assert_eq!(usable("192.168.1.0/30"), Some(("192.168.1.1".into(), "192.168.1.2".into())));
        assert_eq!(usable("0.0.0.0/0"), Some(("0.0.0.1".into(), "255.255.255.254".into())));
        assert_eq!(usable("192.168.1.0/31"), None);
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "2001:db8::/64"] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
    }
}
