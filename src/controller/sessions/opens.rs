//! Streams that a worker is to open, from the moment its session is known: until it is welcomed it takes whatever else it is told for a
//! failed session.

use std::collections::VecDeque;

use kontiki_proto::worker::OpenStream;

/// Streams that wait for the welcome. Each controller waits for 32 of one worker at most (`streams`): this is room for a few controllers.
const WAITING_MAX: usize = 128;

/// What is held back until the welcome.
#[derive(Default)]
pub(super) struct Opens {
    welcomed: bool,
    waiting: VecDeque<OpenStream>,
}

impl Opens {
    /// One more. It comes back if the worker can be told of it at once.
    pub(super) fn ask(&mut self, open: OpenStream) -> Option<OpenStream> {
        if self.welcomed {
            return Some(open);
        }
        if self.waiting.len() >= WAITING_MAX {
            // Who asked for the oldest gives up first.
            self.waiting.pop_front();
        }
        self.waiting.push_back(open);
        None
    }

    /// The worker was welcomed: it is told of these now, in this order.
    pub(super) fn welcomed(&mut self) -> VecDeque<OpenStream> {
        self.welcomed = true;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ticket: usize) -> OpenStream {
        OpenStream { ticket: ticket.to_string(), ..OpenStream::default() }
    }

    #[test]
    fn no_stream_is_opened_before_the_welcome() {
        let mut opens = Opens::default();
        assert_eq!(opens.ask(open(1)), None);
        assert_eq!(opens.ask(open(2)), None);
        assert_eq!(opens.welcomed(), [open(1), open(2)]);
        assert_eq!(opens.ask(open(3)), Some(open(3)), "at once from then on");
        assert!(opens.welcomed().is_empty(), "each once");
    }

    #[test]
    fn only_so_many_wait_and_the_oldest_is_forgotten_first() {
        let mut opens = Opens::default();
        for ticket in 0..=WAITING_MAX {
            assert_eq!(opens.ask(open(ticket)), None);
        }
        let waiting = opens.welcomed();
        assert_eq!(waiting.len(), WAITING_MAX);
        assert_eq!(waiting.front(), Some(&open(1)));
    }
}
