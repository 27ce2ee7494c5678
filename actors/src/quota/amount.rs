//! Amounts as quotas tell them.

/// An amount of a resource, given in thousandths, as Kubernetes writes it: bytes in powers of 1024, all else in decimals.
pub(super) fn text(name: &str, milli: i128) -> String {
    let bytes = name.ends_with("memory") || name.ends_with("storage") || name.contains("hugepages-");
    if !bytes {
        return if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") };
    }
    let amount = milli / 1000 + i128::from(milli % 1000 > 0);
    const UNITS: [(u32, &str); 6] = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = UNITS.iter().find(|(bits, _)| amount != 0 && amount % (1 << bits) == 0);
    unit.map_or_else(|| amount.to_string(), |(bits, unit)| format!("{}{unit}", amount >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_does() {
        for (name, milli, expected) in [
            ("pods", 3000, "3"),
            ("requests.cpu", 1500, "1500m"),
            ("limits.cpu", 2000, "2"),
            ("memory", 0, "0"),
            ("requests.memory", (128_i128 << 20) * 1000, "128Mi"),
            ("requests.memory", (1536_i128 << 20) * 1000, "1536Mi"),
            ("limits.memory", 1_000_000_000, "1000000"),
            ("requests.storage", (1_i128 << 40) * 1000, "1Ti"),
            ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", 2000, "2"),
        ] {
            assert_eq!(text(name, milli), expected, "{name}");
        }
    }
}
