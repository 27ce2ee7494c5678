//! A rolling update keeps its bounds at every turn: never more pods asked for than its surge allows, and it takes no working pod down
//! while fewer than the least would be left.

use std::collections::BTreeSet;

use kontiki_actors::{Input, Kind, Object, ObjectKey, Request, State, object::DeploymentDigest};
use serde_json::Value;

use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict},
};

/// E8.
pub(crate) struct Rollout;

impl Check for Rollout {
    fn name(&self) -> &'static str {
        "rollout"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E8"]
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
        let mut deployments = BTreeSet::new();
        for change in &moment.turn.turned.changes {
            let Some(key) = change.key().filter(|key| key.kind == Kind::REPLICA_SET) else { continue };
            let set = moment.after.get(key).or(moment.before.get(key));
            let owner = set.and_then(|set| set.meta.controller()).filter(|owner| owner.kind == "Deployment");
            deployments
                .extend(owner.map(|owner| ObjectKey::new(Kind::DEPLOYMENT, &key.namespace, &owner.name)));
        }
        for key in deployments {
            let Some(me) = moment.after.get(&key).filter(|me| !me.meta.deleting()) else { continue };
            let Some(spec) = me.deployment().filter(|spec| !spec.recreate) else { continue };
            self.examined += 1;
            surge(moment, me, spec)?;
            missing(moment, me, spec)?;
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

fn sets<'a>(state: &'a State, deployment: &Object) -> Vec<&'a Object> {
    let owned = |o: &&Object| {
        o.key.kind == Kind::REPLICA_SET && o.meta.controller().is_some_and(|r| r.uid == deployment.meta.uid)
    };
    state.dependents(&deployment.meta.uid).map(|object| &**object).filter(owned).collect()
}

fn size(set: &Object) -> i64 {
    set.replica_set().map_or(0, |set| set.replicas)
}

/// Both sums only: what was above the bound before may stay for a turn, but not grow: a client lowered the replicas, or created a
/// Deployment that adopts the sets of one that is gone, with more pods than its own bound.
fn surge(moment: &Moment<'_>, me: &Object, spec: &DeploymentDigest) -> Result<(), Verdict> {
    let owned = sets(moment.after, me);
    let after: i64 = owned.iter().copied().map(size).sum();
    // Those that it had, and those that it has now, whoever had them.
    let had = sets(moment.before, me).into_iter().map(|set| &set.key);
    let all: BTreeSet<&ObjectKey> = had.chain(owned.iter().map(|set| &set.key)).collect();
    let before: i64 = all.into_iter().filter_map(|key| moment.before.get(key)).map(|set| size(set)).sum();
    let most = spec.replicas + bounds(spec).0;
    if after > most && after > before {
        let words = format!("{} asks for {after} pods in all, and its bound is {most}", me.key);
        return Err(moment.violated("E8", words));
    }
    Ok(())
}

fn missing(moment: &Moment<'_>, me: &Object, spec: &DeploymentDigest) -> Result<(), Verdict> {
    // A set has to have been lowered by the deployment, and not because a client asked for fewer pods or deleted something.
    // Whoever lowers the surge in the middle asks for fewer pods, too: they are taken from all sets in proportion, working or not, as
    // Kubernetes does.
    let most = |spec: &DeploymentDigest| spec.replicas + bounds(spec).0;
    let asked_less = moment
        .before
        .get(&me.key)
        .and_then(|old| old.deployment())
        .is_none_or(|old| old.replicas > spec.replicas || most(old) > most(spec));
    let by_client =
        matches!(&moment.turn.turned.input, Input::Api(Request::Delete { .. }) | Input::Verdicts(_));
    let now = moment.turn.turned.now_ms;
    let before = sets(moment.before, me);
    let lowered = |set: &&&Object| moment.after.get(&set.key).is_none_or(|new| size(new) < size(set));
    if asked_less || by_client || !before.iter().any(|set| lowered(&set)) {
        return Ok(());
    }
    let works = |pod: &Object| {
        pod.pod().is_some_and(|digest| !digest.terminal() && digest.available(spec.min_ready_s, now))
    };
    // A pod that works and leaves in this turn. One that broke in this very turn may go.
    let taken = |pod: &&Object| {
        !pod.meta.deleting()
            && works(pod)
            && moment
                .after
                .get(&pod.key)
                .is_none_or(|new| new.meta.uid != pod.meta.uid || (new.meta.deleting() && works(new)))
    };
    let owned = |state: &State, set: &Object| -> Vec<Object> {
        state
            .dependents(&set.meta.uid)
            .filter(|pod| pod.key.kind == Kind::POD)
            .map(|pod| (**pod).clone())
            .collect()
    };
    let taken: usize = before.iter().map(|set| owned(moment.before, set).iter().filter(taken).count()).sum();
    let left: usize = sets(moment.after, me)
        .iter()
        .map(|set| owned(moment.after, set).iter().filter(|pod| !pod.meta.deleting() && works(pod)).count())
        .sum();
    let least = spec.replicas - bounds(spec).1;
    if taken > 0 && (left as i64) < least {
        let words =
            format!("{} takes {taken} working pods down, {left} are left, and {least} have to be", me.key);
        return Err(moment.violated("E8", words));
    }
    Ok(())
}

