//! Volumes: a pod has no place before its claims are bound, and nothing binds them for it.

use super::{Placement, view::View};
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
};

/// What is said of a pod that waits for one of its claims; none for one that waits for none.
pub(super) fn waits(view: &View<'_>, pod: &Object) -> Option<Placement> {
    let missing = pod.pod()?.claims.iter().find_map(|name| {
        let key = ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &pod.key.namespace, name);
        match view.state.get(&key) {
            Some(claim) if claim.document.status_value()["phase"] == "Bound" => None,
            Some(_) => Some("pod has unbound immediate PersistentVolumeClaims".to_owned()),
            None => Some(format!("persistentvolumeclaim {name:?} not found")),
        }
    })?;
    let message = format!("0/{} nodes are available: {missing}.", view.nodes.len());
    Some(Placement { pod: pod.key.clone(), node: Err(message), preemption: None })
}
