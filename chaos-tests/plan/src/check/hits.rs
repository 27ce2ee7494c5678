//! Which faults explain what was seen.

use crate::{
    Run,
    history::FaultRecord,
    plan::{FaultKind, What},
};

/// The kind of a fault as it stands in the plan; none for one that was not done.
pub(super) fn kind<'a>(run: &'a Run, record: &FaultRecord) -> Option<&'a FaultKind> {
    match &run.plan.events.get(record.event)?.what {
        What::Fault(fault) if record.skipped.is_none() => Some(&fault.kind),
        _ => None,
    }
}

/// The faults that hit something of this name and lasted at some time in this stretch.
pub(super) fn on<'a>(
    run: &'a Run,
    hit: impl Fn(&str) -> bool + 'a,
    from_ns: u64,
    until_ns: u64,
) -> impl Iterator<Item = &'a FaultKind> {
    let lasting = move |fault: &&FaultRecord| {
        fault.from_ns <= until_ns && fault.until_ns >= from_ns && fault.hit.iter().any(|name| hit(name))
    };
    run.faults.iter().filter(lasting).filter_map(|fault| kind(run, fault))
}