/// (surge, unavailable) as Kubernetes defines them: surge rounded up, unavailable down, 25% each when nothing is said, and one
/// unavailable when both are nothing.
fn bounds(spec: &DeploymentDigest) -> (i64, i64) {
    let resolve = |value: &Value, up: bool| match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        other => {
            let percent = other.as_str().map_or(Some(25), |text| text.strip_suffix('%')?.parse::<i64>().ok());
            let hundredfold = percent.unwrap_or(0) * spec.replicas;
            if up { (hundredfold + 99) / 100 } else { hundredfold / 100 }
        }
    };
    match (resolve(&spec.max_surge, true), resolve(&spec.max_unavailable, false).min(spec.replicas)) {
        (0, 0) => (0, 1.min(spec.replicas)),
        bounds => bounds,
    }
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{
        Change, Document,
        input::{DeleteOptions, Propagation},
    };

    use super::*;
    use crate::{
        check::build::{Build, deployment, forge_metadata, forge_spec, rolling},
        history::Call,
    };

    fn rolling_out(surge: u32, unavailable: u32) -> Build {
        let mut build = Build::new();
        build.nodes(3, 20);
        build.deploy(0, 6, rolling(surge, unavailable));
        build.converge();
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
        });
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Rollout.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E8")
    }

    #[test]
    fn rollouts_within_their_bounds_pass() {
        for (surge, unavailable) in [(1, 0), (0, 1), (3, 2)] {
            let mut build = rolling_out(surge, unavailable);
            build.converge();
            match Rollout.check(&build.run) {
                Verdict::Pass { examined } => assert!(examined > 3, "{examined}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn scaling_in_the_middle_passes() {
        let mut build = rolling_out(2, 1);
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 3.into());
        build.converge();
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 9.into());
        build.converge();
        assert!(Rollout.check(&build.run).passed(), "{:?}", Rollout.check(&build.run));
    }

    #[test]
    fn a_surge_that_is_lowered_in_the_middle_passes() {
        let mut build = rolling_out(3, 0);
        build.edit(&crate::names::deployment(0), |value| {
            value["spec"]["replicas"] = 7.into();
            value["spec"]["strategy"]["rollingUpdate"] =
                serde_json::json!({"maxSurge": 0, "maxUnavailable": 1});
        });
        build.converge();
        assert!(Rollout.check(&build.run).passed(), "{:?}", Rollout.check(&build.run));
    }

    /// In the middle of a rollout the Deployment is deleted, its sets stay, and one with a smaller surge takes them over. The pods of
    /// the new set do not run yet, so those of the old one cannot go at once.
    fn adopted() -> Build {
        let mut build = rolling_out(3, 0);
        let options = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
        let key = crate::names::deployment(0);
        let request = Request::Delete { key: key.clone(), options, dry_run: false };
        build.api("undeploy", Call::Other { what: "undeploy".into() }, request);
        while build.state.get(&key).is_some() {
            build.wait_ms(100);
            let due = build.state.due(i64::MAX, 100);
            build.turn(None, &Input::Wake(due));
        }
        let document = Document::from_value(deployment(&key, 6, "v2", rolling(0, 1)));
        let request = Request::Create { key, generate_name: None, document, dry_run: false };
        build.api("again", Call::Other { what: "deploy".into() }, request);
        build
    }

    #[test]
    fn more_pods_than_its_bound_may_be_adopted() {
        let mut build = adopted();
        let most: i64 = build.state.list(Kind::REPLICA_SET, None).map(|set| size(set)).sum();
        assert!(most > 6, "{most}");
        build.converge();
        assert!(Rollout.check(&build.run).passed(), "{:?}", Rollout.check(&build.run));
    }

    #[test]
    fn growing_after_an_adoption_is_found() {
        let mut build = adopted();
        let set = build.state.list(Kind::REPLICA_SET, None).next().unwrap().clone();
        let more = size(&set) + 1;
        build.forge(vec![forge_spec(&set, |spec| spec["replicas"] = more.into())]);
        assert!(found(&build));
    }

    #[test]
    fn one_above_the_surge_is_found() {
        let mut build = rolling_out(1, 0);
        let sets = build.state.list(Kind::REPLICA_SET, None).cloned().collect::<Vec<_>>();
        let new = sets.iter().find(|set| size(set) == 1).unwrap();
        let change = forge_spec(new, |spec| spec["replicas"] = 2.into());
        build.forge(vec![change]);
        assert!(found(&build));
    }

    #[test]
    fn one_too_many_taken_down_is_found() {
        let mut build = rolling_out(1, 0);
        let sets = build.state.list(Kind::REPLICA_SET, None).cloned().collect::<Vec<_>>();
        let old = sets.iter().find(|set| size(set) == 6).unwrap();
        let pod =
            build.state.dependents(&old.meta.uid).find(|pod| pod.key.kind == Kind::POD).unwrap().clone();
        let changes: Vec<Change> = vec![
            forge_spec(old, |spec| spec["replicas"] = 5.into()),
            forge_metadata(&pod, |meta| meta["deletionTimestamp"] = "2030-01-01T00:00:00Z".into()),
        ];
        build.forge(changes);
        assert!(found(&build));
    }
}
