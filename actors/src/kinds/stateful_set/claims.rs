//! The claims of a set's pods: made with a pod, kept when it goes, unless the set says otherwise.

use serde_json::{Value, json};

use super::{
    COMPONENT,
    identity::{claim_name, claim_templates, in_range, name},
};
use crate::{
    candidates::{self, Made},
    kind::Kind,
    limits,
    object::{Object, ObjectKey, StatefulSetDigest},
    quota,
    turn::Turn,
};

/// Whether a pod has its claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claims {
    /// All of them.
    There,
    /// Somebody is being asked about some.
    Asked,
    /// One was refused a moment ago: the next is asked for at this time, if nothing else comes before.
    Refused(Option<i64>),
}

/// Makes the claims of a pod that are missing, or says why one cannot be.
pub(super) fn make(
    turn: &mut Turn,
    me: &Object,
    spec: &StatefulSetDigest,
    ordinal: i64,
) -> Result<Claims, String> {
    let mut claims = Claims::There;
    for template in claim_templates(me) {
        let claim = claim_name(me, ordinal, &template);
        if turn.state().get(&key(me, &claim)).is_some() {
            continue;
        }
        if candidates::named(turn, me, Kind::PERSISTENT_VOLUME_CLAIM, &claim).is_some() {
            claims = Claims::Asked;
            continue;
        }
        let leave = candidates::leave(turn, me, Kind::PERSISTENT_VOLUME_CLAIM, 1);
        if leave.most == 0 {
            return Ok(Claims::Refused(leave.wake));
        }
        let mut labels = template["metadata"]["labels"].clone();
        if !labels.is_object() {
            labels = json!({});
        }
        let set = me.document.spec_value();
        for (label, value) in set["selector"]["matchLabels"].as_object().into_iter().flatten() {
            labels[label.as_str()] = value.clone();
        }
        let mut metadata = json!({"name": claim, "namespace": me.key.namespace, "labels": labels});
        if let Some(annotations) = template["metadata"].get("annotations").filter(|a| a.is_object()) {
            metadata["annotations"] = annotations.clone();
        }
        if spec.claims_go_with_set {
            metadata["ownerReferences"] = json!([Turn::controller_reference(me)]);
        }
        let mut value =
            json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
        let own = key(me, &claim);
        let admitted = limits::admit(turn.state(), &own, &mut value);
        if let Err(why) = admitted.and_then(|()| quota::admit_value(turn, &own, &value)) {
            return Err(not_made(
                me,
                &claim,
                &format!("persistentvolumeclaims {claim:?} is forbidden: {why}"),
            ));
        }
        match candidates::make(turn, me, Kind::PERSISTENT_VOLUME_CLAIM, value) {
            Made::There(_) => told_made(turn, me, &claim),
            Made::Waits => claims = Claims::Asked,
            Made::Taken => {}
        }
    }
    Ok(claims)
}

/// The ordinal of the pod that a claim of the set is for.
fn ordinal_of(me: &Object, claim: &str) -> Option<i64> {
    let ordinal = claim.rsplit_once('-')?.1.parse().ok()?;
    let of = |template: &Value| claim_name(me, ordinal, template) == claim;
    claim_templates(me).iter().any(of).then_some(ordinal)
}

/// The name of that pod.
fn pod_of(me: &Object, claim: &str) -> String {
    ordinal_of(me, claim).map(|ordinal| name(me, ordinal)).unwrap_or_default()
}

/// Says that a claim was made.
pub(crate) fn told_made(turn: &mut Turn, me: &Object, claim: &str) {
    let (set, pod) = (&me.key.name, pod_of(me, claim));
    let message = format!("create Claim {claim} Pod {pod} in StatefulSet {set} success");
    turn.event(me, "Normal", "SuccessfulCreate", message, COMPONENT);
}

fn not_made(me: &Object, claim: &str, why: &str) -> String {
    let (set, pod) = (&me.key.name, pod_of(me, claim));
    format!("create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {why}")
}

/// Says that somebody who was asked about a claim refused it.
pub(crate) fn told_refused(turn: &mut Turn, me: &Object, claim: &str, why: &str) {
    turn.event(me, "Warning", "FailedCreate", not_made(me, claim, why), COMPONENT);
}

/// Of the claims that wait to be admitted those go that are for pods of a set that was larger.
pub(super) fn keep_candidates(turn: &mut Turn, me: &Object, spec: &StatefulSetDigest) {
    let kind = Kind::PERSISTENT_VOLUME_CLAIM;
    for candidate in candidates::of(turn, me, kind) {
        let claim = candidates::name(&candidate.key, kind).unwrap_or_default();
        if !ordinal_of(me, claim).is_some_and(|ordinal| in_range(spec, ordinal)) {
            turn.remove(&candidate.key);
        }
    }
}

/// Whether a claim of a pod that is not there is still about to go with the one that was.
pub(super) fn are_stale(turn: &Turn, me: &Object, ordinal: i64) -> bool {
    let pod = name(me, ordinal);
    claim_templates(me).iter().any(|template| {
        let claim = turn.state().get(&key(me, &claim_name(me, ordinal, template)));
        claim.is_some_and(|claim| claim.meta.owners.iter().any(|o| o.kind == "Pod" && o.name == pod))
    })
}

/// Says by owner references with what a pod's claims go: the set, the pod when the set has become too small for it, or nothing.
pub(super) fn hold(turn: &mut Turn, me: &Object, spec: &StatefulSetDigest, ordinal: i64, pod: &Object) {
    for template in claim_templates(me) {
        let key = key(me, &claim_name(me, ordinal, &template));
        let Some(claim) = turn.state().get(&key).cloned() else { continue };
        let owner = match (spec.claims_go_with_pod && !in_range(spec, ordinal), spec.claims_go_with_set) {
            (true, _) => Some(pod),
            (false, true) => Some(me),
            (false, false) => None,
        };
        let ours = |kind: &str, uid: &str| uid == me.meta.uid || (kind == "Pod" && uid == pod.meta.uid);
        let held: Vec<&str> =
            claim.meta.owners.iter().filter(|o| ours(&o.kind, &o.uid)).map(|o| o.uid.as_str()).collect();
        if held == owner.map(|owner| owner.meta.uid.as_str()).into_iter().collect::<Vec<_>>() {
            continue;
        }
        let reference = owner.map(Turn::controller_reference);
        turn.edit_metadata(&key, |meta| {
            let list = meta.entry("ownerReferences").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
                list.retain(|r| !ours(&text(&r["kind"]), &text(&r["uid"])));
                list.extend(reference);
                if list.is_empty() {
                    meta.remove("ownerReferences");
                }
            }
        });
    }
}

fn key(me: &Object, claim: &str) -> ObjectKey {
    ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &me.key.namespace, claim)
}
