//! The pods of a StatefulSet that keeps order (`OrderedReady`) come from the first to the last, none before all before it are Running and
//! Ready, and go from the last to the first: no pod beyond its size before all after it are gone, none for an update before all after it
//! are well. So it is in Kubernetes' deployment and scaling guarantees.

use std::sync::Arc;

use kontiki_actors::{
    Change, Kind, Object, ObjectKey, State,
    object::{Meta, StatefulSetDigest},
};

use super::{
    Check, Finding, Moment, Observer, Verdict,
    causes::{asked_for, goes_with_others},
    identities::identity,
};
use crate::Run;

/// E11 for StatefulSets.
pub(crate) struct Ordinals;

impl Check for Ordinals {
    fn name(&self) -> &'static str {
        "ordinals"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E11"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
    /// Pods that left in this turn out of order, if it was their set that sent them away.
    suspects: Vec<(Arc<Object>, String)>,
}

impl Observer for Look {
    /// In the middle of the turn: what a report says and what follows from it are in one.
    fn change(&mut self, now: &State, change: &Change) -> Result<(), Finding> {
        let Change::Put { key, metadata: Some(metadata), .. } = change else { return Ok(()) };
        let Some((set, ordinal)) = identity(key).filter(|_| key.kind == Kind::POD) else { return Ok(()) };
        let meta = Meta::of(metadata);
        let own = |set: &&Arc<Object>| meta.controller().is_some_and(|owner| owner.uid == set.meta.uid);
        let Some(set) = now.get(&set).filter(own) else { return Ok(()) };
        let Some(spec) = set.stateful_set().filter(|spec| !spec.parallel) else { return Ok(()) };
        match now.get(key) {
            None => self.comes(now, set, spec, ordinal),
            Some(old) if meta.deleting() && !old.meta.deleting() => {
                self.goes(now, set, spec, ordinal, old);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for (pod, words) in std::mem::take(&mut self.suspects) {
            let others = asked_for(moment, &pod.key)
                || goes_with_others(moment.before, &pod)
                || goes_with_others(moment.after, &pod);
            if !others {
                return Err(moment.violated("E11", words));
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

impl Look {
    fn comes(
        &mut self,
        now: &State,
        set: &Object,
        spec: &StatefulSetDigest,
        ordinal: i64,
    ) -> Result<(), Finding> {
        self.examined += 1;
        let finding = |words| Err(Finding { invariant: "E11", words });
        if !(spec.start..spec.start + spec.replicas).contains(&ordinal) {
            return finding(format!(
                "{} makes a pod of ordinal {ordinal} and wants {}",
                set.key, spec.replicas
            ));
        }
        match (spec.start..ordinal).find(|before| !is_well(now, set, *before)) {
            Some(before) => finding(format!(
                "{} makes its pod {ordinal} while {before} is not Running and Ready",
                set.key
            )),
            None => Ok(()),
        }
    }

    fn goes(&mut self, now: &State, set: &Object, spec: &StatefulSetDigest, ordinal: i64, old: &Arc<Object>) {
        self.examined += 1;
        let size = spec.start + spec.replicas;
        let after = now.dependents(&set.meta.uid).filter(|pod| pod.key.kind == Kind::POD);
        let after = after.filter_map(|pod| identity(&pod.key)).map(|(_, other)| other);
        let too_many = after.filter(|other| *other > ordinal && *other >= size).max();
        let ill = (ordinal + 1..size).find(|other| !is_well(now, set, *other));
        if let Some(other) = too_many.or(ill) {
            let words = format!("{} deletes its pod {ordinal} before {other} is gone or well", set.key);
            self.suspects.push((old.clone(), words));
        }
    }
}

/// Whether a set's pod of this ordinal is there, is ready and stays.
fn is_well(now: &State, set: &Object, ordinal: i64) -> bool {
    let key = ObjectKey::new(Kind::POD, &set.key.namespace, &format!("{}-{ordinal}", set.key.name));
    now.get(&key).is_some_and(|pod| {
        let own = pod.meta.controller().is_some_and(|owner| owner.uid == set.meta.uid);
        let ready = pod.pod().is_some_and(|digest| digest.phase == "Running" && digest.ready);
        own && ready && !pod.meta.deleting()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        check::build::{Build, forge_metadata},
        names,
    };

    fn running(parallel: bool) -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.stateful_set(0, 3, parallel);
        build.converge();
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Ordinals.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E11")
    }

    fn pod(build: &Build, ordinal: u32) -> Arc<Object> {
        let key = ObjectKey::new(Kind::POD, names::NAMESPACE, &format!("s0-{ordinal}"));
        build.state.get(&key).unwrap().clone()
    }

    /// A pod of this ordinal comes, by nobody's decision.
    fn come(build: &mut Build, ordinal: u32) {
        let model = pod(build, 0);
        let mut metadata = model.document.metadata_value();
        (metadata["name"], metadata["uid"]) = (json!(format!("s0-{ordinal}")), json!("another"));
        let key = ObjectKey::new(Kind::POD, names::NAMESPACE, &format!("s0-{ordinal}"));
        let document = model.document.with_metadata(metadata);
        build.forge(vec![Change::between(key, None, &document).unwrap()]);
    }

    /// The pod of this ordinal goes, by nobody's decision.
    fn go(build: &mut Build, ordinal: u32) {
        let leaves = forge_metadata(&pod(build, ordinal), |metadata| {
            metadata["deletionTimestamp"] = json!("2023-11-14T22:13:20Z");
        });
        build.forge(vec![leaves]);
    }

    #[test]
    fn what_keeps_order_passes() {
        let mut build = running(false);
        let set = names::stateful_set(0);
        for replicas in [5, 1, 3] {
            build.edit(&set, |value| value["spec"]["replicas"] = replicas.into());
            build.converge();
        }
        build.edit(&set, |value| value["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into());
        build.converge();
        // Three come, two more, four go, two come; three are updated: each goes and comes.
        assert_eq!(Ordinals.check(&build.run), Verdict::Pass { examined: 3 + 2 + 4 + 2 + 6 });
    }

    #[test]
    fn one_that_comes_before_the_one_before_it_is_found() {
        let mut build = running(false);
        build.edit(&names::stateful_set(0), |value| value["spec"]["replicas"] = 5.into());
        come(&mut build, 4);
        assert!(found(&build));
        let mut build = running(true);
        build.edit(&names::stateful_set(0), |value| value["spec"]["replicas"] = 5.into());
        assert!(!found(&build), "all at once is as it should be");
    }

    #[test]
    fn one_that_nobody_wants_is_found() {
        let mut build = running(false);
        come(&mut build, 3);
        assert!(found(&build));
    }

    #[test]
    fn one_that_goes_before_the_one_after_it_is_found() {
        let mut build = running(false);
        let set = build.state.get(&names::stateful_set(0)).unwrap().clone();
        build.forge(vec![crate::check::build::forge_spec(&set, |spec| spec["replicas"] = 1.into())]);
        go(&mut build, 2);
        assert!(!found(&build));
        go(&mut build, 1);
        assert!(found(&build));
        let mut build = running(false);
        go(&mut build, 1);
        assert!(!found(&build), "an update of one whose next is well");
        go(&mut build, 0);
        assert!(found(&build), "an update of one whose next is not");
    }
}
