//! What containers use, as the daemon counts it.

use std::collections::HashMap;

use kontiki_proto::cri;

use super::super::{ContainerUsage, LayerUsage, PodUsage};
use super::daemon::{CALL, ask, in_full};
use super::{Inner, Pod, Running, labels};

impl Inner {
    /// Of the pods that run; nothing while the daemon does not tell.
    pub(super) async fn usage(&self) -> Vec<PodUsage> {
        let stats = self.stats().await;
        let mut usages = Vec::new();
        for pod in self.pods_now() {
            let counted = self.cgroup(&pod.sandbox.uid).map(|cgroup| self.cgroups.usage(&cgroup));
            let counted = counted.unwrap_or_default();
            let of = |(name, running): (&String, &Running)| {
                // CRI does not count them.
                let processes = counted.iter().find(|it| it.name == running.id).map_or(0, |it| it.processes);
                usage(name, stats.get(&running.id)?, processes)
            };
            let containers: Vec<ContainerUsage> = pod.running().iter().filter_map(of).collect();
            if !containers.is_empty() {
                let super::PodSandbox { uid, namespace, name, .. } = pod.sandbox.clone();
                usages.push(PodUsage { uid, namespace, name, containers });
            }
        }
        usages
    }

    /// What they have written, of those that run.
    pub(super) async fn layers(&self) -> Vec<LayerUsage> {
        let stats = self.stats().await;
        let mut layers = Vec::new();
        for pod in self.pods_now() {
            let of = |(name, running): (&String, &Running)| {
                let layer = stats.get(&running.id)?.writable_layer.as_ref()?;
                let number = |value: &Option<cri::UInt64Value>| value.map_or(0, |it| it.value);
                let (bytes, entries) = (number(&layer.used_bytes), number(&layer.inodes_used));
                let (pod_uid, container) = (pod.sandbox.uid.clone(), name.clone());
                Some(LayerUsage { pod_uid, container, bytes, entries })
            };
            layers.extend(pod.running().iter().filter_map(of).collect::<Vec<_>>());
        }
        layers
    }

    fn pods_now(&self) -> Vec<std::sync::Arc<Pod>> {
        self.pods().values().cloned().collect()
    }

    /// By the ids of containers.
    async fn stats(&self) -> HashMap<String, cri::ContainerStats> {
        let label_selector = labels::of_worker(&self.worker);
        let filter = cri::ContainerStatsFilter { label_selector, ..Default::default() };
        let request = ask(cri::ListContainerStatsRequest { filter: Some(filter) }, CALL);
        match self.daemon.runtime().list_container_stats(request).await {
            Ok(answer) => {
                let stats = answer.into_inner().stats.into_iter();
                stats.filter_map(|it| Some((it.attributes.as_ref()?.id.clone(), it))).collect()
            }
            Err(status) => {
                tracing::warn!(
                    cause = in_full(&status),
                    "the container runtime does not say what containers use"
                );
                HashMap::new()
            }
        }
    }
}

fn usage(name: &str, stats: &cri::ContainerStats, processes: u64) -> Option<ContainerUsage> {
    let cpu = stats.cpu.as_ref()?.usage_core_nano_seconds.as_ref()?.value;
    let memory = stats.memory.as_ref()?.working_set_bytes.as_ref()?.value;
    Some(ContainerUsage { name: name.to_owned(), cpu_ns: cpu, memory_bytes: memory, processes })
}
