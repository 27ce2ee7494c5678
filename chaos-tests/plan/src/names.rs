//! What the numbers of a plan are called in the cluster, the same in every layer, so that checkers and reports can tell what is
//! what. Keys in histories are `resource/namespace/name`: `configmaps/default/r7`.

use kontiki_actors::{Document, Kind, Object, ObjectKey};
use serde_json::{Value, json};

/// Where all namespaced things of a plan are, but those of `Op::Namespace`.
pub const NAMESPACE: &str = "default";
/// All registers have keys that begin so.
pub const REGISTERS: &str = "configmaps/default/r";
/// The finalizer of `Op::Finalize`.
pub const FINALIZER: &str = "chaos.kontiki.io/hold";
/// The taint of `Op::Taint`.
pub const TAINT: &str = "chaos.kontiki.io/tainted";

/// A controller, from 0.
pub fn controller(n: u32) -> String {
    format!("controller-{n}")
}

/// A worker and its node, from 0.
pub fn worker(n: u32) -> String {
    format!("worker-{n}")
}

/// A zone, from 0.
pub fn zone(n: u32) -> String {
    format!("zone-{n}")
}

/// A register: a ConfigMap.
pub fn register(key: u32) -> ObjectKey {
    ObjectKey::new(Kind::CONFIG_MAP, NAMESPACE, &format!("r{key}"))
}

/// The object that `Op::Finalize` makes: a ConfigMap.
pub fn finalized(key: u32) -> ObjectKey {
    ObjectKey::new(Kind::CONFIG_MAP, NAMESPACE, &format!("f{key}"))
}

/// A Deployment.
pub fn deployment(n: u32) -> ObjectKey {
    ObjectKey::new(Kind::DEPLOYMENT, NAMESPACE, &format!("d{n}"))
}

/// A StatefulSet.
pub fn stateful_set(n: u32) -> ObjectKey {
    ObjectKey::new(Kind::STATEFUL_SET, NAMESPACE, &format!("s{n}"))
}

/// A Job.
pub fn job(n: u32) -> ObjectKey {
    ObjectKey::new(Kind::JOB, NAMESPACE, &format!("j{n}"))
}

/// A bare pod.
pub fn pod(n: u32) -> ObjectKey {
    ObjectKey::new(Kind::POD, NAMESPACE, &format!("p{n}"))
}

/// A namespace of `Op::Namespace`.
pub fn namespace(n: u32) -> ObjectKey {
    ObjectKey::new(Kind::NAMESPACE, "", &format!("n{n}"))
}

/// A key as histories write it.
pub fn text(key: &ObjectKey) -> String {
    format!("{}/{}/{}", key.kind.info().plural, key.namespace, key.name)
}

/// A register's JSON. The value stands in its data under `value`.
pub fn register_json(key: &ObjectKey, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "data": {"value": value},
    })
}

/// The value in a register's JSON; empty for what is no register.
pub fn value_of_json(object: &Value) -> String {
    object["data"]["value"].as_str().unwrap_or_default().to_string()
}

/// The value in a register's document; empty for what is no register.
pub fn value_of(document: &Document) -> String {
    value_of_json(&document.rest_value())
}

/// A register as histories write it: key, value, revision.
pub fn item(object: &Object) -> (String, String, u64) {
    (text(&object.key), value_of(&object.document.whole()), object.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_gives_its_value_back() {
        let key = register(7);
        let document = Document::from_value(register_json(&key, "c1-4"));
        let object = Object::new(key, 9, document);
        assert_eq!(item(&object), ("configmaps/default/r7".into(), "c1-4".into(), 9));
        assert!(text(&object.key).starts_with(REGISTERS));
        assert!(!text(&finalized(7)).starts_with(REGISTERS));
        assert_eq!(value_of(&Document::default()), "");
    }
}
