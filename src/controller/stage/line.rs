//! What waits to be decided, in two lines: what clients ask for, and what the cluster tells of itself (reports, greetings, verdicts,
//! wake-ups). Each of them in its own order, and both in turns: when thousands of pods start at once, who writes does not wait for all
//! of their reports, and a crowd of writers does not hold up the news of the pods.

use std::collections::VecDeque;

use kontiki_actors::{Input, RequestId, input::PodReport};
use tokio::sync::oneshot;

use super::{Answer, WAITING_MAX};

/// Reports of workers that are merged into one turn.
const REPORTS_MAX: usize = 512;
/// Bytes of them. What is larger is a turn of its own: one that the log does not take costs no other worker its reports.
const REPORTS_BYTES: usize = 1 << 20;
/// An event is an object: so many bytes more than what it says.
const NOTE_BYTES: usize = 1 << 10;

/// One input, and who waits for its outcome.
pub(super) struct Waiting {
    pub(super) input: Input,
    pub(super) request: Option<RequestId>,
    pub(super) trace: Option<String>,
    pub(super) replies: Vec<oneshot::Sender<Answer>>,
}

impl Waiting {
    /// An input that nobody waits for.
    pub(super) fn unasked(input: Input) -> Waiting {
        Waiting { input, request: None, trace: None, replies: Vec::new() }
    }

    /// Nobody waits for it any more: its caller was told that it may be done or not, or will come again.
    fn is_forsaken(&self) -> bool {
        !self.replies.is_empty() && self.replies.iter().all(oneshot::Sender::is_closed)
    }
}

/// The two lines.
#[derive(Default)]
pub(super) struct Line {
    /// Before all others.
    first: VecDeque<Waiting>,
    clients: VecDeque<Waiting>,
    cluster: VecDeque<Waiting>,
    /// The last that was taken was a client's.
    clients_had: bool,
}

impl Line {
    /// Whether its line takes another one like this.
    pub(super) fn has_room(&self, input: &Input) -> bool {
        let line = if matches!(input, Input::Api(_)) { &self.clients } else { &self.cluster };
        line.len() < WAITING_MAX
    }

    /// At the end of its line.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let line = if matches!(waiting.input, Input::Api(_)) { &mut self.clients } else { &mut self.cluster };
        line.push_back(waiting);
    }

    /// Before all others.
    pub(super) fn push_first(&mut self, waiting: Waiting) {
        self.first.push_front(waiting);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.clients.is_empty() && self.cluster.is_empty()
    }

    /// The next to decide, without those that nobody waits for any more. Reports that wait one after another are one: an owner counts
    /// once what many of its pods did.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        loop {
            let mut next = match self.first.pop_front() {
                Some(next) => next,
                None => self.pop()?,
            };
            if next.is_forsaken() {
                continue;
            }
            self.merge_reports(&mut next);
            return Some(next);
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let clients = (!self.clients_had || self.cluster.is_empty()) && !self.clients.is_empty();
        self.clients_had = clients;
        if clients { self.clients.pop_front() } else { self.cluster.pop_front() }
    }

    fn merge_reports(&mut self, next: &mut Waiting) {
        let Input::Reports(reports) = &mut next.input else { return };
        let mut bytes = weight(reports);
        while reports.len() < REPORTS_MAX
            && let Some(more_bytes) = self.next_reports().filter(|more| bytes + more <= REPORTS_BYTES)
            && let Some(Waiting { input: Input::Reports(more), replies, .. }) = self.cluster.pop_front()
        {
            bytes += more_bytes;
            reports.extend(more);
            next.replies.extend(replies);
        }
    }

    /// Bytes of the reports that the cluster's line begins with, if it does.
    fn next_reports(&self) -> Option<usize> {
        match self.cluster.front() {
            Some(Waiting { input: Input::Reports(reports), .. }) => Some(weight(reports)),
            _ => None,
        }
    }

    /// All that waits; after that nothing does.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiting> {
        let Line { first, clients, cluster, .. } = std::mem::take(self);
        first.into_iter().chain(clients).chain(cluster)
    }
}

