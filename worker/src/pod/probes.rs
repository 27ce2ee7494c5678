//! Which probes run: those of the containers that run, the startup probe before the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::document::{Container, Pod};
use super::host::Host;
use super::inbox::Inbox;
use super::observed::{Observed, Run};
use crate::probe::{self, Kind};

/// The probes of a pod that run, each with the attempt that it asks.
#[derive(Default)]
pub(super) struct Probes {
    running: BTreeMap<(String, Kind), (u32, AbortOnDropHandle<()>)>,
}

impl Probes {
    /// Starts what should run and is not, and ends what should not.
    pub(super) fn tend(&mut self, host: &Arc<Host>, inbox: &Arc<Inbox>, pod: &Arc<Pod>, seen: &Observed) {
        // Nobody can be asked in a pod whose shim cannot be: what is known of its containers stands.
        let asked = pod.all_containers().filter(|_| seen.estranged.is_none());
        let wanted: Vec<(&Container, Kind, &Run)> = asked.flat_map(|c| wanted(c, seen)).collect();
        self.running.retain(|(name, kind), (attempt, _)| {
            wanted.iter().any(|(c, wanted, run)| c.name == *name && wanted == kind && run.attempt == *attempt)
        });
        for (container, kind, run) in wanted {
            let key = (container.name.clone(), kind);
            self.running.entry(key).or_insert_with(|| {
                let subject = probe::Subject {
                    host: host.clone(),
                    inbox: inbox.clone(),
                    pod: pod.clone(),
                    container: container.clone(),
                    attempt: run.attempt,
                    started_ms: run.started_ms,
                };
                (run.attempt, AbortOnDropHandle::new(tokio::spawn(probe::run(subject, kind))))
            });
        }
    }
}

fn wanted<'a>(container: &'a Container, seen: &'a Observed) -> Vec<(&'a Container, Kind, &'a Run)> {
    let record = seen.record(&container.name);
    let Some(run) = record.run() else { return Vec::new() };
    if record.stopping.is_some() && seen.stop_by_ms().is_none() {
        return Vec::new();
    }
    let kinds: &[Kind] = match (record.started, seen.stop_by_ms()) {
        (false, None) => &[Kind::Startup],
        (true, None) => &[Kind::Readiness, Kind::Liveness],
        // A pod that ends is not restarted any more, but others still want to know whether it serves.
        (_, Some(_)) => &[Kind::Readiness],
    };
    let has = |kind: &&Kind| kind.of(container).is_some();
    kinds.iter().filter(has).map(|kind| (container, *kind, run)).collect()
}
