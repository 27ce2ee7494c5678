//! No pod and no replica set goes without a cause: somebody asked for it, its owner goes or wants fewer, its namespace goes, or its
//! node is lost, tainted or gone. What lives is no garbage.

use kontiki_actors::{Input, Kind, Object, ObjectKey, Request, State};

use super::{Check, Evidence, Moment, Observer, Verdict, observer};
use crate::Run;

/// C8 for the living, and E7 as far as deletions go.
pub(crate) struct Causes;

impl Check for Causes {
    fn name(&self) -> &'static str {
        "causes"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C8", "E7"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        observer::judge(evidence, Box::new(Look::default()))
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
        let changes = &moment.turn.turned.changes;
        let watched = |key: &ObjectKey| key.kind == Kind::POD || key.kind == Kind::REPLICA_SET;
        let dooms = |key: &ObjectKey| {
            let leaves = |object: &Object| object.meta.deleting();
            watched(key)
                && moment.after.get(key).is_none_or(|new| leaves(new))
                && moment.before.get(key).is_none_or(|old| !leaves(old))
        };
        if !changes.iter().any(|change| dooms(change.key())) {
            return Ok(());
        }
        // Step by step: a set may be scaled up and down again within one turn.
        let mut state = moment.before.clone();
        for change in changes {
            let key = change.key();
            let old = state.get(key).filter(|old| watched(key) && !old.meta.deleting()).cloned();
            let before = old.is_some().then(|| state.clone());
            state.apply(change);
            let (Some(old), Some(before)) = (old, before) else { continue };
            if state.get(key).is_some_and(|new| !new.meta.deleting()) {
                continue;
            }
            self.examined += 1;
            if !has_cause(moment, &before, &old) {
                let invariant = if key.kind == Kind::POD { "E7" } else { "C8" };
                return Err(moment.violated(invariant, format!("{key} was deleted without a cause")));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

/// `now` is the state just before the object's deletion.
fn has_cause(moment: &Moment<'_>, now: &State, old: &Object) -> bool {
    let states = [moment.before, now, moment.after];
    asked_for(moment, &old.key)
        || namespace_goes(states, old)
        || owner_goes(states, old)
        || (old.key.kind == Kind::POD && (node_lost(states, old) || too_many(now, old) || ended(old)))
        || (old.key.kind == Kind::REPLICA_SET && old.replica_set().is_some_and(|set| set.replicas == 0))
}

fn asked_for(moment: &Moment<'_>, key: &ObjectKey) -> bool {
    matches!(&moment.turn.turned.input, Input::Api(Request::Delete { key: asked, .. }) if asked == key)
}

fn namespace_goes(states: [&State; 3], old: &Object) -> bool {
    let key = ObjectKey::new(Kind::NAMESPACE, "", &old.key.namespace);
    states.iter().any(|state| state.get(&key).is_none_or(|namespace| namespace.meta.deleting()))
}

fn owner_goes(states: [&State; 3], old: &Object) -> bool {
    let gone =
        |uid: &str| states.iter().any(|state| state.by_uid(uid).is_none_or(|owner| owner.meta.deleting()));
    old.meta.owners.iter().any(|owner| gone(&owner.uid))
}

fn node_lost(states: [&State; 3], old: &Object) -> bool {
    let Some(name) = old.pod().and_then(|pod| pod.node.as_deref()) else { return false };
    let key = ObjectKey::new(Kind::NODE, "", name);
    let tainted = |node: &Object| {
        node.node().is_some_and(|node| node.taints.iter().any(|taint| taint.effect == "NoExecute"))
    };
    states.iter().any(|state| state.get(&key).is_none_or(|node| node.meta.deleting() || tainted(node)))
}

/// Its set has more pods than it wants at this moment.
fn too_many(now: &State, old: &Object) -> bool {
    let Some(owner) = old.meta.controller() else { return false };
    let Some(set) = now.by_uid(&owner.uid) else { return true };
    let wanted = set.replica_set().map_or(0, |digest| digest.replicas);
    let live = |o: &&std::sync::Arc<Object>| {
        o.meta.controller().is_some_and(|r| r.uid == owner.uid)
            && !o.meta.deleting()
            && o.pod().is_some_and(|pod| !pod.terminal())
    };
    now.dependents(&owner.uid).filter(live).count() as i64 > wanted
}

fn ended(old: &Object) -> bool {
    old.pod().is_some_and(|pod| pod.terminal())
}

#[cfg(test)]
mod tests {
    use kontiki_actors::Change;

    use super::*;
    use crate::check::build::{Build, forge_metadata, rolling};

    fn running() -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 3, rolling(1, 0));
        build.converge();
        build
    }

    fn doomed(build: &mut Build, kind: Kind) -> Verdict {
        let object = build.state.list(kind, None).next().unwrap().clone();
        let change =
            forge_metadata(&object, |meta| meta["deletionTimestamp"] = "2030-01-01T00:00:00Z".into());
        build.forge(vec![change]);
        Causes.check(&build.run)
    }

    #[test]
    fn deletions_with_a_cause_pass() {
        let mut build = running();
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 1.into());
        build.converge();
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
        });
        build.converge();
        let node = build.state.list(Kind::POD, None).next().unwrap().pod().unwrap().node.clone().unwrap();
        let worker = node.strip_prefix("worker-").unwrap().parse().unwrap();
        build.verdict(worker, kontiki_actors::input::Life::Down);
        build.converge();
        assert!(matches!(Causes.check(&build.run), Verdict::Pass { examined } if examined >= 4));
    }

    #[test]
    fn a_set_that_grows_and_shrinks_within_a_turn_has_a_cause() {
        let mut build = running();
        let set = build.state.list(Kind::REPLICA_SET, None).next().unwrap().clone();
        let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
        let mut metadata = pod.document.metadata_value();
        (metadata["name"], metadata["uid"]) = ("more".into(), "more".into());
        let more = ObjectKey::new(Kind::POD, "default", "more");
        let changes = |wanted: i64| {
            vec![
                crate::check::build::forge_spec(&set, |spec| spec["replicas"] = 4.into()),
                Change::between(more.clone(), None, &pod.document.with_metadata(metadata.clone())).unwrap(),
                crate::check::build::forge_spec(&set, |spec| {
                    spec["replicas"] = wanted.into();
                    spec["touched"] = true.into();
                }),
                Change::Delete { key: pod.key.clone() },
            ]
        };
        build.forge(changes(3));
        assert!(Causes.check(&build.run).passed());
        let mut build = running();
        build.forge(changes(4));
        assert!(!Causes.check(&build.run).passed(), "it wanted all four");
    }

    #[test]
    fn a_living_pod_and_a_living_set_are_missed() {
        assert!(
            matches!(doomed(&mut running(), Kind::POD), Verdict::Violated { invariant, .. } if invariant == "E7")
        );
        let verdict = doomed(&mut running(), Kind::REPLICA_SET);
        assert!(matches!(verdict, Verdict::Violated { invariant, .. } if invariant == "C8"));
    }
}
