//! Who used the processors while something was measured: on one machine the generator, the servers and whatever else runs share them.

use std::{fs, time::Instant};

use anyhow::Context;

/// Clock ticks per second in /proc, on every Linux that runs this.
const TICKS: f64 = 100.0;

/// Processors used over a span, as numbers of whole ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// By this process.
    pub(crate) generator: f64,
    /// By the servers that were measured.
    pub(crate) servers: f64,
    /// By all else on the machine, the side that is not measured just now among it.
    pub(crate) others: f64,
}

/// Measures the cost of what happens between its start and its stop.
pub(crate) struct Meter {
    servers: Vec<i32>,
    began: Instant,
    ticks: Ticks,
}

struct Ticks {
    generator: f64,
    servers: f64,
    machine: f64,
}

impl Ticks {
    fn read(servers: &[i32]) -> anyhow::Result<Ticks> {
        let servers = servers.iter().map(|pid| process(&pid.to_string())).sum::<anyhow::Result<f64>>()?;
        Ok(Ticks { generator: process("self")?, servers, machine: machine()? })
    }
}

impl Meter {
    /// Starts to measure these servers, by their process numbers.
    pub(crate) fn start(servers: &[i32]) -> anyhow::Result<Meter> {
        let servers = servers.to_vec();
        Ok(Meter { ticks: Ticks::read(&servers)?, began: Instant::now(), servers })
    }

    /// What was used since the start. An error if a server has ended.
    pub(crate) fn stop(self) -> anyhow::Result<Cost> {
        let now = Ticks::read(&self.servers)?;
        let seconds = self.began.elapsed().as_secs_f64();
        let cores = |before: f64, after: f64| (after - before).max(0.0) / TICKS / seconds;
        let generator = cores(self.ticks.generator, now.generator);
        let servers = cores(self.ticks.servers, now.servers);
        let all = cores(self.ticks.machine, now.machine);
        Ok(Cost { generator, servers, others: (all - generator - servers).max(0.0) })
    }
}

fn process(pid: &str) -> anyhow::Result<f64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    of_process(&stat).with_context(|| format!("an unreadable /proc/{pid}/stat"))
}

/// User and system time: after the name in brackets and the letter of the state, the 11th and 12th number.
fn of_process(stat: &str) -> Option<f64> {
    let numbers: Vec<f64> = stat.rsplit_once(") ")?.1.split(' ').filter_map(|f| f.parse().ok()).collect();
    Some(numbers.get(10)? + numbers.get(11)?)
}

fn machine() -> anyhow::Result<f64> {
    of_machine(&fs::read_to_string("/proc/stat")?).context("an unreadable /proc/stat")
}

/// All but idle and waiting: user, nice, system, interrupts, and what the hypervisor took.
fn of_machine(stat: &str) -> Option<f64> {
    let numbers: Vec<f64> = stat.lines().next()?.split_whitespace().filter_map(|f| f.parse().ok()).collect();
    Some([0, 1, 2, 5, 6, 7].iter().filter_map(|at| numbers.get(*at)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_where_the_kernel_writes_them() {
        let stat = "7 (a ) name) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 5 6 20 0 1 0 100 1000 10";
        assert_eq!(of_process(stat), Some(42.0));
        assert_eq!(of_process("7 (a) S 1"), None);
        assert_eq!(of_machine("cpu  100 1 50 9000 70 3 2 4 0 0\ncpu0 1\n"), Some(160.0));
    }
}
