//! What a pod's affinity says: of nodes, and of other pods.

use std::{collections::BTreeMap, sync::Arc};

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Selector, SelectorTerm};

/// Node affinity.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Affinity {
    /// Any of these must match; none given means any node.
    pub required: Option<Vec<SelectorTerm>>,
    /// These add to a node's score.
    pub preferred: Vec<PreferredTerm>,
}

/// A preferred node selector term.
#[derive(Clone, PartialEq, Debug)]
pub struct PreferredTerm {
    /// 1 to 100.
    pub weight: i64,
    /// The term.
    pub term: SelectorTerm,
}

/// Pod affinity and anti-affinity. A pod without any has none of it, so that most digests stay small.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PodAffinity {
    /// In the topology domain of each of these there must be a pod that all of them select.
    pub required: Vec<PodTerm>,
    /// No pod that one of these selects may be in its topology domain.
    pub anti: Vec<PodTerm>,
    /// Each pod that one of these selects draws the pod into its topology domain by the weight: 1 to 100, negative for anti-affinity.
    pub preferred: Vec<(i64, PodTerm)>,
}

/// Selects pods of some namespaces, and says by which node label their nodes make a topology domain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
pub struct PodTerm {
    /// The node label.
    pub topology_key: CompactString,
    /// Selects the pods.
    pub selector: Selector,
    /// Their namespaces, by name; the pod's own if the term names none.
    pub namespaces: Vec<CompactString>,
    /// Their namespaces, by label, besides those that are named.
    pub namespace_selector: Option<Selector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Raw {
    node_affinity: Option<RawNode>,
    pod_affinity: Option<RawPod>,
    pod_anti_affinity: Option<RawPod>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNode {
    required_during_scheduling_ignored_during_execution: Option<Required>,
    preferred_during_scheduling_ignored_during_execution: Vec<RawPreferred>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Required {
    node_selector_terms: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPreferred {
    weight: i64,
    preference: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    required_during_scheduling_ignored_during_execution: Vec<RawTerm>,
    preferred_during_scheduling_ignored_during_execution: Vec<RawWeighted>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawWeighted {
    weight: i64,
    pod_affinity_term: RawTerm,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTerm {
    topology_key: CompactString,
    label_selector: Option<Value>,
    namespaces: Vec<CompactString>,
    namespace_selector: Option<Value>,
    match_label_keys: Vec<CompactString>,
    mismatch_label_keys: Vec<CompactString>,
}

/// What of its own metadata a pod's rules refer to.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Own {
    pub(super) name: CompactString,
    namespace: CompactString,
    pub(super) labels: BTreeMap<CompactString, CompactString>,
}

impl Raw {
    /// What it says of nodes.
    pub(super) fn node(&self) -> Affinity {
        let Some(raw) = &self.node_affinity else { return Affinity::default() };
        let required = raw.required_during_scheduling_ignored_during_execution.as_ref();
        let preferred = raw.preferred_during_scheduling_ignored_during_execution.iter();
        Affinity {
            required: required.map(|r| r.node_selector_terms.iter().map(SelectorTerm::of).collect()),
            preferred: preferred
                .map(|p| PreferredTerm { weight: p.weight, term: SelectorTerm::of(&p.preference) })
                .collect(),
        }
    }

    /// What it says of other pods, if anything. The pod's own metadata is asked for when there is something.
    pub(super) fn pods<'a>(&self, own: impl FnOnce() -> &'a Own) -> Option<Arc<PodAffinity>> {
        let (with, without) = (self.pod_affinity.as_ref(), self.pod_anti_affinity.as_ref());
        with.or(without)?;
        let own = own();
        let terms = |raw: Option<&RawPod>| {
            let list = raw.into_iter().flat_map(|r| &r.required_during_scheduling_ignored_during_execution);
            list.map(|term| term.read(own)).collect::<Vec<PodTerm>>()
        };
        let weighted = |raw: Option<&RawPod>, sign: i64| {
            let list = raw.into_iter().flat_map(|r| &r.preferred_during_scheduling_ignored_during_execution);
            list.map(|p| (sign * p.weight, p.pod_affinity_term.read(own))).collect::<Vec<_>>()
        };
        let preferred = [weighted(with, 1), weighted(without, -1)].concat();
        let affinity = PodAffinity { required: terms(with), anti: terms(without), preferred };
        (affinity != PodAffinity::default()).then(|| Arc::new(affinity))
    }

    /// Whether what it says of other pods depends on the pod's own labels.
    pub(super) fn follows_own_labels(&self) -> bool {
        let terms =
            [&self.pod_affinity, &self.pod_anti_affinity].into_iter().flatten().flat_map(RawPod::terms);
        terms.map(|t| t.match_label_keys.len() + t.mismatch_label_keys.len()).any(|keys| keys > 0)
    }
}

impl RawPod {
    fn terms(&self) -> impl Iterator<Item = &RawTerm> {
        let preferred = self.preferred_during_scheduling_ignored_during_execution.iter();
        let required = self.required_during_scheduling_ignored_during_execution.iter();
        required.chain(preferred.map(|preferred| &preferred.pod_affinity_term))
    }
}

impl RawTerm {
    fn read(&self, own: &Own) -> PodTerm {
        let mut namespaces = self.namespaces.clone();
        if namespaces.is_empty() && self.namespace_selector.is_none() {
            namespaces.push(own.namespace.clone());
        }
        namespaces.sort();
        namespaces.dedup();
        PodTerm {
            topology_key: self.topology_key.clone(),
            selector: self.label_selector.as_ref().map_or_else(Selector::nothing, |selector| {
                Selector::of(selector).and_own(&self.match_label_keys, &self.mismatch_label_keys, &own.labels)
            }),
            namespaces,
            namespace_selector: self.namespace_selector.as_ref().map(Selector::of),
        }
    }
}

impl PodTerm {
    /// Whether it selects a pod of this namespace with these labels. The namespace's own labels are asked for if it selects
    /// namespaces by label; none: there is no such namespace.
    pub fn matches<'a>(
        &self,
        namespace: &str,
        labels: &BTreeMap<CompactString, CompactString>,
        of_namespace: impl FnOnce() -> Option<&'a BTreeMap<CompactString, CompactString>>,
    ) -> bool {
        let named = || self.namespaces.iter().any(|name| name == namespace);
        let selected =
            || self.namespace_selector.as_ref().is_some_and(|s| of_namespace().is_some_and(|l| s.matches(l)));
        self.selector.matches(labels) && (named() || selected())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<CompactString, CompactString> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn own() -> &'static Own {
        static OWN: LazyLock<Own> = LazyLock::new(|| Own {
            name: CompactString::default(),
            namespace: "own".into(),
            labels: labels(&[("app", "web"), ("hash", "7")]),
        });
        &OWN
    }

    #[test]
    fn a_term_is_about_its_pods_own_namespace_unless_it_names_others() {
        let web = labels(&[("app", "web")]);
        let blue = labels(&[("team", "blue")]);
        let term = |namespaces: Value, selector: Value| {
            let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}},
                "namespaces": namespaces, "namespaceSelector": selector});
            let raw: Raw = serde_json::from_value(
                json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
            )
            .unwrap();
            raw.pods(own).unwrap().required[0].clone()
        };
        for (namespaces, selector, own, other) in [
            (json!([]), json!(null), true, false),
            (json!(["other"]), json!(null), false, true),
            (json!(["other"]), json!({"matchLabels": {"team": "red"}}), false, true),
            (json!([]), json!({"matchLabels": {"team": "blue"}}), true, true),
            (json!([]), json!({"matchLabels": {"team": "red"}}), false, false),
            // An empty selector is every namespace.
            (json!([]), json!({}), true, true),
        ] {
            let term = term(namespaces, selector);
            assert_eq!(term.matches("own", &web, || Some(&blue)), own, "{term:?}");
            assert_eq!(term.matches("other", &web, || Some(&blue)), other, "{term:?}");
            assert!(!term.matches("own", &blue, || Some(&blue)));
        }
        assert!(!term(json!([]), json!({})).matches("gone", &web, || None));
    }

    /// Keys of labels that the pod itself does not have require nothing.
    #[test]
    fn a_term_may_be_about_pods_whose_labels_equal_the_pods_own_or_differ() {
        let term = |equal: Value, unequal: Value| {
            let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}},
                "matchLabelKeys": equal, "mismatchLabelKeys": unequal});
            let raw: Raw = serde_json::from_value(
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
            )
            .unwrap();
            assert!(raw.follows_own_labels());
            raw.pods(own).unwrap().anti[0].clone()
        };
        let (same, other) =
            (labels(&[("app", "web"), ("hash", "7")]), labels(&[("app", "web"), ("hash", "8")]));
        let bare = labels(&[("app", "web")]);
        for (equal, unequal, expected) in [
            (json!(["hash"]), json!([]), [true, false, false]),
            (json!([]), json!(["hash"]), [false, true, true]),
            (json!(["absent"]), json!([]), [true, true, true]),
        ] {
            let term = term(equal, unequal);
            let matches = [&same, &other, &bare].map(|labels| term.matches("own", labels, || None));
            assert_eq!(matches, expected, "{term:?}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_kept() {
        let raw: Raw = serde_json::from_value(json!({"nodeAffinity": {}, "podAffinity": {}})).unwrap();
        assert_eq!(raw.pods(own), None);
        let raw: Raw = serde_json::from_value(json!({"nodeAffinity": {}})).unwrap();
        assert_eq!(raw.pods(|| unreachable!("nobody asks")), None);
    }

    /// A term without a selector selects no pod, as in Kubernetes.
    #[test]
    fn a_term_without_a_selector_matches_nothing() {
        let raw: Raw = serde_json::from_value(json!({"podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 7, "podAffinityTerm": {"topologyKey": "zone"}}]}}))
        .unwrap();
        let affinity = raw.pods(own).unwrap();
        let (weight, term) = &affinity.preferred[0];
        assert_eq!(*weight, -7);
        assert!(!term.matches("own", &labels(&[]), || None));
    }
}
