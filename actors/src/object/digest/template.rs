//! What a pod template says, as a fingerprint: two templates are the same when theirs are, however they are written.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::{Map, Value};

use crate::{kinds::pod, quantity};

/// The label by which the replica sets of a deployment tell their pods apart.
pub const HASH_LABEL: &str = "pod-template-hash";
/// The letters of a template hash: no vowels, so no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them a hash has.
const HASH_LENGTH: usize = 10;

/// A digest over what a template means: with what its pods are given beside it, and without the hash label, empty fields, and ways to
/// write a quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a template.
    pub fn of(template: &Value) -> Fingerprint {
        let mut plain = template.clone();
        if let Some(labels) = plain.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        // Older builds stored it with templates. Where it is told anew without, the pods are the same, and need not be made anew.
        if let Some(spec) = plain.get_mut("spec") {
            pod::complete(spec);
        }
        let mut hasher = blake3::Hasher::new();
        feed(&mut hasher, &plain, false);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Fingerprint(short)
    }

    /// The hash in names and labels. Counts of collisions give other ones.
    pub fn hash(&self, collisions: i64) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        if collisions > 0 {
            hasher.update(&collisions.to_le_bytes());
        }
        hasher.finalize().as_bytes()[..HASH_LENGTH]
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }
}

/// The labels of a template.
pub fn labels(template: &Value) -> BTreeMap<CompactString, CompactString> {
    let labels = template.pointer("/metadata/labels").and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(k, v)| Some((k.as_str().into(), v.as_str()?.into()))).collect()
}

/// Whether a field says nothing: null, or a list or map of metadata without content.
fn says_nothing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => {
            map.is_empty()
                && matches!(
                    key,
                    "metadata" | "labels" | "annotations" | "nodeSelector" | "requests" | "limits"
                )
        }
        _ => false,
    }
}

fn feed(hasher: &mut blake3::Hasher, value: &Value, quantities: bool) {
    match value {
        Value::Object(map) => feed_map(hasher, map, quantities),
        Value::Array(list) => {
            hasher.update(b"[");
            for item in list {
                feed(hasher, item, false);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        other => {
            match quantity::milli_of(other).filter(|_| quantities) {
                Some(milli) => hasher.update(&milli.to_le_bytes()),
                None => hasher.update(other.to_string().as_bytes()),
            };
        }
    }
}

fn feed_map(hasher: &mut blake3::Hasher, map: &Map<String, Value>, quantities: bool) {
    // Sorted here, so that the result does not depend on how the JSON library keeps maps.
    let mut fields: Vec<(&String, &Value)> = map.iter().filter(|(k, v)| !says_nothing(k, v)).collect();
    fields.sort_by_key(|(key, _)| *key);
    hasher.update(b"{");
    for (key, value) in fields {
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key.as_bytes());
        feed(hasher, value, quantities || matches!(key.as_str(), "requests" | "limits"));
        hasher.update(b",");
    }
    hasher.update(b"}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_compared_by_meaning() {
        let template = |labels: Value, cpu: &str| {
            json!({"metadata": {"creationTimestamp": null, "labels": labels},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
        };
        let one = Fingerprint::of(&template(json!({"a": "1"}), "1"));
        assert_eq!(one, Fingerprint::of(&template(json!({"a": "1", HASH_LABEL: "x"}), "1000m")));
        assert_ne!(one, Fingerprint::of(&template(json!({"a": "2"}), "1")));
        assert_ne!(one, Fingerprint::of(&template(json!({"a": "1"}), "2")));
        assert_eq!(one.hash(0), one.hash(0));
        assert_ne!(one.hash(0), one.hash(1));
        assert_eq!(one.hash(0).len(), HASH_LENGTH);
    }

    #[test]
    fn what_pods_are_given_anyway_is_no_difference() {
        let template =
            |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let told = |limit: &str| Fingerprint::of(&template(json!({"limits": {"cpu": limit}})));
        let mut stored = template(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}));
        stored["spec"]["enableServiceLinks"] = true.into();
        assert_eq!(told("1"), Fingerprint::of(&stored));
        assert_ne!(told("2"), Fingerprint::of(&stored));
        stored["spec"]["enableServiceLinks"] = false.into();
        assert_ne!(told("1"), Fingerprint::of(&stored));
    }

    #[test]
    fn an_empty_volume_is_not_a_missing_one() {
        let with = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let without = json!({"spec": {"volumes": [{"name": "v"}]}});
        assert_ne!(Fingerprint::of(&with), Fingerprint::of(&without));
    }
}
