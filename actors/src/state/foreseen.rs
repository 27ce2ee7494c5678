//! What the leader knows will come of an entry that it decided. When that entry is committed, on the very history that it was decided on, the
//! leader need not make its changes a second time; and it holds each object once, not once as decided and once as folded.

use std::collections::BTreeSet;

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
        let set = set_by(entry);
        for turned in &entry.turns {
            for change in &turned.changes {
                match change {
                    Change::Wake { key, at_ms } => folded.wakes.push((key.clone(), *at_ms)),
                    Change::Delete { key } if self.wakes.contains_key(key) || set.contains(key) => {
                        folded.wakes.push((key.clone(), None));
                    }
                    Change::Level(_) => folded.level = Some(state.level()),
                    Change::Put { .. } | Change::Delete { .. } => {}
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

/// The wake-ups that an entry sets.
fn set_by(entry: &Entry) -> BTreeSet<&ObjectKey> {
    let changes = entry.turns.iter().flat_map(|turned| &turned.changes);
    changes
        .filter_map(|change| match change {
            Change::Wake { key, at_ms: Some(_) } => Some(key),
            _ => None,
        })
        .collect()
}
