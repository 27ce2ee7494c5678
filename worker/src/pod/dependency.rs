//! The ConfigMaps and Secrets that a pod refers to, its claims with their volumes, and its RuntimeClass, as the leader sent them along.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Kind {
    /// As Kubernetes writes it in `configmap "x" not found`.
    pub fn lower(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }

    /// As Kubernetes writes it in `couldn't find key k in ConfigMap ns/x`.
    pub fn proper(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        }
    }
}

/// What a pod refers to, by kind and name; all of it is in the pod's namespace, but for volumes and classes, which are in none.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    objects: BTreeMap<(Kind, String), BTreeMap<String, Vec<u8>>>,
    /// Claims, volumes and classes, as they are.
    whole: BTreeMap<(String, String), Value>,
}

impl Dependencies {
    /// Takes up an object's JSON. What cannot be read counts as absent, and so does a key that cannot.
    pub fn add(&mut self, kind: &str, name: &str, json: &[u8]) {
        let kind = match kind {
            "ConfigMap" => Kind::ConfigMap,
            "Secret" => Kind::Secret,
            "PersistentVolumeClaim" | "PersistentVolume" | "RuntimeClass" => {
                if let Ok(object) = serde_json::from_slice(json) {
                    self.whole.insert((kind.to_owned(), name.to_owned()), object);
                }
                return;
            }
            _ => return,
        };
        let Ok(object) = serde_json::from_slice::<Value>(json) else { return };
        let entries = |field: &str| object.get(field).and_then(Value::as_object).into_iter().flatten();
        let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).ok();
        let plain = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
        let mut data = BTreeMap::new();
        let mut take =
            |key: &str, value: Option<Vec<u8>>| value.map(|value| data.insert(key.to_owned(), value));
        for (key, value) in entries("data") {
            take(key, if kind == Kind::Secret { decoded(value) } else { plain(value) });
        }
        for (key, value) in entries("binaryData") {
            take(key, decoded(value));
        }
        for (key, value) in entries("stringData") {
            take(key, plain(value));
        }
        self.objects.insert((kind, name.to_owned()), data);
    }

    /// An object's keys and values; none if there is no such object.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&BTreeMap<String, Vec<u8>>> {
        // The lookup key is small and lookups are rare.
        self.objects.get(&(kind, name.to_owned()))
    }

    /// A claim, a volume or a class, whole; none if there is no such object.
    pub fn object(&self, kind: &str, name: &str) -> Option<&Value> {
        self.whole.get(&(kind.to_owned(), name.to_owned()))
    }

    /// One value as text, for an environment.
    pub fn text(&self, kind: Kind, name: &str, key: &str) -> Option<Cow<'_, str>> {
        self.get(kind, name)?.get(key).map(|value| String::from_utf8_lossy(value))
    }
}
