//! What a pod takes of its worker's disk: the writable layers of its containers, their logs, and its volumes.

use std::path::Path;

use super::document::{Container, Pod};
use super::driver;
use crate::agent::layout::Layout;
use crate::runtime::LayerUsage;
use crate::volume::{self, Size};

/// The containers that run as long as the pod does, and those that were added to it.
pub(crate) fn counted(pod: &Pod) -> impl Iterator<Item = &Container> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    sidecars.chain(&pod.spec.containers).chain(&pod.spec.ephemeral_containers)
}

/// What a container has written: its writable layer, in its pod's folder or where `layers` says, and its logs. Blocking.
pub(crate) fn of_container(layout: &Layout, layers: &[LayerUsage], pod: &Pod, name: &str) -> Size {
    let uid = &pod.metadata.uid;
    let elsewhere = layers.iter().find(|it| it.pod_uid == *uid && it.container == name);
    let elsewhere = elsewhere.map_or(Size::default(), |it| Size { bytes: it.bytes, entries: it.entries });
    elsewhere.and(below(&layout.bundle(uid, name))).and(below(&driver::logs(layout, pod).join(name)))
}

/// What its volumes on this disk take, but for those that outlive it. Blocking.
pub(crate) fn of_volumes(layout: &Layout, pod: &Pod) -> Size {
    below(&layout.volumes(&pod.metadata.uid))
}

/// A folder that is not there takes nothing.
fn below(folder: &Path) -> Size {
    volume::size(folder).unwrap_or_default()
}
