//! What the leader knows will come of an entry that it decided. When that entry is committed, on the very history that it was decided on, the
//! leader need not make its changes a second time; and it holds each object once, not once as decided and once as folded.

use std::collections::BTreeMap;

use super::{Folded, State};
use crate::{
    change::{Change, Event},
    entry::Entry,
    input::RequestId,
    object::ObjectKey,
};

/// The outcome of an entry, before it is committed.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// The state after it, with its hash in the chain.
    pub state: State,
    /// What watchers will see of it, in order.
    pub events: Vec<Event>,
    /// Requests whose answers were forgotten for those in it, in order.
    pub forgotten: Vec<RequestId>,
}

impl State {
    /// Takes over what was foreseen of this entry, instead of folding it. Gives what folding it does.
    ///
    /// # Panics
    /// If the hash chain after the entry is another one: it was foreseen of another entry, or on another history.
    pub fn adopt(&mut self, entry: &Entry, chain: [u8; 32], foreseen: Foreseen) -> Folded {
        let Foreseen { state, events, forgotten } = foreseen;
        assert!(state.chain == chain, "what was foreseen is not what came");
        let mut folded = Folded { events, forgotten, ..Folded::default() };
        // Whether there is a wake-up, of those that the entry is about, at each change of it.
        let mut awaited: BTreeMap<&ObjectKey, bool> = BTreeMap::new();
        for turned in &entry.turns {
            for change in &turned.changes {
                match change {
                    Change::Wake { key, at_ms } => {
                        awaited.insert(key, at_ms.is_some());
                        folded.wakes.push((key.clone(), *at_ms));
                    }
                    Change::Delete { key } => {
                        if awaited.insert(key, false).unwrap_or_else(|| self.wakes.contains_key(key)) {
                            folded.wakes.push((key.clone(), None));
                        }
                    }
                    Change::Level(_) => folded.level = Some(state.level()),
                    Change::Put { .. } => {}
                }
            }
            if let Some(request) = &turned.request {
                folded.answered.push((request.clone(), turned.outcome.abridged()));
            }
        }
        *self = state;
        folded
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Entry, Input, Outcome, State, Turned,
        input::RequestId,
        state::{ANSWERED_LIMIT, Foreseen},
    };

    #[test]
    fn what_is_forgotten_for_answers_is_told_as_folding_tells_it() {
        let request = |n: usize| RequestId::from(format!("r{n}"));
        let mut before = State::default();
        (0..ANSWERED_LIMIT - 1).for_each(|n| drop(before.remember(&request(n), &Outcome::Done)));
        let turned = |n: usize| Turned {
            request: Some(request(ANSWERED_LIMIT + n)),
            now_ms: 0,
            seed: 0,
            input: Input::Wake(Vec::new()),
            changes: Vec::new(),
            outcome: Outcome::Done,
            trace: None,
        };
        let entry = Entry { term: 1, turns: (0..3).map(turned).collect() };
        let mut state = before.clone();
        let answers = entry.turns.iter().filter_map(|turn| Some((turn.request.as_ref()?, &turn.outcome)));
        let forgotten = answers.filter_map(|(request, outcome)| state.remember(request, outcome)).collect();
        state.advance(b"entry");
        let chain = state.chain();
        let folded = before.clone().fold(&entry, b"entry");
        let adopted = before.adopt(&entry, chain, Foreseen { state, events: Vec::new(), forgotten });
        assert_eq!(adopted.forgotten, [request(0), request(1)], "there was room for one");
        assert_eq!(adopted.forgotten, folded.forgotten);
        assert_eq!(adopted.answered, folded.answered);
        assert!(before.answered("r0").is_none() && before.answered("r2").is_some());
    }
}
