//! One pass through the states of the log, for all checks that look at them. The states are the product's own fold: what is judged
//! here is what the turns decided, not how changes are kept.

use kontiki_actors::{Change, State};

use super::{Check, Evidence, Log, Turn, Verdict};
use crate::Run;

/// What an observer sees: a turn and the states around it.
pub struct Moment<'a> {
    /// The run, for its faults and its plan.
    pub run: &'a Run,
    /// Before the turn.
    pub before: &'a State,
    /// What was decided.
    pub turn: &'a Turn,
    /// After the turn.
    pub after: &'a State,
}

impl Moment<'_> {
    /// When the turn was known to be committed or decided, if that can be told.
    pub fn at_ns(&self) -> Option<u64> {
        self.turn.at_ns()
    }

    /// A violation at this turn.
    pub fn violated(&self, invariant: &str, words: impl std::fmt::Display) -> Verdict {
        let words = format!("entry {} (revision {}): {words}", self.turn.index, self.turn.after);
        Verdict::violated(invariant, self.at_ns(), words)
    }
}

/// What is wrong with a change; the pass adds where it was.
pub struct Finding {
    /// The invariant's number.
    pub invariant: &'static str,
    /// What was seen.
    pub words: String,
}

/// Looks at each turn of the log.
pub trait Observer {
    /// Looks at a single change before it is made: `now` is the state in the middle of its turn.
    fn change(&mut self, _now: &State, _change: &Change) -> Result<(), Finding> {
        Ok(())
    }

    /// Looks at a turn, after its changes. The first violation ends its work.
    fn turn(&mut self, moment: &Moment<'_>) -> Result<(), Verdict>;

    /// The log has ended. How many things were looked at.
    fn end(&mut self, _run: &Run, _last: &State) -> Result<u64, Verdict>;
}

/// Judges by one observer alone.
pub(super) fn judge(evidence: &Evidence<'_>, observer: Box<dyn Observer>) -> Verdict {
    let mut observers = [Some((observer, None))];
    match evidence.log() {
        Ok(log) => pass(evidence.run, log, &mut observers),
        Err(verdict) => return verdict,
    }
    let [observed] = observers;
    observed
        .and_then(|(_, verdict)| verdict)
        .unwrap_or(Verdict::Unknown { words: "nothing was observed".into() })
}

/// Judges by all observers among the checks in one pass; none for checks that have no observer.
pub(super) fn judge_together(evidence: &Evidence<'_>, checks: &[&'static dyn Check]) -> Vec<Option<Verdict>> {
    let mut observers: Vec<Option<Observed>> =
        checks.iter().map(|check| check.observer().map(|observer| (observer, None))).collect();
    match evidence.log() {
        Ok(log) => pass(evidence.run, log, &mut observers),
        Err(verdict) => {
            observers.iter_mut().flatten().for_each(|(_, found)| *found = Some(verdict.clone()));
        }
    }
    observers.into_iter().map(|observed| observed.and_then(|(_, verdict)| verdict)).collect()
}

type Observed = (Box<dyn Observer>, Option<Verdict>);

fn pass(run: &Run, log: &Log, observers: &mut [Option<Observed>]) {
    let mut state = State::default();
    for turn in &log.turns {
        // Persistent maps: a clone is a few pointers.
        let before = state.clone();
        for change in &turn.turned.changes {
            for (observer, found) in observers.iter_mut().flatten().filter(|(_, found)| found.is_none()) {
                if let Err(finding) = observer.change(&state, change) {
                    let moment = Moment { run, before: &before, turn, after: &state };
                    *found = Some(moment.violated(finding.invariant, finding.words));
                }
            }
            state.apply(change);
        }
        if let Some(request) = &turn.turned.request {
            state.remember(request, &turn.turned.outcome);
        }
        let moment = Moment { run, before: &before, turn, after: &state };
        for (observer, found) in observers.iter_mut().flatten().filter(|(_, found)| found.is_none()) {
            *found = observer.turn(&moment).err();
        }
    }
    for (observer, found) in observers.iter_mut().flatten().filter(|(_, found)| found.is_none()) {
        *found = Some(match observer.end(run, &state) {
            Ok(examined) => Verdict::Pass { examined },
            Err(verdict) => verdict,
        });
    }
}
