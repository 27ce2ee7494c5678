//! What the leader knows will come of an entry that it decided. When that entry is committed, on the very history that it was decided on, the
//! leader need not make its changes a second time; and it holds each object once, not once as decided and once as folded.

use std::collections::BTreeMap;

use super::{Folded, State};
use crate::{
    change::{Change, Event},
    entry::Entry,
    object::ObjectKey,
};

/// The outcome of an entry, before it is committed.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// The state after it, with its hash in the chain.
    pub state: State,
    /// What watchers will see of it, in order.
    pub events: Vec<Event>,
}

impl State {
    /// Takes over what was foreseen of this entry, instead of folding it. Gives what folding it does.
    ///
    /// # Panics
    /// If the hash chain after the entry is another one: it was foreseen of another entry, or on another history.
    pub fn adopt(&mut self, entry: &Entry, chain: [u8; 32], foreseen: Foreseen) -> Folded {
        let Foreseen { state, events } = foreseen;
        assert!(state.chain == chain, "what was foreseen is not what came");
        let mut folded = Folded { events, ..Folded::default() };
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
                folded.forgotten.extend(self.remember(request, &turned.outcome));
                folded.answered.push((request.clone(), turned.outcome.abridged()));
            }
        }
        *self = state;
        folded
    }
}
