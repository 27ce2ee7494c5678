//! The hard rules of a placement hold when the scheduler places: the node is there, in contact and not cordoned, the pod bears its
//! taints, and selector and required affinity match. Written anew, not with the scheduler's own filters.

use kontiki_actors::{
    Input, Kind, Object, ObjectKey, State,
    object::{PodDigest, Taint, Toleration},
};

use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::placed},
};

/// E9 without spread.
pub(crate) struct Rules;

impl Check for Rules {
    fn name(&self) -> &'static str {
        "placement-rules"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E9"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
}

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for (object, name) in placed(moment).filter(|(pod, _)| !by_hand(moment, &pod.key)) {
            self.examined += 1;
            let (Some(pod), Some(node)) =
                (object.pod(), moment.after.get(&ObjectKey::new(Kind::NODE, "", name)))
            else {
                return Err(
                    moment.violated("E9", format!("{} was placed on {name}, which is not there", object.key))
                );
            };
            if let Some(why) = refuses(pod, node) {
                return Err(moment.violated("E9", format!("{} was placed on {name}, {why}", object.key)));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

/// Whether a client itself put the pod there.
pub(super) fn by_hand(moment: &Moment<'_>, pod: &ObjectKey) -> bool {
    matches!(&moment.turn.turned.input, Input::Api(request) if request.key() == pod
        && !matches!(request, kontiki_actors::Request::Create { .. }))
}

fn refuses(pod: &PodDigest, node: &Object) -> Option<String> {
    let digest = node.node()?;
    let borne = |taint: &Taint| pod.tolerations.iter().any(|toleration| bears(toleration, taint));
    if digest.ready != "True" {
        return Some(format!("which is not in contact (Ready is {:?})", digest.ready));
    }
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    if digest.unschedulable && !borne(&cordon) {
        return Some("which is cordoned".into());
    }
    let keeps_away = |taint: &&Taint| taint.effect != "PreferNoSchedule" && !borne(taint);
    if let Some(taint) = digest.taints.iter().find(keeps_away) {
        return Some(format!("whose taint {}:{} it does not bear", taint.key, taint.effect));
    }
    suits(pod, node).err()
}

/// Whether selector and required affinity match.
pub(super) fn suits(pod: &PodDigest, node: &Object) -> Result<(), String> {
    let labels = &node.meta.labels;
    if let Some((name, value)) =
        pod.node_selector.iter().find(|(name, value)| labels.get(*name) != Some(value))
    {
        return Err(format!("which has no label {name}={value}"));
    }
    let terms = pod.affinity.required.as_deref();
    let matches = terms.is_none_or(|terms| terms.iter().any(|term| term.matches(&node.key.name, labels)));
    if matches { Ok(()) } else { Err("which its affinity excludes".into()) }
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(String::from);
    let (key, effect) = (said(toleration.key.as_deref()), said(toleration.effect.as_deref()));
    let value = said(toleration.value.as_deref()).unwrap_or_default();
    let exists = match said(toleration.operator.as_deref()).as_deref() {
        Some("Exists") => true,
        Some("Equal") | None => false,
        Some(_) => return false,
    };
    let key_fits = match key {
        Some(key) => taint.key == key && (exists || taint.value == value),
        None => exists,
    };
    key_fits && effect.is_none_or(|effect| taint.effect == effect)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::build::{Build, forge_spec, rolling};

    /// Three nodes, of which the edit makes the first one unfit, and a pod that is put there by force.
    fn forced(edit: impl Fn(&mut Value)) -> Verdict {
        let mut build = Build::new();
        build.nodes(1, 5);
        build.deploy(0, 1, rolling(1, 0));
        build.edit(&ObjectKey::new(Kind::NODE, "", "worker-0"), edit);
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 2.into());
        let waiting = build.state.unplaced().next().cloned();
        let waiting = waiting.map(|key| build.state.get(&key).unwrap().clone());
        if let Some(pod) = waiting {
            let change = forge_spec(&pod, |spec| spec["nodeName"] = "worker-0".into());
            build.forge(vec![change]);
        }
        Rules.check(&build.run)
    }

    #[test]
    fn a_fit_node_passes() {
        assert_eq!(forced(|_| {}), Verdict::Pass { examined: 2 });
        let preferred = json!([{"key": "k", "value": "v", "effect": "PreferNoSchedule"}]);
        assert!(forced(|node| node["spec"]["taints"] = preferred.clone()).passed());
    }

    #[test]
    fn an_unfit_node_is_found() {
        let taint = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
        let found = |verdict: Verdict, word: &str| match verdict {
            Verdict::Violated { invariant, words, .. } => {
                assert!(invariant == "E9" && words.contains(word), "{words}")
            }
            other => panic!("not found: {other:?}"),
        };
        found(forced(|node| node["spec"]["taints"] = taint.clone()), "taint k:NoSchedule");
        found(forced(|node| node["spec"]["unschedulable"] = true.into()), "cordoned");
    }

    #[test]
    fn a_selector_and_a_silent_node_are_minded() {
        let mut build = Build::new();
        build.nodes(1, 5);
        build.deploy(0, 1, rolling(1, 0));
        build.verdict(0, kontiki_actors::input::Life::Suspect);
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 2.into());
        let key = build.state.unplaced().next().cloned().unwrap();
        let pod = build.state.get(&key).unwrap().clone();
        build.forge(vec![forge_spec(&pod, |spec| spec["nodeName"] = "worker-0".into())]);
        assert!(matches!(Rules.check(&build.run), Verdict::Violated { .. }));
        let selector = kontiki_actors::object::PodWants {
            node_selector: [("a".into(), "b".into())].into(),
            ..Default::default()
        };
        let selector = PodDigest::from(selector);
        let node = build.state.get(&ObjectKey::new(Kind::NODE, "", "worker-0")).unwrap().clone();
        assert!(suits(&selector, &node).is_err() && suits(&PodDigest::default(), &node).is_ok());
    }

    #[test]
    fn tolerations_are_minded() {
        let taint =
            Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into(), ..Taint::default() };
        let toleration = |key: &str, operator: &str, value: &str| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            ..Toleration::default()
        };
        for (toleration, expected) in [
            (toleration("k", "", "v"), true),
            (toleration("k", "Exists", ""), true),
            (toleration("", "Exists", ""), true),
            (toleration("k", "Equal", "w"), false),
            (toleration("", "Equal", "v"), false),
            (toleration("l", "Exists", ""), false),
        ] {
            assert_eq!(bears(&toleration, &taint), expected, "{toleration:?}");
        }
    }
}
