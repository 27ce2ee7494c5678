//! A pod's uid stands for one pod on one node for ever: it never moves, and never comes back.

use std::collections::HashMap;

use kontiki_actors::{Change, Kind, ObjectKey, State};

use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::pods_put},
};

/// E2 in the log.
pub(crate) struct Assigned;

impl Check for Assigned {
    fn name(&self) -> &'static str {
        "assigned"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E2"]
    }

    fn observer(&self) -> Option<Box<dyn Observer>> {
        Some(Box::new(Look::default()))
    }
}

#[derive(Default)]
struct Look {
    examined: u64,
    /// Whose each uid is; none: it is gone.
    owners: HashMap<String, Option<ObjectKey>>,
}

impl Observer for Look {
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict> {
        for (old, new) in pods_put(moment) {
            self.examined += 1;
            let uid = new.meta.uid.to_string();
            match self.owners.get(&uid) {
                Some(Some(key)) if *key == new.key => {}
                None => {
                    self.owners.insert(uid, Some(new.key.clone()));
                }
                Some(Some(key)) => {
                    let words = format!("{} and {key} both have uid {uid}", new.key);
                    return Err(moment.violated("E2", words));
                }
                Some(None) => {
                    return Err(moment.violated("E2", format!("{} with uid {uid} was gone", new.key)));
                }
            }
            let place = |object: &kontiki_actors::Object| object.pod().and_then(|pod| pod.node.clone());
            let before = old.filter(|old| old.meta.uid == new.meta.uid).and_then(place);
            if before.is_some() && before != place(new) {
                let words = format!("{} moved from {before:?} to {:?}", new.key, place(new));
                return Err(moment.violated("E2", words));
            }
        }
        for change in &moment.turn.turned.changes {
            if let Change::Delete { key } = change
                && key.kind == Kind::POD
                && let Some(pod) = moment.before.get(key)
            {
                self.owners.insert(pod.meta.uid.to_string(), None);
            }
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, forge_spec, rolling};

    #[test]
    fn a_pod_that_moves_is_found() {
        let mut build = Build::new();
        build.nodes(3, 5);
        build.deploy(0, 3, rolling(1, 0));
        build.converge();
        assert!(matches!(Assigned.check(&build.run), Verdict::Pass { examined } if examined >= 3));
        let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
        let here = pod.pod().unwrap().node.clone().unwrap();
        let there = if here == "worker-0" { "worker-1" } else { "worker-0" };
        let change = forge_spec(&pod, |spec| spec["nodeName"] = there.into());
        build.forge(vec![change]);
        assert!(
            matches!(Assigned.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E2")
        );
    }

    #[test]
    fn a_pod_that_comes_back_is_found() {
        let mut build = Build::new();
        build.nodes(3, 5);
        build.deploy(0, 1, rolling(1, 0));
        build.converge();
        let pod = build.state.list(Kind::POD, None).next().unwrap().clone();
        build.forge(vec![Change::Delete { key: pod.key.clone() }]);
        assert!(Assigned.check(&build.run).passed());
        build.forge(vec![Change::between(pod.key.clone(), None, &pod.document.whole()).unwrap()]);
        assert!(
            matches!(Assigned.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "E2")
        );
    }
}
