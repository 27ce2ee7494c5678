//! Taints that keep pods away which do not bear them.

use kontiki_hooks::{Defect, planted};

use crate::{
    object::{PodDigest, Taint, Toleration},
    scheduling::{reasons::Reason, view::NodeView},
};

/// Whether any of the tolerations bears the taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| bears(toleration, taint))
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<compact_str::CompactString>| text.clone().filter(|t| !t.is_empty());
    let key = given(&toleration.key);
    let exists = match given(&toleration.operator).as_deref() {
        None | Some("Equal") => false,
        Some("Exists") => true,
        Some(_) => return false,
    };
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && match key {
            Some(key) => {
                key == taint.key && (exists || toleration.value.as_deref().unwrap_or("") == taint.value)
            }
            None => exists,
        }
}

pub(super) fn refuses(pod: &PodDigest, node: &NodeView<'_>) -> Option<Reason> {
    let keeps_away = |taint: &&Taint| {
        (taint.effect == "NoSchedule" || taint.effect == "NoExecute") && !tolerated(&pod.tolerations, taint)
    };
    let taint = node.digest.taints.iter().find(keeps_away).filter(|_| !planted(Defect::TaintsIgnored))?;
    Some(Reason::Taint { key: taint.key.clone(), value: taint.value.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let text = |t: &str| Some(t.into()).filter(|t: &compact_str::CompactString| !t.is_empty());
        Toleration {
            key: text(key),
            operator: text(operator),
            value: text(value),
            effect: text(effect),
            ..Toleration::default()
        }
    }

    #[test]
    fn tolerations_match_as_in_kubernetes() {
        let taint =
            Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into(), time_added: None };
        for (toleration, expected) in [
            (toleration("k", "Equal", "v", "NoSchedule"), true),
            (toleration("k", "", "v", ""), true),
            (toleration("k", "Exists", "", ""), true),
            (toleration("", "Exists", "", ""), true),
            (toleration("", "Exists", "", "NoExecute"), false),
            (toleration("", "Equal", "v", ""), false),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Near", "v", ""), false),
            (toleration("l", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(std::slice::from_ref(&toleration), &taint), expected, "{toleration:?}");
        }
        assert!(!tolerated(&[], &taint));
    }
}
