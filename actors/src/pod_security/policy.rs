//! What a namespace asks of its pods, by its labels.
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/#pod-security-admission-labels-for-namespaces>

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde_json::Value;

use super::standard::{Level, Standard, Version};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// The standards of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are not made.
    pub enforce: Standard,
    /// Violations are told to the audit.
    pub audit: Standard,
    /// Violations are told to whoever asks for the pod.
    pub warn: Standard,
}

/// A label that says nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongLabel {
    /// Which.
    pub label: String,
    /// What it says.
    pub value: String,
    /// What is wrong with it, in Kubernetes' words.
    pub why: &'static str,
}

impl Policy {
    /// Everything is allowed.
    pub const PRIVILEGED: Policy =
        Policy { enforce: Standard::PRIVILEGED, audit: Standard::PRIVILEGED, warn: Standard::PRIVILEGED };

    /// The policy by labels, and by defaults where they say nothing. A wrong label is told, and enforces the most: nobody gets more by it
    /// than was meant. It warns and audits nothing.
    pub fn of(
        labels: &BTreeMap<CompactString, CompactString>,
        defaults: Policy,
    ) -> (Policy, Vec<WrongLabel>) {
        // Most namespaces have none, and each pod asks.
        if !labels.keys().any(|key| key.starts_with(PREFIX)) {
            return (defaults, Vec::new());
        }
        let label = |name: &str| labels.get(format!("{PREFIX}{name}").as_str());
        Policy::read(|name| label(name).map(CompactString::as_str), PREFIX, defaults)
    }

    /// The same by the labels of a namespace as clients write them.
    pub fn of_labels(labels: &Value, defaults: Policy) -> (Policy, Vec<WrongLabel>) {
        Policy::read(|name| labels.get(format!("{PREFIX}{name}"))?.as_str(), PREFIX, defaults)
    }

    /// The same by names without a prefix, of whatever has them; the prefix is for what is told.
    pub(super) fn read<'a>(
        value: impl Fn(&str) -> Option<&'a str>,
        prefix: &str,
        defaults: Policy,
    ) -> (Policy, Vec<WrongLabel>) {
        let (mut policy, mut wrong) = (defaults, Vec::new());
        let mut note = |name: &str, value: &str, why| {
            wrong.push(WrongLabel { label: format!("{prefix}{name}"), value: value.to_owned(), why });
        };
        let mut enforced = None;
        for (name, standard, fallback) in [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ] {
            if let Some(text) = value(name) {
                standard.level = Level::read(text).unwrap_or_else(|why| {
                    note(name, text, why);
                    fallback
                });
                if name == "enforce" {
                    enforced = Level::read(text).ok();
                }
            }
            let name = format!("{name}-version");
            if let Some(text) = value(&name) {
                standard.version = Version::read(text).unwrap_or_else(|why| {
                    note(&name, text, why);
                    Version::Latest
                });
            }
        }
        // Who enforces more than he warns of is warned of what he enforces: pods that are never made are asked for by others.
        if let Some(level) = enforced.filter(|level| value("warn").is_none() && *level > policy.warn.level) {
            policy.warn.level = level;
            if value("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, wrong)
    }

    /// Whether it allows everything, and warns of nothing.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.is_privileged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(labels: &[(&str, &str)]) -> (String, Vec<String>) {
        let labels =
            labels.iter().map(|(key, value)| (format!("{PREFIX}{key}").into(), (*value).into())).collect();
        let (Policy { enforce, audit, warn }, wrong) = Policy::of(&labels, Policy::PRIVILEGED);
        (format!("{enforce} {audit} {warn}"), wrong.into_iter().map(|wrong| wrong.label).collect())
    }

    #[test]
    fn labels_say_what_is_asked() {
        for (labels, expected) in [
            (&[][..], "privileged:latest privileged:latest privileged:latest"),
            (&[("enforce", "baseline")], "baseline:latest privileged:latest baseline:latest"),
            (
                &[("enforce", "restricted"), ("enforce-version", "v1.20"), ("warn", "baseline")],
                "restricted:v1.20 privileged:latest baseline:latest",
            ),
            (
                &[("enforce", "restricted"), ("enforce-version", "v1.20")],
                "restricted:v1.20 privileged:latest restricted:v1.20",
            ),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.20"), ("warn-version", "v1.1")],
                "baseline:v1.20 privileged:latest baseline:v1.1",
            ),
            (
                &[("audit", "restricted"), ("audit-version", "v1.3")],
                "privileged:latest restricted:v1.3 privileged:latest",
            ),
            (&[("enforcement", "restricted")], "privileged:latest privileged:latest privileged:latest"),
        ] {
            assert_eq!(policy(labels), (expected.to_owned(), vec![]), "{labels:?}");
        }
    }

    #[test]
    fn a_wrong_label_enforces_the_most_and_warns_of_nothing() {
        let (said, wrong) = policy(&[
            ("enforce", "none"),
            ("enforce-version", "1.2"),
            ("audit", ""),
            ("audit-version", "v1.03"),
            ("warn", "Baseline"),
            ("warn-version", "new"),
        ]);
        assert_eq!(said, "restricted:latest privileged:latest privileged:latest");
        let names = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
        assert_eq!(wrong, names.map(|name| format!("{PREFIX}{name}")));
        assert_eq!(policy(&[("enforce", "x")]).0, "restricted:latest privileged:latest privileged:latest");
    }
}
