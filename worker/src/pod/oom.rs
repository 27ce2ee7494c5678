//! How soon the kernel kills a container when the machine has no memory left, by the pod's QoS class: as the kubelet has
//! it (pkg/kubelet/qos/policy.go).

use super::document::{Container, Pod};
use super::quantity;

const GUARANTEED: i64 = -997;
const BEST_EFFORT: i64 = 1000;
/// A guaranteed container that uses all memory can have a score of 10 less than this; the others are above.
const BURSTABLE_MIN: i64 = BEST_EFFORT + GUARANTEED;

/// The `oom_score_adj` of a container, given the memory of the machine.
pub(super) fn score_adj(pod: &Pod, container: &Container, memory_bytes: i64) -> i32 {
    let class = pod.status.qos_class.as_deref();
    let score = match class {
        _ if pod.spec.priority_class_name == "system-node-critical" => GUARANTEED,
        Some("Guaranteed") => GUARANTEED,
        Some("BestEffort") => BEST_EFFORT,
        _ => burstable(pod, container, memory_bytes),
    };
    i32::try_from(score).unwrap_or(0)
}

/// The more of the machine's memory it asks for, the later it is killed.
fn burstable(pod: &Pod, container: &Container, memory_bytes: i64) -> i64 {
    let mut asked = request(container);
    if container.is_sidecar() {
        // It goes no sooner than those that it serves.
        let least = pod.spec.containers.iter().map(request).min().unwrap_or(0);
        asked = asked.max(least);
    }
    let share = i128::from(asked) * 1000 / i128::from(memory_bytes.max(1));
    let score = BEST_EFFORT - i64::try_from(share).unwrap_or(BEST_EFFORT);
    score.clamp(BURSTABLE_MIN, BEST_EFFORT - 1)
}

fn request(container: &Container) -> i64 {
    let of = |list: &std::collections::BTreeMap<_, _>| list.get("memory").and_then(quantity::units);
    let asked = of(&container.resources.requests).or_else(|| of(&container.resources.limits));
    asked.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GIB: i64 = 1 << 30;

    fn pod(class: &str, more: &str, memory: &str) -> Pod {
        let json = format!(
            r#"{{"spec":{{{more}"containers":[{{"name":"c","resources":{{"requests":{{{memory}}}}}}}]}},
            "status":{{"qosClass":"{class}"}}}}"#
        );
        Pod::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn scores_are_those_of_the_kubelet() {
        for (class, more, memory, expected) in [
            ("Guaranteed", "", r#""memory":"1Gi""#, -997),
            ("BestEffort", "", "", 1000),
            ("BestEffort", r#""priorityClassName":"system-node-critical","#, "", -997),
            ("Burstable", "", "", 999),
            ("Burstable", "", r#""memory":"1Ki""#, 999),
            ("Burstable", "", r#""memory":"2Gi""#, 500),
            ("Burstable", "", r#""memory":"4Gi""#, 3),
            ("Burstable", "", r#""memory":"400Gi""#, 3),
        ] {
            let pod = pod(class, more, memory);
            assert_eq!(
                score_adj(&pod, &pod.spec.containers[0], 4 * GIB),
                expected,
                "{class} {more} {memory}"
            );
        }
    }

    #[test]
    fn a_sidecar_goes_no_sooner_than_those_that_it_serves() {
        let sidecar = r#""initContainers":[{"name":"s","restartPolicy":"Always"},{"name":"i"}],"#;
        let pod = pod("Burstable", sidecar, r#""memory":"1Gi""#);
        let score = |name: &str| score_adj(&pod, pod.container(name).unwrap(), 4 * GIB);
        assert_eq!((score("c"), score("s"), score("i")), (750, 750, 999));
    }
}
