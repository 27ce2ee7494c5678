//! Hard topology spread holds when pods are placed: no domain that got one is ahead of the emptiest by more than its skew. Counted
//! anew over all pods.

use std::collections::BTreeMap;

use kontiki_actors::{
    Change, Kind, Object, State,
    object::{PodDigest, SpreadConstraint},
};

use super::rules::{by_hand, suits};
use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::placed},
};

/// E9 for spread.
pub(crate) struct Spread;

impl Check for Spread {
    fn name(&self) -> &'static str {
        "spread"
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
        let new: Vec<(&Object, &str)> =
            placed(moment).filter(|(pod, _)| !by_hand(moment, &pod.key)).collect();
        let hard =
            |pod: &&(&Object, &str)| pod.0.pod().is_some_and(|digest| digest.spread.iter().any(|c| c.hard));
        // Pods that left within the turn made room before others were placed, or after: their part cannot be told.
        if !new.iter().any(|pod| hard(&pod)) || pods_left(moment) {
            return Ok(());
        }
        for (object, node) in new.iter().filter(hard) {
            let Some(pod) = object.pod() else { continue };
            let counting = |c: &&SpreadConstraint| c.hard && c.selector.matches(&object.meta.labels);
            for constraint in pod.spread.iter().filter(counting) {
                self.examined += 1;
                let counts = count(moment.after, object, pod, constraint);
                let domain = label(moment.after, node, &constraint.topology_key);
                let Some(own) = domain.and_then(|domain| counts.get(&domain).copied()) else {
                    let words = format!(
                        "{} was placed on {node}, which has no {}",
                        object.key, constraint.topology_key
                    );
                    return Err(moment.violated("E9", words));
                };
                let enough = constraint.min_domains.is_none_or(|least| counts.len() as i64 >= least);
                let least = if enough { counts.values().copied().min().unwrap_or(0) } else { 0 };
                if own - least > constraint.max_skew {
                    let words = format!(
                        "{} was placed on {node}: its domain has {own}, the emptiest {least}, and the skew may be {}",
                        object.key, constraint.max_skew
                    );
                    return Err(moment.violated("E9", words));
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

fn stays(object: &Object) -> bool {
    !object.meta.deleting() && object.pod().is_some_and(|pod| !pod.terminal())
}

fn pods_left(moment: &Moment<'_>) -> bool {
    let pods = moment.turn.turned.changes.iter().filter_map(Change::key).filter(|key| key.kind == Kind::POD);
    pods.filter_map(|key| moment.before.get(key))
        .any(|old| stays(old) && !moment.after.get(&old.key).is_some_and(|new| stays(new)))
}

fn label(state: &State, node: &str, key: &str) -> Option<String> {
    let node = state.get(&kontiki_actors::ObjectKey::new(Kind::NODE, "", node))?;
    node.meta.labels.get(key).map(ToString::to_string)
}

/// Matching pods per domain; domains of nodes that the pod could go to, taints apart.
fn count(
    state: &State,
    object: &Object,
    pod: &PodDigest,
    constraint: &SpreadConstraint,
) -> BTreeMap<String, i64> {
    let keys: Vec<&str> = pod.spread.iter().filter(|c| c.hard).map(|c| c.topology_key.as_str()).collect();
    let eligible = |node: &Object| {
        suits(pod, node).is_ok() && keys.iter().all(|key| node.meta.labels.contains_key(*key))
    };
    let mut counts = BTreeMap::new();
    for node in state.list(Kind::NODE, None).filter(|node| eligible(node)) {
        let Some(domain) = node.meta.labels.get(&constraint.topology_key) else { continue };
        let matching = state.pods_on(&node.key.name).filter(|other| {
            other.key.namespace == object.key.namespace
                && stays(other)
                && constraint.selector.matches(&other.meta.labels)
        });
        *counts.entry(domain.to_string()).or_insert(0) += matching.count() as i64;
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::build::{Build, forge_spec, rolling};

    #[test]
    fn a_domain_that_is_ahead_is_found() {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 0, rolling(1, 0));
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["replicas"] = 3.into();
            value["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "d0"}}}]);
        });
        build.converge();
        assert!(matches!(Spread.check(&build.run), Verdict::Pass { examined } if examined >= 3));
        // Nobody places it: then it goes where two would be ahead.
        build.edit(&kontiki_actors::ObjectKey::new(Kind::NODE, "", "worker-0"), |node| {
            node["spec"]["unschedulable"] = true.into();
        });
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 6.into());
        build.converge();
        assert!(Spread.check(&build.run).passed());
        let waiting = build.state.unplaced().next().cloned().unwrap();
        let pod = build.state.get(&waiting).unwrap().clone();
        build.forge(vec![forge_spec(&pod, |spec| spec["nodeName"] = "worker-1".into())]);
        assert!(matches!(Spread.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E9"));
    }
}
