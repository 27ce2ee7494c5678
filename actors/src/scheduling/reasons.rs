//! Why a node cannot take a pod, and the sentence that counts it for people, in the words that Kubernetes uses: tools
//! and eyes look for them.

use std::{collections::BTreeMap, fmt};

use compact_str::CompactString;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is cordoned or on its way out.
    Unschedulable,
    /// It has a taint that the pod does not bear.
    Taint {
        /// The taint's key.
        key: CompactString,
        /// Its value.
        value: CompactString,
    },
    /// Its Ready condition is not True.
    NotReady,
    /// The pod's node selector or required affinity excludes it.
    Affinity,
    /// A host port of the pod is taken.
    Ports,
    /// It holds as many pods as it may.
    TooManyPods,
    /// Not enough of a resource is free.
    Insufficient(CompactString),
    /// The pod would make a hard topology spread constraint too uneven.
    Spread,
    /// It lacks the label that a hard topology spread constraint names.
    SpreadLabel,
    /// No pod that the pod's required affinity selects is in its topology domain, or it is in none.
    PodAffinity,
    /// A pod that the pod's required anti-affinity selects is in its topology domain.
    PodAntiAffinity,
    /// A pod in its topology domain has a required anti-affinity to the pod.
    Barred,
    /// It does not reach a volume that a claim of the pod is bound to.
    VolumeElsewhere,
    /// A volume that a claim of the pod is bound to does not exist.
    VolumeMissing,
    /// A claim of the pod could get no volume there.
    NoVolume,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unschedulable => f.write_str("node(s) were unschedulable"),
            Reason::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Reason::NotReady => f.write_str("node(s) were not ready"),
            Reason::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Reason::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Reason::TooManyPods => f.write_str("Too many pods"),
            Reason::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Reason::Spread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Reason::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Reason::PodAntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Reason::Barred => f.write_str("node(s) didn't satisfy existing pods anti-affinity rules"),
            Reason::VolumeElsewhere => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Reason::VolumeMissing => {
                f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            }
            Reason::NoVolume => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Reason::SpreadLabel => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
        }
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`, sorted as text as Kubernetes does.
pub(super) fn message(nodes: usize, reasons: impl Iterator<Item = Reason>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_sorted_as_text() {
        let taint = Reason::Taint { key: "k".into(), value: "v".into() };
        let reasons = [taint.clone(), Reason::Insufficient("cpu".into()), taint, Reason::TooManyPods];
        assert_eq!(
            message(4, reasons.into_iter()),
            "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 2 node(s) had untolerated taint {k: v}."
        );
        assert_eq!(message(0, std::iter::empty()), "no nodes available to schedule pods");
    }
}
