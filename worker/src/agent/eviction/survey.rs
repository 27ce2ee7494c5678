//! What each pod takes of what the worker is short of.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::layout::Layout;
use super::super::pressure::Signal;
use crate::pod::document::{Container, Pod};
use crate::pod::quantity;
use crate::pod::tenant::Tenant;
use crate::runtime::{LayerUsage, PodUsage, Runtime};
use crate::volume;

/// From this priority on a pod is critical (`system-cluster-critical`): better a worker in trouble than one without it.
const CRITICAL: i64 = 2_000_000_000;

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
    let may_end = |tenant: &Tenant| !tenant.ends && tenant.pod.spec.priority < CRITICAL;
    let taker = |tenant: Tenant| {
        let pod = tenant.pod;
        let used = used.get(&pod.metadata.uid);
        let of = |name: &str| -> Option<u64> {
            let container = || used?.containers.iter().find(|it| it.name == name);
            match signal {
                Signal::Memory => container().map(|it| it.memory_bytes),
                Signal::Pids => container().map(|it| it.processes),
                _ => {
                    let folders = on_disk(&container_folders(layout, &pod, name), signal);
                    Some(folders.saturating_add(in_layers(&layers, &pod.metadata.uid, name, signal)))
                }
            }
        };
        let containers: Vec<Share> =
            counted(&pod).filter_map(|it| Some(share(it, of(&it.name)?, signal))).collect();
        let sum = containers.iter().fold(0_u64, |sum, share| sum.saturating_add(share.takes));
        let takes = match signal {
            Signal::Memory | Signal::Pids => used.map(|_| sum),
            _ => Some(sum.saturating_add(on_disk(&[layout.volumes(&pod.metadata.uid)], signal))),
        };
        let asked = counted(&pod).fold(0_u64, |sum, it| sum.saturating_add(asked(it, signal)));
        Taker { takes, asked, containers, pod }
    };
    tenants.into_iter().filter(may_end).map(taker).collect()
}

/// The containers that run as long as the pod does, and those that were added to it.
fn counted(pod: &Pod) -> impl Iterator<Item = &Container> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    sidecars.chain(&pod.spec.containers).chain(&pod.spec.ephemeral_containers)
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

/// Its writable layer and its logs.
fn container_folders(layout: &Layout, pod: &Pod, container: &str) -> [std::path::PathBuf; 2] {
    let metadata = &pod.metadata;
    let logs = layout.logs(&metadata.namespace, &metadata.name, &metadata.uid);
    [layout.bundle(&metadata.uid, container), logs.join(container)]
}

/// The bytes in its layer, or the files, where that is not in its pod's folder.
fn in_layers(layers: &[LayerUsage], uid: &str, container: &str, signal: Signal) -> u64 {
    let of_it = layers.iter().find(|it| it.pod_uid == uid && it.container == container);
    of_it.map_or(0, |it| if signal.is_of_inodes() { it.entries } else { it.bytes })
}

/// The bytes in these folders, or the files. One that is not there takes nothing.
fn on_disk(folders: &[impl AsRef<Path>], signal: Signal) -> u64 {
    let counts = folders.iter().filter_map(|folder| volume::size(folder.as_ref()).ok());
    counts.fold(0, |sum, size| {
        sum.saturating_add(if signal.is_of_inodes() { size.entries } else { size.bytes })
    })
}
