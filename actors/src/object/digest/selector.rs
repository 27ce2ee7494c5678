//! Label selectors and node selector terms, as objects carry them.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::Value;

/// A LabelSelector: all of it must hold. An empty one matches everything, [`Selector::nothing`] nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One requirement on a label.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: CompactString,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    pub operator: CompactString,
    /// Its values.
    pub values: Vec<CompactString>,
}

/// A node selector term: requirements on labels and on fields (`metadata.name`). An empty term matches no node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SelectorTerm {
    /// On the node's labels.
    pub expressions: Vec<Requirement>,
    /// On `metadata.name`.
    pub fields: Vec<Requirement>,
}

fn requirements(list: &Value) -> Vec<Requirement> {
    let text = |v: &Value| CompactString::from(v.as_str().unwrap_or_default());
    list.as_array()
        .into_iter()
        .flatten()
        .map(|r| Requirement {
            key: text(&r["key"]),
            operator: text(&r["operator"]),
            values: r["values"].as_array().into_iter().flatten().map(text).collect(),
        })
        .collect()
}

impl Selector {
    /// Reads a LabelSelector object.
    pub fn of(value: &Value) -> Selector {
        let mut all = requirements(&value["matchExpressions"]);
        for (key, v) in value["matchLabels"].as_object().into_iter().flatten() {
            all.push(Requirement {
                key: key.as_str().into(),
                operator: "In".into(),
                values: vec![v.as_str().unwrap_or_default().into()],
            });
        }
        all.sort();
        Selector { requirements: all, nothing: false }
    }

    /// Labels that must all be equal.
    pub fn of_labels(labels: &BTreeMap<CompactString, CompactString>) -> Selector {
        let requirements = labels
            .iter()
            .map(|(k, v)| Requirement { key: k.clone(), operator: "In".into(), values: vec![v.clone()] })
            .collect();
        Selector { requirements, nothing: false }
    }

    /// All of these.
    pub(crate) fn all_of(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort();
        Selector { requirements, nothing: false }
    }

    /// The same with requirements more, on labels that a pod has itself: another pod's must be equal to them, or differ in each. Keys
    /// that the pod does not have require nothing.
    pub(super) fn and_own(
        mut self,
        equal: &[CompactString],
        unequal: &[CompactString],
        own: &BTreeMap<CompactString, CompactString>,
    ) -> Selector {
        for (keys, operator) in [(equal, "In"), (unequal, "NotIn")] {
            self.requirements.extend(keys.iter().filter_map(|key| {
                let values = vec![own.get(key)?.clone()];
                Some(Requirement { key: key.clone(), operator: operator.into(), values })
            }));
        }
        self.requirements.sort();
        self
    }

    /// Matches nothing: an absent selector.
    pub fn nothing() -> Selector {
        Selector { requirements: Vec::new(), nothing: true }
    }

    /// Whether these labels match.
    pub fn matches(&self, labels: &BTreeMap<CompactString, CompactString>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Its requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it has no requirement (and so matches everything, or nothing if it is absent).
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    /// Whether these labels meet it. As in Kubernetes, `NotIn` is met by a missing label.
    pub fn matches(&self, labels: &BTreeMap<CompactString, CompactString>) -> bool {
        self.matches_value(labels.get(&self.key))
    }

    fn matches_value(&self, value: Option<&CompactString>) -> bool {
        let number = |v: &str| v.parse::<i64>().ok();
        match self.operator.as_str() {
            "In" => value.is_some_and(|v| self.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !self.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" | "Lt" => {
                let bound = self.values.first().and_then(|v| number(v));
                match (value.and_then(|v| number(v)), bound) {
                    (Some(v), Some(bound)) => {
                        (self.operator == "Gt" && v > bound) || (self.operator == "Lt" && v < bound)
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl SelectorTerm {
    /// Reads a NodeSelectorTerm.
    pub fn of(value: &Value) -> SelectorTerm {
        SelectorTerm {
            expressions: requirements(&value["matchExpressions"]),
            fields: requirements(&value["matchFields"]),
        }
    }

    /// Whether a node of this name and these labels matches.
    pub fn matches(&self, name: &str, labels: &BTreeMap<CompactString, CompactString>) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        let name = CompactString::from(name);
        self.expressions.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|r| r.key == "metadata.name" && r.matches_value(Some(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels: BTreeMap<CompactString, CompactString> = [("a".into(), "1".into())].into();
        let selector = |v| Selector::of(&v);
        assert!(selector(json!({})).matches(&labels));
        assert!(selector(json!({"matchLabels": {"a": "1"}})).matches(&labels));
        assert!(!selector(json!({"matchLabels": {"a": "2"}})).matches(&labels));
        let not_in = json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["x"]}]});
        assert!(selector(not_in).matches(&labels));
        assert!(
            !selector(json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]})).matches(&labels)
        );
        assert!(!Selector::nothing().matches(&labels));
        assert!(!SelectorTerm::default().matches("n", &labels));
    }
}
