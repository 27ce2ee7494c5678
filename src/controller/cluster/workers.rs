//! What the leader holds of a worker, in one word.

use kontiki_actors::object::NodeDigest;

/// The taint by which a node out of contact is known.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// `Ready`; `Suspect`: contact lost a moment ago, its pods stay; `Down`: its pods are replaced; `NotReady`: in contact,
/// but it says itself that it cannot run pods.
pub(crate) fn state_of(node: &NodeDigest) -> &'static str {
    if node.ready == "True" {
        return "Ready";
    }
    let tainted = |effect: &str| node.taints.iter().any(|t| t.key == UNREACHABLE && t.effect == effect);
    if tainted("NoExecute") {
        "Down"
    } else if tainted("NoSchedule") {
        "Suspect"
    } else {
        "NotReady"
    }
}

#[cfg(test)]
mod tests {
    use kontiki_actors::object::Taint;

    use super::*;

    #[test]
    fn a_node_is_what_its_taints_say() {
        let node = |ready: &str, effects: &[&str]| NodeDigest {
            ready: ready.into(),
            taints: effects
                .iter()
                .map(|effect| Taint { key: UNREACHABLE.into(), effect: (*effect).into(), ..Taint::default() })
                .collect(),
            ..NodeDigest::default()
        };
        assert_eq!(state_of(&node("True", &[])), "Ready");
        assert_eq!(state_of(&node("Unknown", &["NoSchedule"])), "Suspect");
        assert_eq!(state_of(&node("Unknown", &["NoSchedule", "NoExecute"])), "Down");
        assert_eq!(state_of(&node("False", &[])), "NotReady");
    }
}
