//! Generic ephemeral volumes: the claims that are made for a pod from the templates of its volumes, and go with it, for it owns them.
//!
//! Source: Kubernetes' `pkg/controller/volume/ephemeral`.

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    kinds::storage::claim_of_pod,
    limits,
    object::{Object, ObjectKey, own_claim},
    quota,
    turn::Turn,
};

/// The component in events.
const COMPONENT: &str = "ephemeral_volume";

/// Makes the claims that are missing, or says why one cannot be.
pub(super) fn make(turn: &mut Turn, me: &Object) {
    let has_any = me.pod().is_some_and(|pod| !pod.own_claims.is_empty() && !pod.terminal());
    if !has_any || me.meta.deleting() {
        return;
    }
    let spec = me.document.spec_value();
    for volume in spec["volumes"].as_array().into_iter().flatten().filter(|v| v["ephemeral"].is_object()) {
        if let Err(why) = make_one(turn, me, volume) {
            let message = format!("ephemeral volume {}: {why}", volume["name"].as_str().unwrap_or_default());
            turn.event(me, "Warning", "FailedBinding", message, COMPONENT);
        }
    }
}

fn make_one(turn: &mut Turn, me: &Object, volume: &Value) -> Result<(), String> {
    let name = own_claim(&me.key.name, volume["name"].as_str().unwrap_or_default());
    if let Some(claim) = claim_of_pod(turn.state(), me, &name) {
        return match foreign(me, claim) {
            Some(why) => Err(why),
            None => Ok(()),
        };
    }
    let template = &volume["ephemeral"]["volumeClaimTemplate"];
    let mut metadata = json!({"name": name, "namespace": me.key.namespace,
        "ownerReferences": [Turn::controller_reference(me)]});
    for key in ["labels", "annotations"] {
        if let Some(given) = template["metadata"].get(key).filter(|given| given.is_object()) {
            metadata[key] = given.clone();
        }
    }
    let mut value = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
    let key = ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &me.key.namespace, &name);
    let admitted = limits::admit(turn.state(), &key, &mut value);
    admitted.and_then(|()| quota::admit_value(turn, &key, &value)).map_err(|why| {
        format!("create PVC {name}: persistentvolumeclaims {:?} is forbidden: {why}", name.as_str())
    })?;
    turn.create(Kind::PERSISTENT_VOLUME_CLAIM, value);
    Ok(())
}

/// Why a claim that has the name of one of a pod's own is none of its; nothing if it is.
pub(crate) fn foreign(pod: &Object, claim: &Object) -> Option<String> {
    let is_its = claim.meta.controller().is_some_and(|owner| owner.uid == pod.meta.uid);
    (!is_its).then(|| {
        let (namespace, claim, pod) = (&claim.key.namespace, &claim.key.name, &pod.key.name);
        format!("PVC {namespace}/{claim} was not created for pod {namespace}/{pod} (pod is not owner)")
    })
}
