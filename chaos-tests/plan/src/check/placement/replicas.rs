//! A replica set never makes more pods than it is asked for, and has exactly so many once everything has settled.

use std::collections::BTreeSet;

use kontiki_actors::{Kind, Object, State};

use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::pods_put},
};

/// E10.
pub(crate) struct Replicas;

impl Check for Replicas {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E10"]
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
        let made = pods_put(moment).filter(|(old, new)| old.is_none_or(|old| old.meta.uid != new.meta.uid));
        let owners: BTreeSet<String> =
            made.filter_map(|(_, pod)| Some(pod.meta.controller()?.uid.to_string())).collect();
        for uid in owners {
            let Some(set) = moment.after.by_uid(&uid) else { continue };
            let Some(wanted) = set.replica_set().map(|digest| digest.replicas) else { continue };
            self.examined += 1;
            let live = live(moment.after, set);
            if live > wanted {
                let words = format!("{} made pods although it has {live} and is asked for {wanted}", set.key);
                return Err(moment.violated("E10", words));
            }
        }
        Ok(())
    }

    fn end(&mut self, run: &Run, last: &State) -> Result<u64, Verdict> {
        if run.settled.workload_ns.is_none() {
            return Ok(self.examined);
        }
        for set in last.list(Kind::REPLICA_SET, None).filter(|set| !set.meta.deleting()) {
            let Some(wanted) = set.replica_set().map(|digest| digest.replicas) else { continue };
            self.examined += 1;
            let live = live(last, set);
            if live != wanted {
                let words = format!("everything has settled, and {} has {live} pods of {wanted}", set.key);
                return Err(Verdict::violated("E10", Some(run.settled.healed_ns), words));
            }
        }
        Ok(self.examined)
    }
}

fn live(state: &State, set: &Object) -> i64 {
    let counts = |o: &&std::sync::Arc<Object>| {
        o.meta.controller().is_some_and(|r| r.uid == set.meta.uid)
            && !o.meta.deleting()
            && o.pod().is_some_and(|pod| !pod.terminal())
    };
    state.dependents(&set.meta.uid).filter(counts).count() as i64
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Change, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::check::build::{Build, forge_spec, rolling};

    fn running() -> Build {
        let mut build = Build::new();
        build.nodes(3, 9);
        build.deploy(0, 3, rolling(1, 0));
        build.converge();
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Replicas.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E10")
    }

    #[test]
    fn a_pod_too_many_is_found() {
        let mut build = running();
        assert!(matches!(Replicas.check(&build.run), Verdict::Pass { examined } if examined >= 1));
        let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
        let mut metadata = pod.document.metadata_value();
        (metadata["name"], metadata["uid"]) = (json!("twin"), json!("twin"));
        let key = ObjectKey::new(Kind::POD, "default", "twin");
        let document = pod.document.with_metadata(metadata);
        build.forge(vec![Change::between(key, None, &document).unwrap()]);
        assert!(found(&build));
    }

    #[test]
    fn a_wrong_number_at_the_end_is_found() {
        let mut build = running();
        build.run.settled.workload_ns = Some(1);
        assert!(Replicas.check(&build.run).passed());
        let set = build.state.list(Kind::REPLICA_SET, None).next().unwrap().clone();
        build.forge(vec![forge_spec(&set, |spec| spec["replicas"] = 4.into())]);
        assert!(found(&build));
    }
}
