//! Jobs, as data: none is run yet.

use serde_json::{Value, json};

use crate::object::Document;

const UID: &str = "batch.kubernetes.io/controller-uid";

/// Completes a new job: its pods are those with its uid, unless its maker says which they are. It can only be done where
/// the uid and the name are given.
pub fn select_own_pods(document: Document) -> Document {
    let (metadata, mut spec) = (document.metadata_value(), document.spec_value());
    if spec["manualSelector"] == true || !spec.is_object() {
        return document;
    }
    let (uid, name) = (&metadata["uid"], &metadata["name"]);
    spec["selector"] = json!({"matchLabels": {UID: uid}});
    let labels = &mut spec["template"]["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    // Under their old names, too: people's selectors still use them.
    for (key, value) in
        [(UID, uid), ("batch.kubernetes.io/job-name", name), ("controller-uid", uid), ("job-name", name)]
    {
        labels[key] = Value::clone(value);
    }
    document.with_spec(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: Value) -> Value {
        let document = json!({"metadata": {"name": "sum", "uid": "u1"}, "spec": spec});
        select_own_pods(Document::from_value(document)).spec_value()
    }

    #[test]
    fn its_pods_are_those_with_its_uid() {
        let spec = made(json!({"template": {"metadata": {"labels": {"app": "sum"}}}}));
        assert_eq!(spec["selector"], json!({"matchLabels": {UID: "u1"}}));
        let labels = &spec["template"]["metadata"]["labels"];
        assert_eq!(
            (&labels["app"], &labels[UID], &labels["job-name"]),
            (&json!("sum"), &json!("u1"), &json!("sum"))
        );
    }

    #[test]
    fn who_selects_by_hand_is_left_alone() {
        let by_hand =
            json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {}});
        assert_eq!(made(by_hand.clone()), by_hand);
    }
}
