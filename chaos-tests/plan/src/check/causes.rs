//! No pod and no replica set goes without a cause: somebody asked for it, its owner goes or wants fewer, its namespace goes, or its
//! node is lost, tainted or gone. What lives is no garbage.

use std::sync::Arc;

use kontiki_actors::{
    Change, Input, Kind, Object, ObjectKey, Request, State,
    object::{Meta, StatefulSetDigest},
};

use super::{Check, Finding, Moment, Observer, Verdict, identities::identity};
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

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
    /// What was deleted in this turn and has no cause in the state at its deletion.
    doomed: Vec<Arc<Object>>,
}

impl Observer for Look {
    /// In the middle of the turn: a set may be scaled up and down again within one.
    fn change(&mut self, now: &State, change: &Change) -> Result<(), Finding> {
        let about = |key: &&ObjectKey| matches!(key.kind, Kind::POD | Kind::REPLICA_SET);
        let Some(key) = change.key().filter(about) else { return Ok(()) };
        let Some(old) = now.get(key).filter(|old| !old.meta.deleting()) else { return Ok(()) };
        let leaves = match change {
            Change::Delete { .. } => true,
            Change::Put { metadata: Some(metadata), .. } => Meta::of(metadata).deleting(),
            _ => false,
        };
        if leaves {
            self.examined += 1;
            let has_cause = goes_with_others(now, old)
                || match key.kind {
                    Kind::POD => too_many(now, old) || ended(old),
                    _ => old.replica_set().is_some_and(|set| set.replicas == 0),
                };
            if !has_cause {
                self.doomed.push(old.clone());
            }
        }
        Ok(())
    }

    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for old in std::mem::take(&mut self.doomed) {
            let has_cause = asked_for(moment, &old.key)
                || goes_with_others(moment.before, &old)
                || goes_with_others(moment.after, &old)
                || its_job_is_decided(moment.after, &old);
            if !has_cause {
                let invariant = if old.key.kind == Kind::POD { "E7" } else { "C8" };
                return Err(moment.violated(invariant, format!("{} was deleted without a cause", old.key)));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

pub(super) fn asked_for(moment: &Moment<'_>, key: &ObjectKey) -> bool {
    matches!(&moment.turn.turned.input, Input::Api(Request::Delete { key: asked, .. }) if asked == key)
}

/// Its namespace, one of its owners or its node is gone or goes.
pub(super) fn goes_with_others(state: &State, old: &Object) -> bool {
    let goes = |object: Option<&Arc<Object>>| object.is_none_or(|object| object.meta.deleting());
    let namespace = ObjectKey::new(Kind::NAMESPACE, "", &old.key.namespace);
    if goes(state.get(&namespace)) || old.meta.owners.iter().any(|owner| goes(state.by_uid(&owner.uid))) {
        return true;
    }
    let Some(name) = old.pod().and_then(|pod| pod.node.as_deref()) else { return false };
    let node = state.get(&ObjectKey::new(Kind::NODE, "", name));
    let tainted = |node: &Arc<Object>| {
        node.node().is_some_and(|node| node.taints.iter().any(|taint| taint.effect == "NoExecute"))
    };
    goes(node) || node.is_some_and(tainted)
}

/// Whether its Job has succeeded or failed, and nothing of it has to run any more.
fn its_job_is_decided(state: &State, old: &Object) -> bool {
    let job = old.meta.controller().and_then(|owner| state.by_uid(&owner.uid));
    let status = job.and_then(|job| job.job()).map(|spec| &spec.status);
    status.is_some_and(|status| {
        ["SuccessCriteriaMet", "FailureTarget"].iter().any(|end| status.holds(end).is_some())
    })
}

/// Whether its StatefulSet wants no pod of its ordinal, or one of another template.
fn is_outdated(now: &State, old: &Object, set: &Object, spec: &StatefulSetDigest) -> bool {
    let wanted = spec.start..spec.start + spec.replicas;
    let revisions = now.dependents(&set.meta.uid).filter(|o| o.key.kind == Kind::CONTROLLER_REVISION);
    let newest = revisions.max_by_key(|revision| revision.document.rest_value()["revision"].as_i64());
    let own = old.meta.labels.get("controller-revision-hash");
    identity(&old.key).is_none_or(|(_, ordinal)| !wanted.contains(&ordinal))
        || newest.is_none_or(|newest| own.is_none_or(|own| newest.key.name != *own))
}

/// Its set has more pods than it wants at this moment, or wants another one in its place.
fn too_many(now: &State, old: &Object) -> bool {
    let Some(owner) = old.meta.controller() else { return false };
    let Some(set) = now.by_uid(&owner.uid) else { return true };
    if let Some(spec) = set.stateful_set() {
        return is_outdated(now, old, set, spec);
    }
    if set.job().is_some() {
        return false;
    }
    let wanted = set.replica_set().map_or(0, |digest| digest.replicas);
    let live = |o: &&Arc<Object>| {
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
    fn stateful_sets_and_jobs_have_their_own_causes() {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.stateful_set(0, 3, true);
        let set = crate::names::stateful_set(0);
        build.converge();
        build.edit(&set, |value| value["spec"]["replicas"] = 2.into());
        build.converge();
        build.edit(&set, |value| value["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into());
        build.converge();
        assert!(matches!(Causes.check(&build.run), Verdict::Pass { examined } if examined >= 3));
        // Both pods of the set are of its present template.
        let verdict = doomed(&mut build, Kind::POD);
        assert!(matches!(verdict, Verdict::Violated { invariant, .. } if invariant == "E7"));
        let mut build = Build::new();
        build.nodes(3, 9);
        build.job(0, 4, 2, false);
        assert!(Causes.check(&build.run).passed());
        let verdict = doomed(&mut build, Kind::POD);
        assert!(matches!(verdict, Verdict::Violated { invariant, .. } if invariant == "E7"));
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
