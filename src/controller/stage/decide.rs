//! Deciding one input on the stage's state. A defect in an actor costs that input, not the stage: the state is untouched.

use std::{panic::AssertUnwindSafe, sync::Arc};

use kontiki_actors::{
    Change, Context, Decision, Event, Input, Outcome, RequestId, State, Turned, scheduling::ToPlace,
};
use kontiki_hooks::{Mark, reached};

use super::{StageError, clock::Nature, unlogged::Unlogged};

/// An actor that fails when it is woken is woken again so much later.
const POSTPONED_MS: i64 = 60_000;

/// How the actors decide: [`kontiki_actors::decide`], unless a test plays them.
pub(super) type Actors = fn(&State, &Input, Context) -> Decision;

/// What came of an input.
pub(super) struct Decided {
    /// Empty: nothing changed.
    pub(super) turns: Vec<Turned>,
    /// What watchers see of them.
    pub(super) events: Vec<Event>,
    /// The request whose answer is forgotten for this one's.
    pub(super) forgotten: Option<RequestId>,
    pub(super) outcome: Outcome,
    /// What is to be placed after it.
    pub(super) to_place: ToPlace,
}

/// An input with what the entry says of it.
pub(super) struct Case<'a> {
    pub(super) actors: Actors,
    pub(super) input: &'a Input,
    pub(super) request: Option<&'a RequestId>,
    pub(super) unlogged: &'a Unlogged,
    pub(super) trace: Option<&'a str>,
    pub(super) now_ms: i64,
    pub(super) nature: &'a Nature,
}

/// Decides a case. What the house itself brings (reports, verdicts, wake-ups, pods to place, measurements) is a list: when an actor fails
/// on it, each part is decided by itself and only what it fails on is left out, so that it cannot come back and fail for ever.
pub(super) fn settle(state: &mut State, case: &Case<'_>) -> Result<Decided, StageError> {
    let answered = |request| state.answered(request).or_else(|| case.unlogged.get(request));
    if let Some(outcome) = case.request.and_then(|request| answered(request)) {
        reached(Mark::RetryAnsweredFromMemory);
        return Ok(Decided::nothing(outcome.clone()));
    }
    let defect = match one(state, case) {
        Err(defect @ StageError::Defect(_)) => defect,
        other => return other,
    };
    let Some(parts) = parts(case.input) else { return Err(defect) };
    let mut all = Decided::nothing(Outcome::Done);
    for input in parts {
        match one(state, &Case { input: &input, ..*case }) {
            Ok(decided) => {
                all.turns.extend(decided.turns);
                all.events.extend(decided.events);
                all.to_place.pods.extend(decided.to_place.pods);
                all.to_place.all |= decided.to_place.all;
            }
            Err(_) => all.turns.extend(postpone(state, &input, case.now_ms)),
        }
    }
    Ok(all)
}

impl Decided {
    fn nothing(outcome: Outcome) -> Decided {
        let (turns, events, forgotten) = (Vec::new(), Vec::new(), None);
        Decided { turns, events, forgotten, outcome, to_place: ToPlace::default() }
    }
}

fn one(state: &mut State, case: &Case<'_>) -> Result<Decided, StageError> {
    let seed = (case.nature.random)();
    let context = Context::new(case.now_ms, seed);
    let decision = std::panic::catch_unwind(AssertUnwindSafe(|| (case.actors)(state, case.input, context)));
    let decision = decision.map_err(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_string();
        tracing::error!(what, input = ?case.input, "an actor failed on an input; please report this");
        StageError::Defect(what)
    })?;
    if decision.changes.is_empty() {
        return Ok(Decided { to_place: decision.to_place, ..Decided::nothing(decision.outcome) });
    }
    *state = decision.state;
    let forgotten = case.request.and_then(|request| state.remember(request, &decision.outcome));
    let turned = Turned {
        request: case.request.cloned(),
        now_ms: case.now_ms,
        seed,
        input: case.input.abridged(),
        changes: decision.changes,
        outcome: decision.outcome.abridged(),
        trace: case.trace.map(str::to_owned),
    };
    let trace: Option<Arc<str>> = case.trace.map(Arc::from);
    let events = decision.events.into_iter().map(|event| Event { trace: trace.clone(), ..event }).collect();
    let (turns, outcome) = (vec![turned], decision.outcome);
    Ok(Decided { turns, events, forgotten, outcome, to_place: decision.to_place })
}

/// The parts of a list, if the input is one.
fn parts(input: &Input) -> Option<Vec<Input>> {
    match input {
        Input::Reports(list) => Some(list.iter().map(|r| Input::Reports(vec![r.clone()])).collect()),
        Input::Verdicts(list) => Some(list.iter().map(|v| Input::Verdicts(vec![v.clone()])).collect()),
        Input::Wake(list) => Some(list.iter().map(|key| Input::Wake(vec![key.clone()])).collect()),
        Input::Place(list) => Some(list.iter().map(|key| Input::Place(vec![key.clone()])).collect()),
        Input::Measured(list) => Some(list.iter().map(|m| Input::Measured(vec![m.clone()])).collect()),
        _ => None,
    }
}

/// An actor that fails when it is woken must not be woken at once again, or the stage would do nothing else; a pod whose placing
/// fails is tried again when it is woken.
fn postpone(state: &mut State, input: &Input, now_ms: i64) -> Option<Turned> {
    let (Input::Wake(keys) | Input::Place(keys)) = input else { return None };
    let later = |key: &kontiki_actors::ObjectKey| Change::Wake {
        key: key.clone(),
        at_ms: Some(now_ms + POSTPONED_MS),
    };
    let changes: Vec<Change> = keys.iter().map(later).collect();
    for change in &changes {
        state.apply(change);
    }
    Some(Turned {
        request: None,
        now_ms,
        seed: 0,
        input: input.clone(),
        changes,
        outcome: Outcome::Done,
        trace: None,
    })
}
