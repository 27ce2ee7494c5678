//! Required pod affinity and anti-affinity hold when pods are placed: whom a pod must be near is there, and nobody is too near to it or
//! it to anybody. Looked up anew among all pods.

use std::collections::BTreeMap;

use kontiki_actors::{
    Kind, Object, ObjectKey, State,
    object::{PodAffinity, PodTerm},
};

use super::rules::by_hand;
use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::placed},
};

/// E9 for pods among pods.
pub(crate) struct Affinity;

impl Check for Affinity {
    fn name(&self) -> &'static str {
        "pod-affinity"
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
        for (object, node) in placed(moment).filter(|(pod, _)| !by_hand(moment, &pod.key)) {
            self.examined += u64::from(affinity(object).is_some());
            if let Some(why) = too_near(moment.after, object, node).or_else(|| lonely(moment, object, node)) {
                return Err(moment.violated("E9", format!("{} was placed on {node}, {why}", object.key)));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

fn affinity(object: &Object) -> Option<&PodAffinity> {
    object.pod()?.pod_affinity.as_deref()
}

fn selects(state: &State, term: &PodTerm, object: &Object) -> bool {
    let namespace = ObjectKey::new(Kind::NAMESPACE, "", &object.key.namespace);
    let labels = || state.get(&namespace).map(|namespace| &namespace.meta.labels);
    term.matches(&object.key.namespace, &object.meta.labels, labels)
}

fn domain<'a>(state: &'a State, node: &str, term: &PodTerm) -> Option<&'a str> {
    let node = state.get(&ObjectKey::new(Kind::NODE, "", node))?;
    node.meta.labels.get(&term.topology_key).map(|value| value.as_str())
}

/// The other pods that hold a place, with their nodes.
fn others<'a>(state: &'a State, object: &'a Object) -> impl Iterator<Item = (&'a Object, &'a str)> {
    let pods = state.list(Kind::POD, None).filter(move |other| other.key != object.key);
    pods.filter_map(|other| {
        let pod = other.pod().filter(|pod| !pod.terminal())?;
        Some((&**other, pod.node.as_deref()?))
    })
}

/// Whom its required anti-affinity, or theirs, should have kept away.
fn too_near(state: &State, object: &Object, node: &str) -> Option<String> {
    let anti = |pod: &Object| affinity(pod).map(|affinity| affinity.anti.clone()).unwrap_or_default();
    let own = anti(object);
    others(state, object).find_map(|(other, at)| {
        let together = |term: &PodTerm| {
            let here = domain(state, node, term);
            here.is_some() && here == domain(state, at, term)
        };
        if own.iter().any(|term| selects(state, term, other) && together(term)) {
            return Some(format!("too near to {} on {at}, which it avoids", other.key));
        }
        let barred = anti(other).iter().any(|term| selects(state, term, object) && together(term));
        barred.then(|| format!("too near to {} on {at}, which avoids it", other.key))
    })
}

/// Whether nobody is there whom it must be near. Who left within the turn may have been there when it was placed.
fn lonely(moment: &Moment<'_>, object: &Object, node: &str) -> Option<String> {
    let terms = &affinity(object)?.required;
    let followed = |state: &State, other: &Object| terms.iter().all(|term| selects(state, term, other));
    let mut near: BTreeMap<usize, bool> = (0..terms.len()).map(|at| (at, false)).collect();
    let mut anybody = false;
    for state in [moment.before, moment.after] {
        for (other, at) in others(state, object).filter(|(other, _)| followed(state, other)) {
            anybody |= moment
                .before
                .get(&other.key)
                .is_some_and(|old| old.pod().is_some_and(|pod| pod.node.is_some()));
            for (number, term) in terms.iter().enumerate() {
                let here = domain(state, node, term);
                if here.is_some() && here == domain(state, at, term) {
                    near.insert(number, true);
                }
            }
        }
    }
    let labelled = terms.iter().all(|term| domain(moment.after, node, term).is_some());
    let first = !anybody && labelled && followed(moment.after, object);
    let lacking = near.into_iter().find(|(_, near)| !near && !first)?;
    Some(format!("where nobody is whom it must be near by {}", terms[lacking.0].topology_key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::build::{Build, forge_spec, rolling};

    const ZONE: &str = "topology.kubernetes.io/zone";

    fn affinity(which: &str, app: &str) -> Value {
        let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": app}}});
        json!({which: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    }

    /// Three nodes in three zones, and so many pods of a Deployment with this affinity. The last of them that waits is put on a node by
    /// force, if one is named.
    fn run(affinity: Value, replicas: u32, forced: Option<&str>) -> Verdict {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 0, rolling(1, 0));
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["replicas"] = replicas.into();
            value["spec"]["template"]["spec"]["affinity"] = affinity;
        });
        build.converge();
        if let Some(node) = forced {
            let waiting = build.state.unplaced().next().cloned().unwrap();
            let pod = build.state.get(&waiting).unwrap().clone();
            build.forge(vec![forge_spec(&pod, |spec| spec["nodeName"] = node.into())]);
        }
        Affinity.check(&build.run)
    }

    #[test]
    fn what_the_scheduler_does_passes() {
        assert_eq!(run(affinity("podAntiAffinity", "d0"), 4, None), Verdict::Pass { examined: 3 });
        assert_eq!(run(affinity("podAffinity", "d0"), 4, None), Verdict::Pass { examined: 4 });
    }

    #[test]
    fn who_is_too_near_or_lonely_is_found() {
        let found = |verdict: Verdict, word: &str| match verdict {
            Verdict::Violated { invariant, words, .. } => {
                assert!(invariant == "E9" && words.contains(word), "{words}")
            }
            other => panic!("not found: {other:?}"),
        };
        found(run(affinity("podAntiAffinity", "d0"), 4, Some("worker-1")), "too near");
        found(run(affinity("podAffinity", "nobody"), 1, Some("worker-1")), "nobody is whom it must be near");
    }
}
