//! What this node and its containers use: their counters are read from time to time, and the difference of two readings
//! is what processors worked in between.
//!
//! Nothing of it is sent unless somebody asks, and nothing is stored: see `Usages` in the protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kontiki_proto::worker::{ContainerUsage, NodeUsage, PodUsage};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::aside::aside;
use super::config::AgentConfig;
use crate::runtime::{self, Runtime};

/// How often it is read, as by metrics-server.
const PERIOD: Duration = Duration::from_secs(15);
/// What the kernel counts processors' time in, on every machine that this runs on.
const TICK_NS: u64 = 1_000_000_000 / 100;

/// The last readings.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Readings>);

#[derive(Debug, Default)]
struct Readings {
    before: Option<Reading>,
    now: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    time_ms: i64,
    node: Counters,
    pods: Vec<runtime::PodUsage>,
}

/// Of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    cpu_ns: u64,
    memory_bytes: u64,
}

/// Reads the counters from time to time.
pub(super) async fn read(config: AgentConfig, runtime: Arc<dyn Runtime>, meter: Arc<Meter>) {
    if config.limits.watch.is_none() {
        return;
    }
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (clock, runtime) = (config.clock, runtime.clone());
        let reading = aside(&clock, move || {
            let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let node = machine(&text("/proc/stat"), &text("/proc/meminfo"));
            Reading { at: Instant::now(), time_ms: clock.now_ms(), node, pods: runtime.usage() }
        });
        if let Ok(reading) = reading.await {
            meter.take(reading);
        }
    }
}

impl Meter {
    fn take(&self, reading: Reading) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readings.before = readings.now.replace(reading);
    }

    /// What is used, of each pod too if that is asked for. Before the second reading there is no window, and nothing to tell.
    pub(crate) fn usage(&self, pods: bool) -> NodeUsage {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Readings { before: Some(before), now: Some(now) } = &*readings else {
            return NodeUsage::default();
        };
        let window = now.at.saturating_duration_since(before.at);
        let rate = |from: u64, to: u64| cores(to.checked_sub(from)?, window);
        let Some(cpu_nanocores) = rate(before.node.cpu_ns, now.node.cpu_ns) else {
            return NodeUsage::default();
        };
        let of_pod = |pod: &runtime::PodUsage, earlier: &HashMap<&str, &runtime::PodUsage>| {
            let earlier = earlier.get(pod.uid.as_str())?;
            let of_container = |container: &runtime::ContainerUsage| {
                let earlier = earlier.containers.iter().find(|it| it.name == container.name)?;
                Some(ContainerUsage {
                    name: container.name.clone(),
                    // One that counts less than before was started anew.
                    cpu_nanocores: rate(earlier.cpu_ns, container.cpu_ns)?,
                    memory_bytes: container.memory_bytes,
                })
            };
            // Half a pod is no figure.
            let containers: Option<Vec<_>> = pod.containers.iter().map(of_container).collect();
            Some(PodUsage { uid: pod.uid.clone(), containers: containers? })
        };
        let pods = if pods {
            let earlier = before.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
            now.pods.iter().filter_map(|pod| of_pod(pod, &earlier)).collect()
        } else {
            Vec::new()
        };
        NodeUsage {
            time_ms: now.time_ms,
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            cpu_nanocores,
            memory_bytes: now.node.memory_bytes,
            pods,
            ..NodeUsage::default()
        }
    }
}

/// Billionths of a processor that worked so long in this time.
fn cores(worked_ns: u64, window: Duration) -> Option<u64> {
    let share = u128::from(worked_ns).saturating_mul(1_000_000_000).checked_div(window.as_nanos())?;
    u64::try_from(share).ok()
}

/// The machine's own counters: all that its processors did but wait, and its working set, as the kubelet has it of the root
/// cgroup.
fn machine(stat: &str, meminfo: &str) -> Counters {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq ...; what guests use is in the first two.
    let worked = [0, 1, 2, 5, 6]
        .into_iter()
        .filter_map(|at| ticks.get(at))
        .fold(0_u64, |sum, n| sum.saturating_add(*n));
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let used = kilobytes("MemTotal:").saturating_sub(kilobytes("MemFree:"));
    let memory = used.saturating_sub(kilobytes("Inactive(file):"));
    Counters { cpu_ns: worked.saturating_mul(TICK_NS), memory_bytes: memory.saturating_mul(1024) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(uid: &str, containers: &[(&str, u64)]) -> runtime::PodUsage {
        let containers = containers.iter().map(|(name, cpu_ns)| runtime::ContainerUsage {
            name: (*name).into(),
            cpu_ns: *cpu_ns,
            memory_bytes: 7,
            processes: 1,
        });
        runtime::PodUsage {
            uid: uid.into(),
            namespace: "n".into(),
            name: uid.into(),
            containers: containers.collect(),
        }
    }

    fn reading(at: Instant, cpu_ns: u64, pods: Vec<runtime::PodUsage>) -> Reading {
        Reading { at, time_ms: 1000, node: Counters { cpu_ns, memory_bytes: 9 }, pods }
    }

    #[test]
    fn the_work_of_a_window_is_the_difference_of_its_ends() {
        let (meter, start) = (Meter::default(), Instant::now());
        const S: u64 = 1_000_000_000;
        let pods =
            vec![pod("a", &[("x", S), ("y", S)]), pod("again", &[("x", 5 * S)]), pod("half", &[("x", S)])];
        meter.take(reading(start, 100 * S, pods));
        assert_eq!(meter.usage(true), NodeUsage::default(), "one reading is no window");
        let pods = vec![
            pod("a", &[("x", 6 * S), ("y", S)]),
            pod("again", &[("x", S)]),
            pod("half", &[("new", S), ("x", S)]),
            pod("new", &[("x", S)]),
        ];
        meter.take(reading(start + Duration::from_secs(10), 130 * S, pods));
        let usage = meter.usage(true);
        assert_eq!((usage.window_ms, usage.cpu_nanocores, usage.memory_bytes), (10_000, 3 * S, 9));
        assert_eq!(usage.pods.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>(), ["a"]);
        let cpu: Vec<u64> =
            usage.pods[0].containers.iter().map(|container| container.cpu_nanocores).collect();
        assert_eq!(cpu, [S / 2, 0]);
        assert!(meter.usage(false).pods.is_empty());
        // The oldest reading goes.
        meter.take(reading(start + Duration::from_secs(20), 130 * S, Vec::new()));
        assert_eq!(meter.usage(false).cpu_nanocores, 0);
    }

    #[test]
    fn the_machine_is_read_from_its_files() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 90 0\ncpu0 1 1 1 1\n";
        let meminfo = "MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 200 kB\n";
        let expected = Counters { cpu_ns: 163 * 10_000_000, memory_bytes: 500 * 1024 };
        assert_eq!(machine(stat, meminfo), expected);
        assert_eq!(machine("", ""), Counters::default());
    }
}
