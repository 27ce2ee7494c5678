//! What of the machine is not for pods: it is the system's, and the worker's own.

use std::str::FromStr;

use serde_json::Value;

use crate::pod::quantity;

/// What of the machine is not for pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Processors, in thousandths.
    pub cpu_milli: i64,
    /// Memory.
    pub memory_bytes: i64,
    /// Disk.
    pub ephemeral_storage_bytes: i64,
}

impl Reserved {
    /// Both together.
    pub fn and(self, other: Reserved) -> Reserved {
        Reserved {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            ephemeral_storage_bytes: self
                .ephemeral_storage_bytes
                .saturating_add(other.ephemeral_storage_bytes),
        }
    }
}

/// `cpu=500m,memory=1Gi,ephemeral-storage=10Gi`, as the kubelet's `--system-reserved`.
impl FromStr for Reserved {
    type Err = String;

    fn from_str(text: &str) -> Result<Reserved, String> {
        let mut reserved = Reserved::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, amount) =
                pair.split_once('=').ok_or_else(|| format!("\"{pair}\" must be RESOURCE=QUANTITY"))?;
            let milli = quantity::milli(&Value::from(amount.trim())).filter(|milli| *milli >= 0);
            let milli = milli.ok_or_else(|| format!("\"{amount}\" is no quantity that can be reserved"))?;
            let (place, value) = match name.trim() {
                "cpu" => (&mut reserved.cpu_milli, milli),
                "memory" => (&mut reserved.memory_bytes, milli / 1000),
                "ephemeral-storage" => (&mut reserved.ephemeral_storage_bytes, milli / 1000),
                other => {
                    return Err(format!("{other} cannot be reserved: use cpu, memory or ephemeral-storage"));
                }
            };
            *place = i64::try_from(value).unwrap_or(i64::MAX);
        }
        Ok(reserved)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_reserved_is_read_as_by_the_kubelet() {
        let reserved: Reserved = "cpu=500m, memory=1Gi,ephemeral-storage=10G".parse().unwrap();
        let expected =
            Reserved { cpu_milli: 500, memory_bytes: 1 << 30, ephemeral_storage_bytes: 10_000_000_000 };
        assert_eq!(reserved, expected);
        assert_eq!("".parse(), Ok(Reserved::default()));
        assert_eq!(reserved.and("cpu=1".parse().unwrap()).cpu_milli, 1500);
        for wrong in ["cpu", "cpu=", "cpu=-1", "cpu=much", "gpu=1"] {
            assert!(wrong.parse::<Reserved>().is_err(), "{wrong}");
        }
    }
}
