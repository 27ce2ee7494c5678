//! Claims that ask for more: whether they may, and how volumes grow.

use serde_json::json;

use super::{Class, volume_named};
use crate::{
    input::Rejection,
    kind::Kind,
    object::{ClaimDigest, Document, Object, ObjectKey, storage::LOCAL_PATH},
    quantity,
    turn::Turn,
};

/// Refuses an update by which a bound claim asks for more than its class lets it have, or for less than it has.
pub(crate) fn admit(turn: &Turn, old: &Object, new: &Document) -> Result<(), Rejection> {
    let Some(claim) = old.claim().filter(|_| old.key.kind == Kind::PERSISTENT_VOLUME_CLAIM) else {
        return Ok(());
    };
    let spec = new.spec_value();
    let asked = quantity::wide_of(&spec["resources"]["requests"]["storage"]).unwrap_or(0);
    if asked == claim.request || claim.volume.is_empty() {
        return Ok(());
    }
    if asked < claim.request {
        let has = quantity::wide_of(&old.document.status_value()["capacity"]["storage"]).unwrap_or(0);
        if asked < has {
            let why = "field can not be less than status.capacity".to_owned();
            let field = "spec.resources.requests.storage".to_owned();
            return Err(Rejection::Invalid(old.key.clone(), field, format!("Forbidden: {why}")));
        }
        return Ok(());
    }
    let class = claim.class.as_deref().and_then(|name| Class::named(turn.state(), name));
    if class.is_some_and(|class| class.may_grow) {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(Rejection::Forbidden(old.key.clone(), why.into()))
}

/// A folder is as large as its claim asks for: it has no bound of its own. Other volumes grow by whoever made them.
pub(super) fn grow(turn: &mut Turn, me: &Object, claim: &ClaimDigest, volume: &Object) {
    let grows = volume.volume().is_some_and(|v| v.driver == LOCAL_PATH && v.capacity < claim.request);
    if !grows || volume_named(turn.state(), &claim.volume).is_none() {
        return;
    }
    let asked = me.document.spec_value()["resources"]["requests"]["storage"].clone();
    let key = ObjectKey::new(Kind::PERSISTENT_VOLUME, "", &claim.volume);
    turn.edit_spec(&key, |spec| spec["capacity"] = json!({"storage": asked}));
}
