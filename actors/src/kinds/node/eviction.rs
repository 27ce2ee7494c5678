//! Pods leave a node whose NoExecute taints they do not bear: at once, or when their patience ends.

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};

use super::life;
use crate::{
    input::DeleteOptions,
    kinds::pod,
    object::{Object, PodDigest, Taint, Toleration, parse_time_ms},
    scheduling::tolerated,
    turn::Turn,
};

/// Who events and disruptions are from.
const COMPONENT: &str = "taint-eviction-controller";

/// When a pod has to go.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leave {
    Never,
    At(i64),
}

/// Sends away the pods that have to go by now, and wakes the node for the next of the others.
pub(super) fn evict(turn: &mut Turn, me: &Object) {
    let taints: Vec<Taint> =
        me.node().into_iter().flat_map(|n| &n.taints).filter(|t| t.effect == "NoExecute").cloned().collect();
    let lost = life::was_down(me);
    let mut next: Option<i64> = None;
    if !taints.is_empty() {
        let (now_ms, now) = (turn.now_ms(), turn.now());
        let pods: Vec<Arc<Object>> = turn.state().pods_on(&me.key.name).cloned().collect();
        for object in pods {
            let Some(digest) = object.pod().filter(|p| !p.terminal()) else { continue };
            let leave = if object.meta.deleting() { Leave::Never } else { leave(&taints, digest, now_ms) };
            let goes = matches!(leave, Leave::At(at) if at <= now_ms);
            if !goes && let Leave::At(at) = leave {
                next = Some(next.map_or(at, |n| n.min(at)));
            }
            let marks = lost && digest.ready;
            if !goes && !marks {
                continue;
            }
            if turn.full() {
                next = Some(now_ms);
                break;
            }
            let mut status = object.document.status_value();
            if lost {
                // It may run on, but nobody can tell: it counts as not ready whether it stays or goes.
                pod::not_ready(&mut status, &now);
            }
            if !goes {
                turn.put_status(&object, status);
                continue;
            }
            if lost {
                status["reason"] = "NodeLost".into();
                status["message"] =
                    format!("Node {} which was running pod {} is unresponsive", me.key.name, object.key.name)
                        .into();
            }
            let message = "Taint manager: deleting due to NoExecute taint";
            pod::disrupted(&mut status, "DeletionByTaintManager", message, &now);
            turn.put_status(&object, status);
            let message = format!("Marking for deletion Pod {}/{}", object.key.namespace, object.key.name);
            turn.event(&object, "Normal", "TaintManagerEviction", message, COMPONENT);
            let exclusive = object.meta.controller().is_some_and(|owner| owner.kind == "StatefulSet");
            if lost && exclusive && planted(Defect::IdentityNotFenced) {
                pod::remove(turn, &object);
                continue;
            }
            // It exists and there are no preconditions, so this is not refused.
            let _ = turn.delete(&object.key, &DeleteOptions::default());
        }
    }
    turn.wake(&me.key, next);
}

/// When a pod has to leave: at once if it does not bear one of the taints, else at the end of the shortest patience.
fn leave(taints: &[Taint], pod: &PodDigest, now_ms: i64) -> Leave {
    let mut earliest: Option<i64> = None;
    for taint in taints {
        let bearing: Vec<&Toleration> =
            pod.tolerations.iter().filter(|t| tolerated(std::slice::from_ref(t), taint)).collect();
        if bearing.is_empty() {
            return Leave::At(now_ms);
        }
        let since = taint.time_added.as_deref().and_then(parse_time_ms).unwrap_or(now_ms);
        let patience = bearing.iter().filter_map(|t| t.toleration_seconds).min();
        if let Some(seconds) = patience {
            let until = since.saturating_add(seconds.max(0).saturating_mul(1000));
            earliest = Some(earliest.map_or(until, |e| e.min(until)));
        }
    }
    earliest.map_or(Leave::Never, Leave::At)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Document;

    fn pod(tolerations: serde_json::Value) -> PodDigest {
        PodDigest::of(&Document::from_value(json!({"spec": {"tolerations": tolerations}})))
    }

    #[test]
    fn patience_counts_from_the_taint() {
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some("1970-01-01T00:00:10Z".into()),
            ..Taint::default()
        };
        let (a, b) = (taint("a"), taint("b"));
        let now = 20_000;
        assert_eq!(leave(std::slice::from_ref(&a), &pod(json!([])), now), Leave::At(now));
        let patient = pod(json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}]));
        assert_eq!(leave(std::slice::from_ref(&a), &patient, now), Leave::At(40_000));
        assert_eq!(
            leave(&[a.clone(), b.clone()], &patient, now),
            Leave::At(now),
            "it does not bear the other"
        );
        let for_ever = pod(json!([{"operator": "Exists"}]));
        assert_eq!(leave(&[a.clone(), b], &for_ever, now), Leave::Never);
        let both =
            pod(json!([{"operator": "Exists"}, {"key": "a", "operator": "Exists", "tolerationSeconds": 5}]));
        assert_eq!(leave(&[a], &both, now), Leave::At(15_000), "the shortest of those that bear it");
    }
}
