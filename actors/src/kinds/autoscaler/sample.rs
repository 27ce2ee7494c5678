//! What workers said that pods use, as `metrics.k8s.io` shows it: that is what Kubernetes' autoscalers read.

use std::collections::BTreeMap;

use compact_str::CompactString;

use crate::object::Uid;

/// What is known of pods, by their uids.
pub type Samples = BTreeMap<Uid, PodSample>;

/// What a pod used when it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSample {
    /// When it was, Unix milliseconds.
    pub time_ms: i64,
    /// The time before that over which the work of processors is averaged.
    pub window_ms: i64,
    /// Its containers that run.
    pub containers: Vec<ContainerSample>,
}

/// What a container used. Amounts are in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSample {
    name: CompactString,
    cpu: i128,
    memory: i128,
}

impl ContainerSample {
    /// From billionths of processors, of which the API makes thousandths by rounding up, and bytes, of which it shows whole KiB.
    pub fn new(name: &str, cpu_nanocores: u64, memory_bytes: u64) -> ContainerSample {
        ContainerSample {
            name: name.into(),
            cpu: i128::from(cpu_nanocores.div_ceil(1_000_000)),
            memory: i128::from(memory_bytes / 1024) * 1024 * 1000,
        }
    }

    fn of(&self, resource: &str) -> Option<i128> {
        match resource {
            "cpu" => Some(self.cpu),
            "memory" => Some(self.memory),
            _ => None,
        }
    }
}

impl PodSample {
    /// How much of a resource it uses, in thousandths: all of it, or one container. None if that is not known.
    pub(super) fn of(&self, resource: &str, container: &str) -> Option<i128> {
        if !container.is_empty() {
            return self.containers.iter().find(|it| it.name == container)?.of(resource);
        }
        if self.containers.is_empty() {
            return None;
        }
        self.containers.iter().map(|it| it.of(resource)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_those_that_the_api_shows() {
        let containers = vec![ContainerSample::new("a", 1_000_001, 2047), ContainerSample::new("b", 1, 1024)];
        let sample = PodSample { containers, ..PodSample::default() };
        assert_eq!(sample.of("cpu", ""), Some(3));
        assert_eq!(sample.of("cpu", "b"), Some(1));
        assert_eq!(sample.of("memory", ""), Some(2 * 1024 * 1000));
        assert_eq!(sample.of("memory", "none"), None);
        assert_eq!(sample.of("nvidia.com/gpu", ""), None);
        assert_eq!(PodSample::default().of("cpu", ""), None);
    }
}
