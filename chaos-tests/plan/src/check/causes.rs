//! No pod and no replica set goes without a cause: somebody asked for it, its owner goes or wants fewer, its namespace goes, or its
//! node is lost, tainted or gone. What lives is no garbage.

use kontiki_actors::{Change, Input, Kind, Object, ObjectKey, Request, State};

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
        let keys = moment.turn.turned.changes.iter().map(Change::key);
        for key in keys.filter(|key| key.kind == Kind::POD || key.kind == Kind::REPLICA_SET) {
            let Some(old) = moment.before.get(key).filter(|old| !old.meta.deleting()) else { continue };
            let new = moment.after.get(key).filter(|new| new.meta.uid == old.meta.uid);
            if new.is_some_and(|new| !new.meta.deleting()) {
                continue;
            }
            self.examined += 1;
            if !has_cause(moment, old) {
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

fn has_cause(moment: &Moment<'_>, old: &Object) -> bool {
    asked_for(moment, &old.key)
        || goes(moment, &ObjectKey::new(Kind::NAMESPACE, "", &old.key.namespace))
        || owner_goes(moment, old)
        || (old.key.kind == Kind::POD
            && (node_lost(moment, old) || too_many(moment, old) || terminal(moment, old)))
        || (old.key.kind == Kind::REPLICA_SET && old.replica_set().is_some_and(|set| set.replicas == 0))
}

fn asked_for(moment: &Moment<'_>, key: &ObjectKey) -> bool {
    matches!(&moment.turn.turned.input, Input::Api(Request::Delete { key: asked, .. }) if asked == key)
}

/// Whether it is gone or on its way out, before the turn or after it.
fn goes(moment: &Moment<'_>, key: &ObjectKey) -> bool {
    let gone = |state: &State| state.get(key).is_none_or(|object| object.meta.deleting());
    gone(moment.before) || gone(moment.after)
}

fn owner_goes(moment: &Moment<'_>, old: &Object) -> bool {
    let gone = |state: &State, uid: &str| state.by_uid(uid).is_none_or(|owner| owner.meta.deleting());
    let owners = &old.meta.owners;
    !owners.is_empty()
        && owners.iter().any(|owner| gone(moment.before, &owner.uid) || gone(moment.after, &owner.uid))
}

fn node_lost(moment: &Moment<'_>, old: &Object) -> bool {
    let Some(name) = old.pod().and_then(|pod| pod.node.as_deref()) else { return false };
    let key = ObjectKey::new(Kind::NODE, "", name);
    let lost = |state: &State| {
        state.get(&key).is_none_or(|node| {
            node.meta.deleting()
                || node.node().is_some_and(|node| node.taints.iter().any(|taint| taint.effect == "NoExecute"))
        })
    };
    lost(moment.before) || lost(moment.after)
}

/// Its set has more pods than it wants after the turn's scaling.
fn too_many(moment: &Moment<'_>, old: &Object) -> bool {
    let Some(owner) = old.meta.controller() else { return false };
    let Some(set) = moment.after.by_uid(&owner.uid) else { return true };
    // A set may be scaled several times in one turn: down in proportion, then up by the rollout.
    let scaled = moment.turn.turned.changes.iter().filter_map(|change| match change {
        Change::Put { key, spec: Some(spec), .. } if *key == set.key => {
            serde_json::from_slice::<serde_json::Value>(spec).ok()?["replicas"].as_i64()
        }
        _ => None,
    });
    let last = set.replica_set().map_or(0, |digest| digest.replicas);
    let wanted = scaled.fold(last, i64::min);
    let live = |o: &&std::sync::Arc<Object>| {
        o.meta.controller().is_some_and(|r| r.uid == owner.uid)
            && !o.meta.deleting()
            && o.pod().is_some_and(|pod| !pod.terminal())
    };
    let before = moment.before.dependents(&owner.uid).filter(live).count() as i64;
    before > wanted
}

fn terminal(moment: &Moment<'_>, old: &Object) -> bool {
    let ended = |object: &Object| object.pod().is_some_and(|pod| pod.terminal());
    ended(old) || moment.after.get(&old.key).is_some_and(|new| ended(new))
}

#[cfg(test)]
mod tests {
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
    fn a_living_pod_and_a_living_set_are_missed() {
        assert!(
            matches!(doomed(&mut running(), Kind::POD), Verdict::Violated { invariant, .. } if invariant == "E7")
        );
        let verdict = doomed(&mut running(), Kind::REPLICA_SET);
        assert!(matches!(verdict, Verdict::Violated { invariant, .. } if invariant == "C8"));
    }
}
