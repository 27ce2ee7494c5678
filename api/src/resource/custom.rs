//! Custom resources on the road of all kinds: what a new one begins with, what an update may change, what is checked.

use serde_json::Value;

use super::{
    display_name,
    field::Errors,
    metadata::{self, metadata_of},
    names::NameRule,
    restore,
};
use crate::{
    custom::{Version, at},
    resource::fields::number,
    status::Status,
};

/// Makes a client's document a new object.
pub(super) fn create(version: &Version, object: &mut Value, namespace: &str) -> Result<(), Status> {
    metadata::prepare_create(object, version.kind, namespace);
    if version.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    version.complete(object);
    metadata_of(object).insert("generation".into(), 1.into());
    let mut errors = Errors::default();
    check(version, object, None, &mut errors);
    errors.into_result(version.kind, display_name(object))
}

/// Makes a client's document an update: all of it but the metadata counts as what is asked for, the status too if it is not written apart.
pub(super) fn update(version: &Version, object: &mut Value, old: &Value) -> Result<(), Status> {
    metadata::prepare_update(object, old);
    if version.status {
        restore(object, old, "status");
    }
    version.complete(object);
    if !asks_same(object, old) {
        let next = number(&old["metadata"], "generation") + 1;
        metadata_of(object).insert("generation".into(), next.into());
    }
    let mut errors = Errors::default();
    check(version, object, Some(old), &mut errors);
    metadata::validate_update(object, old, &mut errors);
    errors.into_result(version.kind, display_name(old))
}

/// Makes a client's document an update of the status: everything else is put back.
pub(super) fn status(version: &Version, object: &mut Value, old: &Value) -> Result<(), Status> {
    let told = object.get("status").cloned();
    *object = old.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        map.extend(told.map(|status| ("status".to_owned(), status)));
    }
    version.complete(object);
    let mut errors = Errors::default();
    version.check_status(object, old, &mut errors);
    errors.into_result(version.kind, display_name(old))
}

/// Whether two versions of an object are the same but for their metadata.
fn asks_same(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    a.len() == b.len() && a.iter().all(|(key, value)| key == "metadata" || b.get(key) == Some(value))
}

fn check(version: &Version, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    metadata::validate(object, version.kind.info().namespaced, NameRule::Subdomain, errors);
    version.check(object, old, errors);
    if let Some(scale) = &version.scale {
        let replicas = at(object, &scale.spec);
        let path = format!(".{}", scale.spec.join("."));
        match replicas.as_i64() {
            Some(count) if count < 0 => errors.invalid(&path, replicas, "should be a non-negative integer"),
            Some(count) if count > i64::from(i32::MAX) => {
                errors.invalid(&path, replicas, "should be less than or equal to 2147483647");
            }
            _ => {}
        }
    }
}
