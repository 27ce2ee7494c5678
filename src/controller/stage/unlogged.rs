//! What the leader of a term answered without an entry: refusals, and writes that changed nothing. The state remembers the answers
//! of what is in the log; these are in no log, and yet must hold: an attempt of the same request that comes after its caller
//! was told (it waited in a broken connection while a later attempt was answered) gets the same answer and does nothing.
//!
//! The memory is this leader's, and of one term: an attempt names the term that it was meant for, so that no other leader takes it.

use std::collections::{BTreeMap, VecDeque};

use kontiki_actors::{Outcome, RequestId, state::ANSWERED_LIMIT};
use kontiki_hooks::{Defect, planted};

/// The answers. As many are remembered as of those in the log; the oldest is forgotten for a new one.
#[derive(Default)]
pub(super) struct Unlogged {
    term: u64,
    answers: BTreeMap<RequestId, Given>,
    order: VecDeque<RequestId>,
}

struct Given {
    outcome: Outcome,
    /// Its caller was told: what it was decided on has come true.
    told: bool,
}

impl Unlogged {
    /// The leader begins from the folded state, with nothing on its way. What nobody was told may have been decided on what never came true.
    pub(super) fn begin(&mut self, term: u64) {
        if self.term != term {
            *self = Unlogged { term, ..Unlogged::default() };
        }
        self.answers.retain(|_, given| given.told);
        self.order.retain(|request| self.answers.contains_key(request));
    }

    /// The answer that a request got already.
    pub(super) fn get(&self, request: &str) -> Option<&Outcome> {
        self.answers.get(request).map(|given| &given.outcome).filter(|_| !planted(Defect::RefusalForgotten))
    }

    /// Notes an answer that is still to be told. False: it was there already.
    pub(super) fn note(&mut self, request: &RequestId, outcome: &Outcome) -> bool {
        if self.answers.contains_key(request) {
            return false;
        }
        if self.order.len() >= ANSWERED_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.order.push_back(request.clone());
        self.answers.insert(request.clone(), Given { outcome: outcome.abridged(), told: false });
        true
    }

    /// The caller was told.
    pub(super) fn told(&mut self, request: &str) {
        if let Some(given) = self.answers.get_mut(request) {
            given.told = true;
        }
    }

    /// The caller was told something else: this answer never was.
    pub(super) fn take_back(&mut self, request: &RequestId) {
        self.answers.remove(request);
        self.order.retain(|noted| noted != request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answer_is_forgotten_for_a_new_one() {
        let mut unlogged = Unlogged::default();
        let request = |n: usize| RequestId::from(format!("r{n}"));
        (0..=ANSWERED_LIMIT).for_each(|n| assert!(unlogged.note(&request(n), &Outcome::Done)));
        assert_eq!((unlogged.answers.len(), unlogged.order.len()), (ANSWERED_LIMIT, ANSWERED_LIMIT));
        assert_eq!(unlogged.get("r0"), None);
        assert_eq!(unlogged.get("r1"), Some(&Outcome::Done));
        assert!(!unlogged.note(&request(1), &Outcome::Done));
    }

    #[test]
    fn what_was_told_holds_as_long_as_the_term() {
        let mut unlogged = Unlogged::default();
        unlogged.begin(1);
        unlogged.note(&"told".into(), &Outcome::Done);
        unlogged.note(&"untold".into(), &Outcome::Done);
        unlogged.told("told");
        unlogged.begin(1);
        assert!(unlogged.get("told").is_some() && unlogged.get("untold").is_none());
        assert_eq!(unlogged.order, ["told"]);
        unlogged.begin(2);
        assert!(unlogged.get("told").is_none() && unlogged.order.is_empty());
    }
}
