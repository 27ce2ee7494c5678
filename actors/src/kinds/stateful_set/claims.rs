//! The claims of a set's pods: made with a pod, kept when it goes, unless the set says otherwise.

use serde_json::{Value, json};

use super::{
    COMPONENT,
    identity::{claim_name, claim_templates, in_range, name},
};
use crate::{
    kind::Kind,
    limits,
    object::{Object, ObjectKey, StatefulSetDigest},
    quota,
    turn::Turn,
};

/// Makes the claims of a pod that are missing, or says why one cannot be.
pub(super) fn make(
    turn: &mut Turn,
    me: &Object,
    spec: &StatefulSetDigest,
    ordinal: i64,
) -> Result<(), String> {
    for template in claim_templates(me) {
        let claim = claim_name(me, ordinal, &template);
        if turn.state().get(&key(me, &claim)).is_some() {
            continue;
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
        let (set, pod) = (&me.key.name, name(me, ordinal));
        let own = key(me, &claim);
        let admitted = limits::admit(turn.state(), &own, &mut value);
        if let Err(why) = admitted.and_then(|()| quota::admit_value(turn, &own, &value)) {
            return Err(format!(
                "create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: persistentvolumeclaims {claim:?} is \
                 forbidden: {why}"
            ));
        }
        if turn.create(Kind::PERSISTENT_VOLUME_CLAIM, value).is_some() {
            let message = format!("create Claim {claim} Pod {pod} in StatefulSet {set} success");
            turn.event(me, "Normal", "SuccessfulCreate", message, COMPONENT);
        }
    }
    Ok(())
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
