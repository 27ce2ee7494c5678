//! Deletion keeps its order: nothing goes while it has finalizers, no namespace while something is in it, and when all has settled
//! nothing is left whose owners are all gone.

use kontiki_actors::{Change, Kind, State};

use super::{Check, Finding, Moment, Observer, Verdict};
use crate::Run;

/// C8.
pub(crate) struct Finalizers;

impl Check for Finalizers {
    fn name(&self) -> &'static str {
        "finalizers"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C8"]
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
    /// In the middle of the turn: a finalizer may be taken away by the change before the deletion.
    fn change(&mut self, now: &State, change: &Change) -> Result<(), Finding> {
        let Change::Delete { key } = change else { return Ok(()) };
        let Some(object) = now.get(key) else { return Ok(()) };
        self.examined += 1;
        if !object.meta.finalizers.is_empty() {
            let words = format!("{key} went although it has the finalizers {:?}", object.meta.finalizers);
            return Err(Finding { invariant: "C8", words });
        }
        if key.kind == Kind::NAMESPACE
            && let Some(left) = now.iter().find(|object| object.key.namespace == key.name)
        {
            let words = format!("{key} went and {} is still in it", left.key);
            return Err(Finding { invariant: "C8", words });
        }
        Ok(())
    }

    fn turn(&mut self, _moment: &Moment<'_>) -> Result<(), Verdict> {
        Ok(())
    }

    fn end(&mut self, run: &Run, last: &State) -> Result<u64, Verdict> {
        if run.settled.workload_ns.is_none() {
            return Ok(self.examined);
        }
        for object in last.iter().filter(|object| !object.meta.owners.is_empty()) {
            self.examined += 1;
            if object.meta.owners.iter().all(|owner| last.by_uid(&owner.uid).is_none()) {
                let owners: Vec<String> =
                    object.meta.owners.iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
                let words = format!("everything has settled, and {} is left of {owners:?}", object.key);
                return Err(Verdict::violated("C8", Some(run.settled.healed_ns), words));
            }
        }
        Ok(self.examined)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::build::{Build, forge_metadata, rolling};

    fn found(build: &Build) -> bool {
        matches!(Finalizers.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "C8")
    }

    #[test]
    fn what_goes_with_a_finalizer_is_found() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.remove("b", 1);
        assert!(matches!(Finalizers.check(&build.run), Verdict::Pass { examined: 1 }));
        build.put("c", 2, "two");
        let key = crate::names::register(2);
        let object = build.state.get(&key).unwrap().clone();
        build.forge(vec![forge_metadata(&object, |meta| {
            meta["finalizers"] = json!([crate::names::FINALIZER])
        })]);
        build.remove("d", 2);
        assert!(Finalizers.check(&build.run).passed(), "it waits");
        build.forge(vec![Change::Delete { key }]);
        assert!(found(&build));
    }

    #[test]
    fn a_namespace_that_goes_before_its_objects_is_found() {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.forge(vec![Change::Delete {
            key: kontiki_actors::ObjectKey::new(Kind::NAMESPACE, "", "default"),
        }]);
        assert!(found(&build));
    }

    #[test]
    fn an_orphan_is_found() {
        let mut build = Build::new();
        build.nodes(1, 5);
        build.deploy(0, 1, rolling(1, 0));
        build.converge();
        build.run.settled.workload_ns = Some(1);
        assert!(Finalizers.check(&build.run).passed());
        build.forge(vec![Change::Delete { key: crate::names::deployment(0) }]);
        assert!(found(&build));
    }
}
