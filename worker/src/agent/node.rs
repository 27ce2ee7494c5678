//! What the worker says about itself.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::Path;

use kontiki_proto::worker::{Hello, ImageInfo, NodeInfo};

use super::clock::Clock;
use super::config::{AgentConfig, AgentError};
use crate::pod::env::Machine;
use crate::runtime::{ImageRef, Runtime};

const MAX_PODS: i64 = 110;
/// The leader lists images for the scheduler and for people; more than this help neither. As in Kubernetes.
const IMAGES_MAX: usize = 50;
const NAMES_MAX: usize = 5;

/// The greeting, without the pods.
pub fn hello(config: &AgentConfig, runtime: &dyn Runtime, port: u16) -> Hello {
    Hello {
        node: config.node.clone(),
        zone: config.zone.clone(),
        version: config.version.clone(),
        address: config.advertised.clone(),
        port: port.into(),
        info: Some(info(config, runtime)),
        labels: config.labels.clone().into_iter().collect(),
        tells_usage: true,
        ..Hello::default()
    }
}

/// What pods may ask about the machine.
pub fn machine(config: &AgentConfig) -> Machine {
    Machine {
        name: config.node.clone(),
        address: address(&config.advertised),
        cpu_milli: config.capacity.cpu_milli.unwrap_or_else(cpu_milli),
        memory_bytes: config.capacity.memory_bytes.unwrap_or_else(memory_bytes),
    }
}

/// How the node is, but for its pressures.
pub(super) fn info(config: &AgentConfig, runtime: &dyn Runtime) -> NodeInfo {
    let machine = machine(config);
    let reserved = &config.limits.reserved;
    let told = |path: &str| match config.clock {
        Clock::Wall => text(path),
        // A simulated machine is the same everywhere.
        Clock::Simulated { .. } => String::new(),
    };
    NodeInfo {
        cpu_milli: machine.cpu_milli,
        memory_bytes: machine.memory_bytes,
        ephemeral_storage_bytes: storage(config),
        max_pods: config.capacity.max_pods.unwrap_or(MAX_PODS),
        os_image: os_image(&told("/etc/os-release")),
        kernel_version: told("/proc/sys/kernel/osrelease"),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        operating_system: std::env::consts::OS.to_owned(),
        container_runtime: runtime.version().unwrap_or_else(|| format!("kontiki://{}", config.version)),
        machine_id: told("/etc/machine-id"),
        boot_id: told("/proc/sys/kernel/random/boot_id"),
        images: images(runtime.images()),
        reserved_cpu_milli: reserved.cpu_milli,
        reserved_memory_bytes: reserved.memory_bytes,
        reserved_ephemeral_storage_bytes: reserved.ephemeral_storage_bytes,
        pressures: Vec::new(),
        shutting_down: false,
    }
}

/// Refuses to reserve what is not there.
pub(super) fn check(config: &AgentConfig) -> Result<(), AgentError> {
    let (machine, reserved) = (machine(config), &config.limits.reserved);
    for (what, reserved, capacity) in [
        ("cpu", reserved.cpu_milli, machine.cpu_milli),
        ("memory", reserved.memory_bytes, machine.memory_bytes),
        ("ephemeral-storage", reserved.ephemeral_storage_bytes, storage(config)),
    ] {
        if reserved > capacity {
            return Err(AgentError::Reserved { what, reserved, capacity });
        }
    }
    Ok(())
}

/// The largest images, each with all its names.
fn images(all: Vec<ImageRef>) -> Vec<ImageInfo> {
    let mut by_digest: BTreeMap<String, ImageInfo> = BTreeMap::new();
    for ImageRef { name, digest, size_bytes } in all {
        let key = if digest.is_empty() { name.clone() } else { digest };
        let image = by_digest.entry(key).or_default();
        image.size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        if image.names.len() < NAMES_MAX {
            image.names.push(name);
        }
    }
    let mut images: Vec<ImageInfo> = by_digest.into_values().collect();
    images.sort_by(|a, b| (b.size_bytes, &a.names).cmp(&(a.size_bytes, &b.names)));
    images.truncate(IMAGES_MAX);
    images
}

fn storage(config: &AgentConfig) -> i64 {
    match config.clock {
        Clock::Wall => storage_bytes(&config.data_dir),
        Clock::Simulated { .. } => 64 << 30,
    }
}

/// Pods and their statuses name the machine by its IP address. A name that does not resolve stays: it is still true.
fn address(advertised: &str) -> String {
    let plain = advertised.trim_matches(['[', ']']);
    if plain.parse::<std::net::IpAddr>().is_ok() {
        return plain.to_owned();
    }
    let resolved = (plain, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.map_or_else(|| plain.to_owned(), |address| address.ip().to_string())
}

fn cpu_milli() -> i64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    i64::try_from(processors).unwrap_or(1).saturating_mul(1000)
}

fn memory_bytes() -> i64 {
    total_memory(&text("/proc/meminfo"))
}

fn total_memory(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<i64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"')).to_owned()
}

fn storage_bytes(path: &Path) -> i64 {
    let bytes = rustix::fs::statvfs(path).map(|fs| fs.f_blocks.saturating_mul(fs.f_frsize)).unwrap_or(0);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A file that a machine may lack.
fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_one_however_many_names_it_has() {
        let image = |name: &str, digest: &str, size_bytes| ImageRef {
            name: name.into(),
            digest: digest.into(),
            size_bytes,
        };
        let told = images(vec![
            image("a:1", "sha256:1", 10),
            image("a:2", "sha256:1", 10),
            image("b:1", "sha256:2", 20),
            image("c:1", "", 5),
        ]);
        let names: Vec<String> = told.iter().map(|image| image.names.join(" ")).collect();
        assert_eq!(names, ["b:1", "a:1 a:2", "c:1"], "the largest first");
        let many =
            (0..200).map(|n| image(&format!("m:{n}"), &format!("sha256:{}", n / 10), n / 10)).collect();
        let told = images(many);
        assert!(told.len() == 20 && told.iter().all(|image| image.names.len() == NAMES_MAX));
    }

    #[test]
    fn the_machine_is_read_from_its_files() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2 << 20);
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(os_image(""), "Linux");
    }
}
