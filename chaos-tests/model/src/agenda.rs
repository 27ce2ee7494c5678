//! What is going to happen, in order of time; what is due at the same time happens in the order in which it was entered.

use std::{cmp::Ordering, collections::BinaryHeap};

/// What is going to happen.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Entry<T>>,
    entered: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives its greatest first: that is to be the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> Agenda<T> {
    /// Nothing is going to happen.
    pub(crate) fn new() -> Agenda<T> {
        Agenda { heap: BinaryHeap::new(), entered: 0 }
    }

    /// This will happen then.
    pub(crate) fn enter(&mut self, at: u64, what: T) {
        self.entered += 1;
        self.heap.push(Entry { at, order: self.entered, what });
    }

    /// The next thing that happens, if it does until then.
    pub(crate) fn next_until(&mut self, until: u64) -> Option<(u64, T)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_is_first_and_equals_keep_their_order() {
        let mut agenda = Agenda::new();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            agenda.enter(at, what);
        }
        let order: String = std::iter::from_fn(|| agenda.next_until(5)).map(|(_, what)| what).collect();
        assert_eq!(order, "abcd");
        agenda.enter(6, 'e');
        assert!(agenda.next_until(5).is_none());
    }
}
