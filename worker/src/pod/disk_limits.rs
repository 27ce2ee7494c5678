//! What a pod may take of its worker's disk: the `sizeLimit` of each emptyDir, and what its containers may have of
//! `ephemeral-storage`, each for itself and all together.
//!
//! Source: pkg/kubelet/eviction/eviction_manager.go, localStorageEviction.

use serde_json::Value;

use super::disk_use;
use super::document::{Container, Pod};
use super::quantity;
use crate::agent::layout::Layout;
use crate::agent::pressure;
use crate::runtime::Runtime;
use crate::volume;

const RESOURCE: &str = "ephemeral-storage";

/// A bound in bytes, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    /// Of the volume or container that it is for.
    name: String,
    bytes: u64,
    written: String,
}

/// What bounds a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskLimits {
    volumes: Vec<Bound>,
    containers: Vec<Bound>,
    /// For all of the pod together: it has no name.
    pod: Option<Bound>,
}

impl DiskLimits {
    /// Those that a pod says. Zero bounds no container by itself, as in Kubernetes.
    pub(super) fn of(pod: &Pod) -> DiskLimits {
        let volumes = volume::disk_limits(pod).into_iter();
        let container = |container: &Container| {
            let limit = container.resources.limits.get(RESOURCE)?;
            let bytes = quantity::units(limit).filter(|bytes| *bytes > 0)?;
            Some(Bound { name: container.name.clone(), bytes, written: written(limit) })
        };
        DiskLimits {
            volumes: volumes.map(|(name, bytes, written)| Bound { name, bytes, written }).collect(),
            containers: disk_use::counted(pod).filter_map(container).collect(),
            pod: together(pod),
        }
    }

    /// Nothing bounds it.
    pub(super) fn is_empty(&self) -> bool {
        *self == DiskLimits::default()
    }

    /// What a pod is told that takes more than it may, in the words of Kubernetes; nothing if it does not. What cannot be measured is
    /// borne. Blocking.
    pub(super) fn exceeded(&self, pod: &Pod, layout: &Layout, runtime: &dyn Runtime) -> Option<String> {
        let folder = layout.volumes(&pod.metadata.uid);
        for Bound { name, bytes, written } in &self.volumes {
            match volume::size(&folder.join(name)) {
                Ok(size) if size.bytes > *bytes => return Some(volume::exceeded(name, written)),
                Ok(_) => {}
                Err(error) => tracing::warn!(volume = name, %error, "a volume cannot be measured"),
            }
        }
        // Whoever has no other bound is not worth the look.
        let together = self.pod.as_ref()?;
        let layers = runtime.layers();
        let uses: Vec<(&str, u64)> = pod
            .all_containers()
            .map(|it| (it.name.as_str(), disk_use::of_container(layout, &layers, pod, &it.name).bytes))
            .collect();
        let sum =
            uses.iter().fold(disk_use::of_volumes(layout, pod).bytes, |sum, (_, it)| sum.saturating_add(*it));
        if sum > together.bytes {
            let limit = &together.written;
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
            ));
        }
        let used = |name: &str| uses.iter().find(|(it, _)| *it == name).map_or(0, |(_, bytes)| *bytes);
        let over = self.containers.iter().find(|bound| used(&bound.name) > bound.bytes)?;
        let (name, limit) = (&over.name, &over.written);
        Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "))
    }
}

/// What all containers may have together, those of one stage of the pod's life at a time, if any of them has a limit.
fn together(pod: &Pod) -> Option<Bound> {
    let limit = |container: &Container| container.resources.limits.get(RESOURCE).cloned();
    let bytes = |container: &Container| limit(container).as_ref().and_then(quantity::units).unwrap_or(0);
    let (inits, mains) = (&pod.spec.init_containers, &pod.spec.containers);
    let limits: Vec<Value> = mains.iter().chain(inits).filter_map(limit).collect();
    let (mut beside, mut most) = (0_u64, 0_u64);
    for init in inits {
        let with = beside.saturating_add(bytes(init));
        most = most.max(with);
        if init.is_sidecar() {
            beside = with;
        }
    }
    let mains = mains.iter().fold(beside, |sum, container| sum.saturating_add(bytes(container)));
    let bytes = mains.max(most);
    let written = match limits.as_slice() {
        [] => return None,
        [one] => written(one),
        _ => pressure::quantity(bytes),
    };
    Some(Bound { name: String::new(), bytes, written })
}