/// About how many bytes reports add to an entry.
pub(super) fn weight(reports: &[PodReport]) -> usize {
    let of_one = |report: &PodReport| {
        let PodReport { node, uid, namespace, name, status, events, gone: _ } = report;
        let notes = events.iter().map(|note| {
            NOTE_BYTES + note.r#type.len() + note.reason.len() + note.message.len() + note.field_path.len()
        });
        node.len() + uid.len() + namespace.len() + name.len() + status.len() + notes.sum::<usize>()
    };
    reports.iter().map(of_one).sum()
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Document, Kind, ObjectKey, Request, input::Note};

    use super::*;

    fn write(name: &str) -> Waiting {
        let key = ObjectKey::new(Kind::CONFIG_MAP, "ns", name);
        let document = Document::default();
        Waiting::unasked(Input::Api(Request::Create { key, generate_name: None, document, dry_run: false }))
    }

    fn verdicts() -> Waiting {
        Waiting::unasked(Input::Verdicts(Vec::new()))
    }

    fn report(status: usize, events: usize) -> Waiting {
        let note = Note {
            r#type: "Normal".into(),
            reason: "Started".into(),
            message: String::new(),
            field_path: "".into(),
            time_ms: 0,
        };
        Waiting::unasked(Input::Reports(vec![PodReport {
            node: "n".into(),
            uid: "u".into(),
            namespace: "ns".into(),
            name: "p".into(),
            status: vec![b' '; status].into(),
            gone: false,
            events: vec![note; events],
        }]))
    }

    /// How many reports each turn has.
    fn merged(line: &mut Line) -> Vec<usize> {
        std::iter::from_fn(|| line.next())
            .map(|next| match next.input {
                Input::Reports(reports) => reports.len(),
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn a_large_report_is_a_turn_of_its_own() {
        let mut line = Line::default();
        for status in [10, 10, 2 * REPORTS_BYTES, 10, 10, 10] {
            line.push(report(status, 0));
        }
        assert_eq!(merged(&mut line), [2, 1, 3]);
        // Together they would be too large.
        (0..4).for_each(|_| line.push(report(REPORTS_BYTES / 3, 0)));
        assert_eq!(merged(&mut line), [2, 2]);
        (0..4).for_each(|_| line.push(report(10, REPORTS_BYTES / NOTE_BYTES / 2)));
        assert_eq!(merged(&mut line), [1, 1, 1, 1], "events count, too");
    }

    /// What comes out, in order: names of writes, and a dash for what the cluster tells.
    fn all(line: &mut Line) -> Vec<String> {
        std::iter::from_fn(|| line.next())
            .map(|next| match next.input {
                Input::Api(request) => request.key().name.to_string(),
                _ => "-".to_owned(),
            })
            .collect()
    }

    #[test]
    fn neither_line_waits_for_the_whole_of_the_other() {
        let mut line = Line::default();
        (0..4).for_each(|_| line.push(verdicts()));
        ["a", "b"].into_iter().for_each(|name| line.push(write(name)));
        assert_eq!(all(&mut line), ["a", "-", "b", "-", "-", "-"]);
        ["a", "b", "c"].into_iter().for_each(|name| line.push(write(name)));
        line.push(verdicts());
        assert_eq!(all(&mut line), ["a", "-", "b", "c"]);
    }

    #[test]
    fn what_is_put_back_is_first() {
        let mut line = Line::default();
        line.push(write("a"));
        line.push(verdicts());
        line.push_first(write("first"));
        assert_eq!(all(&mut line), ["first", "a", "-"]);
        assert!(line.is_empty());
    }

    #[test]
    fn a_full_line_leaves_the_other_its_room() {
        let mut line = Line::default();
        (0..WAITING_MAX).for_each(|_| line.push(verdicts()));
        assert!(!line.has_room(&verdicts().input));
        assert!(line.has_room(&write("a").input));
        assert_eq!(line.drain().count(), WAITING_MAX);
        assert!(line.is_empty() && line.has_room(&verdicts().input));
    }

    #[test]
    fn who_went_away_is_not_decided() {
        let mut line = Line::default();
        let (reply, answer) = oneshot::channel();
        drop(answer);
        line.push(Waiting { replies: vec![reply], ..write("forsaken") });
        line.push(write("a"));
        assert_eq!(all(&mut line), ["a"]);
    }
}
