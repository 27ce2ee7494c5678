//! Empty folders for the pod's own use: on disk, where their size is watched, or in memory, where it is bounded.

use std::path::Path;

use crate::pod::document::{EmptyDir, Pod, Volume};
use crate::pod::quantity;
use crate::runtime::MemoryVolume;

const MEMORY: &str = "Memory";
const OPEN: u32 = 0o777;
const OF_GROUP: u32 = 0o2777;

/// Why a volume of this medium cannot be had, if so.
pub(super) fn refusal(empty_dir: &EmptyDir) -> Option<String> {
    match empty_dir.medium.as_str() {
        "" | MEMORY => None,
        other => {
            Some(format!("emptyDir medium {other} is not supported on this worker: use Memory, or none"))
        }
    }
}

/// The volumes of a pod that are in memory. Each is as large as the pod says, and never larger than the pod's memory, or the
/// machine's.
pub fn in_memory(pod: &Pod, volumes: &Path, machine_bytes: u64) -> Vec<MemoryVolume> {
    let most = pod_memory(pod).map_or(machine_bytes, |bytes| bytes.min(machine_bytes));
    let group = pod.spec.security_context.fs_group;
    let of = |(volume, empty_dir): (&Volume, &EmptyDir)| {
        (empty_dir.medium == MEMORY).then(|| MemoryVolume {
            path: volumes.join(&volume.name),
            bytes: limit(empty_dir).map_or(most, |bytes| bytes.min(most)),
            mode: if group.is_some() { OF_GROUP } else { OPEN },
            group,
        })
    };
    empty_dirs(pod).filter_map(of).collect()
}

/// The limits of the volumes of a pod that are on disk, by the volumes' names, with the limit as it is written.
pub fn disk_limits(pod: &Pod) -> Vec<(String, u64, String)> {
    let of = |(volume, empty_dir): (&Volume, &EmptyDir)| {
        let bytes = limit(empty_dir).filter(|_| empty_dir.medium != MEMORY)?;
        let written = match &empty_dir.size_limit {
            Some(serde_json::Value::String(text)) => text.clone(),
            other => other.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        Some((volume.name.clone(), bytes, written))
    };
    empty_dirs(pod).filter_map(of).collect()
}

/// What a pod is told whose volume grew too large, in the words of Kubernetes.
pub fn exceeded(volume: &str, limit: &str) -> String {
    format!("Usage of EmptyDir volume \"{volume}\" exceeds the limit \"{limit}\". ")
}

fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&Volume, &EmptyDir)> {
    pod.spec.volumes.iter().filter_map(|volume| Some((volume, volume.empty_dir.as_ref()?)))
}

/// Zero is no limit, as in Kubernetes.
fn limit(empty_dir: &EmptyDir) -> Option<u64> {
    empty_dir.size_limit.as_ref().and_then(quantity::units).filter(|bytes| *bytes > 0)
}

/// What all its containers may have together, if each has a limit.
fn pod_memory(pod: &Pod) -> Option<u64> {
    let limits =
        pod.spec.containers.iter().map(|it| it.resources.limits.get("memory").and_then(quantity::units));
    limits.sum::<Option<u64>>().filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(volume: &str, limits: &[&str], more: &str) -> Pod {
        let containers: Vec<String> = limits
            .iter()
            .map(|limit| format!(r#"{{"name":"c","resources":{{"limits":{{{limit}}}}}}}"#))
            .collect();
        let json = format!(
            r#"{{"spec":{{{more}"containers":[{}],"volumes":[{{"name":"e","emptyDir":{{{volume}}}}}]}}}}"#,
            containers.join(",")
        );
        Pod::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_volume_in_memory_is_never_larger_than_what_its_pod_may_have() {
        let bytes = |volume: &str, limits: &[&str]| {
            let pod = pod(&format!(r#""medium":"Memory"{volume}"#), limits, "");
            in_memory(&pod, Path::new("/v"), 1 << 30)[0].bytes
        };
        assert_eq!(bytes("", &[""]), 1 << 30);
        assert_eq!(bytes(r#","sizeLimit":"4Ki""#, &[""]), 4096);
        assert_eq!(bytes(r#","sizeLimit":"0""#, &[""]), 1 << 30);
        assert_eq!(bytes(r#","sizeLimit":"8Gi""#, &[""]), 1 << 30);
        let limited = r#""memory":"1Mi""#;
        assert_eq!(bytes(r#","sizeLimit":"8Gi""#, &[limited, limited]), 2 << 20);
        assert_eq!(bytes("", &[limited, ""]), 1 << 30, "one without a limit may have all");
    }

    #[test]
    fn each_medium_has_its_own_bounds() {
        let memory =
            pod(r#""medium":"Memory","sizeLimit":"1Mi""#, &[""], r#""securityContext":{"fsGroup":7},"#);
        let volume = &in_memory(&memory, Path::new("/v"), 1 << 30)[0];
        assert_eq!((volume.path.as_path(), volume.mode, volume.group), (Path::new("/v/e"), 0o2777, Some(7)));
        assert_eq!(disk_limits(&memory), []);
        let disk = pod(r#""sizeLimit":"1Mi""#, &[""], "");
        assert!(in_memory(&disk, Path::new("/v"), 1 << 30).is_empty());
        assert_eq!(disk_limits(&disk), [("e".to_owned(), 1 << 20, "1Mi".to_owned())]);
        let pages = EmptyDir { medium: "HugePages".into(), ..EmptyDir::default() };
        assert!(refusal(&pages).unwrap().contains("HugePages"));
    }
}