fn written(quantity: &Value) -> String {
    match quantity {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::runtime::{SimulatedRuntime, Simulation};

    fn pod(spec: &str) -> Pod {
        let json = format!(r#"{{"metadata":{{"name":"p","namespace":"ns","uid":"u"}},"spec":{{{spec}}}}}"#);
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn container(name: &str, limit: &str, more: &str) -> String {
        format!(r#"{{"name":"{name}","resources":{{"limits":{{"ephemeral-storage":"{limit}"}}}}{more}}}"#)
    }

    fn total(inits: &[String], mains: &[String]) -> Option<(u64, String)> {
        let (inits, mains) = (inits.join(","), mains.join(","));
        let limits = DiskLimits::of(&pod(&format!(r#""initContainers":[{inits}],"containers":[{mains}]"#)));
        limits.pod.map(|bound| (bound.bytes, bound.written))
    }

    #[test]
    fn all_containers_together_may_have_what_each_may() {
        let unbound = || r#"{"name":"x"}"#.to_owned();
        assert_eq!(total(&[], &[unbound()]), None);
        assert_eq!(total(&[], &[container("a", "1Mi", ""), unbound()]), Some((1 << 20, "1Mi".into())));
        let both = [container("a", "1Mi", ""), container("b", "2Mi", "")];
        assert_eq!(total(&[], &both), Some((3 << 20, "3Mi".into())));
        // What comes before them counts where it is more, what runs beside them always.
        let sidecar = container("s", "1Mi", r#","restartPolicy":"Always""#);
        let inits = [sidecar, container("i", "4Mi", "")];
        assert_eq!(total(&inits, &both), Some((5 << 20, "5Mi".into())));
        assert_eq!(total(&inits[..1], &both), Some((4 << 20, "4Mi".into())));
    }

    #[test]
    fn layers_logs_and_volumes_count_against_the_limits() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, runtime) = (Layout::new(dir.path()), SimulatedRuntime::new(Simulation::default()));
        let told = |pod: &Pod| DiskLimits::of(pod).exceeded(pod, &layout, &runtime);
        let write = |folder: std::path::PathBuf, mib: usize| {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("file"), vec![1; mib << 20]).unwrap();
        };
        let two =
            pod(&format!(r#""containers":[{},{}]"#, container("a", "2Mi", ""), container("b", "6Mi", "")));
        assert_eq!(told(&two), None);
        write(layout.bundle("u", "a").join("top/upper"), 1);
        assert_eq!(told(&two), None);
        write(driver_logs(&layout, &two).join("a"), 2);
        let message = "Container a exceeded its local ephemeral storage limit \"2Mi\". ";
        assert_eq!(told(&two).as_deref(), Some(message));
        write(layout.volumes("u").join("e"), 6);
        let message = "Pod ephemeral local storage usage exceeds the total limit of containers 8Mi. ";
        assert_eq!(told(&two).as_deref(), Some(message));

        let free = pod(r#""containers":[{"name":"a"}]"#);
        assert!(DiskLimits::of(&free).is_empty() && told(&free).is_none());
        let volume =
            pod(r#""containers":[{"name":"a"}],"volumes":[{"name":"e","emptyDir":{"sizeLimit":"5Mi"}}]"#);
        assert_eq!(
            told(&volume).as_deref(),
            Some("Usage of EmptyDir volume \"e\" exceeds the limit \"5Mi\". ")
        );
    }

    fn driver_logs(layout: &Layout, pod: &Pod) -> std::path::PathBuf {
        super::super::driver::logs(layout, pod)
    }
}
