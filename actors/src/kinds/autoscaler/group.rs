//! Which pods of a target count for a metric: not all that are there do anything yet.

use std::collections::BTreeMap;

use super::subject::Subject;

/// So long after it began, a pod's use of processors counts only while it is ready, and only if all of it was measured since it is:
/// `--horizontal-pod-autoscaler-cpu-initialization-period`.
const INITIALIZATION_MS: i64 = 300_000;
/// A pod that is not ready, and last changed that within this time after it began, was never ready:
/// `--horizontal-pod-autoscaler-initial-readiness-delay`.
const READINESS_DELAY_MS: i64 = 30_000;

/// The pods of a target that have not ended and are not leaving.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Groups<'a> {
    /// Those that count, with what they use, in thousandths.
    pub(super) used: BTreeMap<&'a str, i128>,
    /// Those that are not ready yet.
    pub(super) unready: Vec<&'a str>,
    /// Those of which it is not known what they use.
    pub(super) missing: Vec<&'a str>,
}

/// Groups pods by what they have to do with a resource, of all their containers or of one.
pub(super) fn group<'a>(pods: &[Subject<'a>], resource: &str, container: &str, now_ms: i64) -> Groups<'a> {
    let mut groups = Groups::default();
    for subject in pods {
        let Some(digest) = subject.pod.pod() else { continue };
        if subject.pod.meta.deleting() || digest.phase == "Failed" {
            continue;
        }
        if digest.phase == "Pending" {
            groups.unready.push(subject.name());
            continue;
        }
        let sample = subject.sample.and_then(|sample| Some((sample, sample.of(resource, container)?)));
        match sample {
            None => groups.missing.push(subject.name()),
            Some((sample, _))
                if resource == "cpu" && warms_up(subject, (sample.time_ms, sample.window_ms), now_ms) =>
            {
                groups.unready.push(subject.name());
            }
            Some((_, used)) => drop(groups.used.insert(subject.name(), used)),
        }
    }
    groups
}

/// Whether a pod's use of processors says nothing yet of the work that it gets. A sample has a time and a window.
fn warms_up(subject: &Subject<'_>, (time_ms, window_ms): (i64, i64), now_ms: i64) -> bool {
    let (Some(ready), Some(started_ms)) = (subject.ready, subject.started_ms) else { return true };
    if started_ms.saturating_add(INITIALIZATION_MS) > now_ms {
        return ready.denied || time_ms < ready.since_ms.saturating_add(window_ms);
    }
    ready.denied && started_ms.saturating_add(READINESS_DELAY_MS) > ready.since_ms
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{
        super::{ContainerSample, PodSample, Samples},
        *,
    };
    use crate::{
        kind::Kind,
        object::{Document, Object, ObjectKey, rfc3339},
    };

    /// Some whole second.
    const NOW: i64 = 1_767_225_600_000;
    const MINUTE: i64 = 60_000;

    /// A pod that runs since then, and whose readiness is so since then.
    fn running(started_ms: i64, ready: &str, since_ms: i64) -> Value {
        json!({"phase": "Running", "startTime": rfc3339(started_ms),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(since_ms)}]})
    }

    /// In which group a pod is that was measured just now, over 15 s.
    fn place(status: &Value, resource: &str, deleting: bool, known: bool) -> &'static str {
        let mut metadata = json!({"name": "p", "uid": "u"});
        if deleting {
            metadata["deletionTimestamp"] = rfc3339(NOW).into();
        }
        let document = Document::from_value(json!({"metadata": metadata, "spec": {}, "status": status}));
        let pod = Arc::new(Object::new(ObjectKey::new(Kind::POD, "default", "p"), 1, document));
        let containers = vec![ContainerSample::new("c", 1_000_000, 1024)];
        let sample = PodSample { time_ms: NOW, window_ms: 15_000, containers };
        let samples: Samples = [("u".into(), sample)].into_iter().filter(|_| known).collect();
        let groups = group(&[Subject::new(&pod, &samples)], resource, "", NOW);
        match (groups.used.len(), groups.unready.len(), groups.missing.len()) {
            (1, 0, 0) => "used",
            (0, 1, 0) => "unready",
            (0, 0, 1) => "missing",
            _ => "none",
        }
    }

    #[test]
    fn pods_count_once_they_work() {
        let old = NOW - 10 * MINUTE;
        let young = NOW - 2 * MINUTE;
        for (status, expected) in [
            (json!({"phase": "Pending"}), "unready"),
            (json!({"phase": "Failed"}), "none"),
            (json!({"phase": "Running"}), "unready"),
            (json!({"phase": "Running", "startTime": rfc3339(old)}), "unready"),
            // In the first minutes: while it is ready, and only what was measured since.
            (running(young, "True", young), "used"),
            (running(young, "True", NOW - 15_000), "used"),
            (running(young, "True", NOW - 14_000), "unready"),
            (running(young, "False", young), "unready"),
            // Later: unless it never was ready.
            (running(old, "True", NOW - 1000), "used"),
            (running(old, "False", NOW - 1000), "used"),
            (running(old, "False", old + 30_000), "used"),
            (running(old, "False", old + 29_000), "unready"),
            (running(old, "Unknown", old), "used"),
        ] {
            assert_eq!(place(&status, "cpu", false, true), expected, "{status}");
        }
        let new = running(NOW, "False", NOW);
        assert_eq!(place(&new, "memory", false, true), "used", "what it holds counts at once");
        assert_eq!(place(&running(old, "True", old), "cpu", false, false), "missing");
        assert_eq!(place(&running(old, "True", old), "nvidia.com/gpu", false, true), "missing");
        assert_eq!(place(&running(old, "True", old), "cpu", true, true), "none");
        assert_eq!(place(&json!({"phase": "Pending"}), "memory", false, false), "unready");
    }
}
