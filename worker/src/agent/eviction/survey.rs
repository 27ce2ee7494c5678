//! What each pod takes of what the worker is short of.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::layout::Layout;
use super::super::pressure::Signal;
use crate::pod::disk_use::{self, counted};
use crate::pod::document::{Container, Pod};
use crate::pod::quantity;
use crate::pod::tenant::Tenant;
use crate::runtime::{PodUsage, Runtime};
use crate::volume::Size;

/// A pod that may be ended, and what it takes.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    pub(super) pod: Arc<Pod>,
    /// What all of it takes; nothing if that is not known, as of plain processes.
    pub(super) takes: Option<u64>,
    /// What it asked for.
    pub(super) asked: u64,
    /// What each container takes, and what it asked for as it is written.
    pub(super) containers: Vec<Share>,
}

/// What a container takes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) takes: u64,
    pub(super) asked: u64,
    pub(super) written: String,
}

/// The pods that may be ended, with what they take. Blocking.
pub(super) fn survey(
    tenants: Vec<Tenant>,
    signal: Signal,
    runtime: &dyn Runtime,
    layout: &Layout,
) -> Vec<Taker> {
    let used: HashMap<String, PodUsage> = match signal {
        Signal::Memory | Signal::Pids => runtime.usage().into_iter().map(|it| (it.uid.clone(), it)).collect(),
        _ => HashMap::new(),
    };
    let layers = if signal.is_of_disk() { runtime.layers() } else { Vec::new() };
    let may_end = |tenant: &Tenant| !tenant.ends && !tenant.pod.is_critical();
    let taker = |tenant: Tenant| {
        let pod = tenant.pod;
        let used = used.get(&pod.metadata.uid);
        let of = |name: &str| -> Option<u64> {
            let container = || used?.containers.iter().find(|it| it.name == name);
            match signal {
                Signal::Memory => container().map(|it| it.memory_bytes),
                Signal::Pids => container().map(|it| it.processes),
                _ => Some(amount(disk_use::of_container(layout, &layers, &pod, name), signal)),
            }
        };
        let containers: Vec<Share> =
            counted(&pod).filter_map(|it| Some(share(it, of(&it.name)?, signal))).collect();
        let sum = containers.iter().fold(0_u64, |sum, share| sum.saturating_add(share.takes));
        let takes = match signal {
            Signal::Memory | Signal::Pids => used.map(|_| sum),
            _ => Some(sum.saturating_add(amount(disk_use::of_volumes(layout, &pod), signal))),
        };
        let asked = counted(&pod).fold(0_u64, |sum, it| sum.saturating_add(asked(it, signal)));
        Taker { takes, asked, containers, pod }
    };
    tenants.into_iter().filter(may_end).map(taker).collect()
}

fn share(container: &Container, takes: u64, signal: Signal) -> Share {
    let written = container.resources.requests.get(signal.resource());
    let written = written.map_or("0".to_owned(), |amount| match amount {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    Share { name: container.name.clone(), takes, asked: asked(container, signal), written }
}

fn asked(container: &Container, signal: Signal) -> u64 {
    container.resources.requests.get(signal.resource()).and_then(quantity::units).unwrap_or(0)
}

/// The bytes of it, or the files.
fn amount(size: Size, signal: Signal) -> u64 {
    if signal.is_of_inodes() { size.entries } else { size.bytes }
}
