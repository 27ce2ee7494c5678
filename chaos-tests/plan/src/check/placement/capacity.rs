//! What is placed on a node fits it: the sum of what its pods ask for, counted anew from the pods themselves and not from the state's
//! own sums, at each placement.

use std::collections::BTreeSet;

use kontiki_actors::{Kind, ObjectKey, State, object::Resources};

use crate::{
    Run,
    check::{Check, Moment, Observer, Verdict, placement::placed},
};

/// E1.
pub(crate) struct Capacity;

impl Check for Capacity {
    fn name(&self) -> &'static str {
        "capacity"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["E1"]
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
        let nodes: BTreeSet<&str> = placed(moment).map(|(_, node)| node).collect();
        for name in nodes {
            self.examined += 1;
            fits(moment, name)?;
        }
        Ok(())
    }

    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict> {
        Ok(self.examined)
    }
}

fn fits(moment: &Moment<'_>, name: &str) -> Result<(), Verdict> {
    let key = ObjectKey::new(Kind::NODE, "", name);
    let Some(node) = moment.after.get(&key) else {
        return Err(moment.violated("E1", format_args!("a pod was placed on {name}, which does not exist")));
    };
    let Some(node) = node.node() else { return Ok(()) };
    let (mut sum, mut count) = (Resources::default(), 0);
    for pod in moment.after.pods_on(name).filter_map(|object| object.pod()).filter(|pod| !pod.terminal()) {
        sum = sum.plus(pod.requests);
        count += 1;
    }
    let room = node.allocatable;
    let over = [
        ("cpu", sum.cpu_milli, room.cpu_milli),
        ("memory", sum.memory, room.memory),
        ("ephemeral-storage", sum.ephemeral_storage, room.ephemeral_storage),
        ("pods", count, node.max_pods),
    ];
    for (what, asked, has) in over {
        if asked > has && asked > 0 {
            let words = format!("{count} pods on {name} ask for {asked} of {what}, and it has {has}");
            return Err(moment.violated("E1", words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kontiki_actors::Change;
    use serde_json::json;

    use super::*;
    use crate::check::build::{Build, rolling};

    #[test]
    fn what_fits_passes_and_one_more_is_found() {
        let mut build = Build::new();
        build.nodes(2, 3);
        build.deploy(0, 6, rolling(1, 0));
        build.converge();
        assert!(matches!(Capacity.check(&build.run), Verdict::Pass { examined } if examined >= 2));
        // One more by hand: seven pods do not fit two nodes of three.
        build.edit(&crate::names::deployment(0), |value| value["spec"]["replicas"] = 7.into());
        build.converge();
        assert!(Capacity.check(&build.run).passed());
        let waiting = build.state.unplaced().next().cloned().unwrap();
        let document = build.state.get(&waiting).unwrap().document.whole();
        let mut spec = document.spec_value();
        spec["nodeName"] = json!("worker-0");
        let placed = document.with_spec(spec);
        build.forge(vec![Change::between(waiting, Some(&document), &placed).unwrap()]);
        match Capacity.check(&build.run) {
            Verdict::Violated { invariant, words, .. } => {
                assert!(invariant == "E1" && words.contains("4 of pods"), "{words}");
            }
            other => panic!("not found: {other:?}"),
        }
    }
}
