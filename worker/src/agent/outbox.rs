//! What the leader is still to hear: the newest status of each pod, and events. It survives sessions: what was sent but
//! not acknowledged is sent again on the next one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kontiki_proto::worker::{EventNote, PodReport, StatusReport};
use tokio::sync::Notify;

/// Events that may wait; the oldest are dropped first, for they explain the least.
const EVENTS_MAX: usize = 1000;
/// What one report may carry.
const REPORT_PODS_MAX: usize = 256;
const REPORT_EVENTS_MAX: usize = 256;
const REPORT_BYTES_MAX: usize = 1 << 20;
/// Reports that may be on their way at a time.
const UNACKNOWLEDGED_MAX: usize = 8;

/// The outbox.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    serial: u64,
    /// At most one per pod that this worker has: the newest.
    pods: HashMap<String, PodReport>,
    /// The order in which they became due, so that none starves.
    due: VecDeque<String>,
    events: VecDeque<EventNote>,
    dropped: u64,
    sent: BTreeMap<u64, StatusReport>,
}

impl Outbox {
    /// A pod's newest status.
    pub fn report(&self, report: PodReport) {
        let mut state = self.lock();
        let uid = report.uid.clone();
        if state.pods.insert(uid.clone(), report).is_none() {
            state.due.push_back(uid);
        }
        drop(state);
        self.news.notify_one();
    }

    /// An event.
    pub fn event(&self, event: EventNote) {
        let mut state = self.lock();
        state.push_event(event);
        drop(state);
        self.news.notify_one();
    }

    /// Nothing of this pod is of interest any more.
    pub fn forget(&self, uid: &str) {
        let mut state = self.lock();
        state.pods.remove(uid);
        state.due.retain(|due| due != uid);
        for report in state.sent.values_mut() {
            report.pods.retain(|pod| pod.uid != uid);
        }
    }

    /// The next report to send, when there is one and not too many are unacknowledged.
    pub fn next(&self) -> Option<StatusReport> {
        let mut state = self.lock();
        if state.sent.len() >= UNACKNOWLEDGED_MAX || (state.due.is_empty() && state.events.is_empty()) {
            return None;
        }
        state.serial += 1;
        let mut report = StatusReport { serial: state.serial, ..StatusReport::default() };
        let mut bytes = 0;
        while report.pods.len() < REPORT_PODS_MAX && bytes < REPORT_BYTES_MAX {
            let Some(uid) = state.due.pop_front() else { break };
            let Some(pod) = state.pods.remove(&uid) else { continue };
            bytes += pod.status.len();
            report.pods.push(pod);
        }
        let count = state.events.len().min(REPORT_EVENTS_MAX);
        report.events = state.events.drain(..count).collect();
        state.sent.insert(report.serial, report.clone());
        Some(report)
    }

    /// Reports up to this serial are committed.
    pub fn acknowledge(&self, serial: u64) {
        let mut state = self.lock();
        state.sent = state.sent.split_off(&serial.saturating_add(1));
        drop(state);
        // There may be room again.
        self.news.notify_one();
    }

    /// A new session: what was not acknowledged is due again, unless there is something newer of the same pod.
    pub fn rewind(&self) {
        let mut state = self.lock();
        let sent = std::mem::take(&mut state.sent);
        for report in sent.into_values().rev() {
            for event in report.events.into_iter().rev() {
                state.events.push_front(event);
            }
            for pod in report.pods {
                if !state.pods.contains_key(&pod.uid) {
                    state.due.push_back(pod.uid.clone());
                    state.pods.insert(pod.uid.clone(), pod);
                }
            }
        }
        while state.events.len() > EVENTS_MAX {
            state.events.pop_front();
        }
        drop(state);
        self.news.notify_one();
    }

    /// Whether the leader has heard all that there was to say.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.due.is_empty() && state.events.is_empty() && state.sent.is_empty()
    }

    /// Returns when there may be something to send.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push_event(&mut self, event: EventNote) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::warn!(
                    dropped = self.dropped,
                    "too many events wait for the leader: the oldest are dropped"
                );
            }
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(uid: &str, status: &'static str) -> PodReport {
        PodReport { uid: uid.to_owned(), status: status.as_bytes().into(), ..PodReport::default() }
    }

    fn statuses(report: &StatusReport) -> Vec<(&str, &[u8])> {
        report.pods.iter().map(|pod| (pod.uid.as_str(), &pod.status[..])).collect()
    }

    #[test]
    fn the_latest_status_wins_and_what_was_not_acknowledged_is_sent_again() {
        let outbox = Outbox::default();
        outbox.report(report("a", "1"));
        outbox.report(report("b", "1"));
        outbox.report(report("a", "2"));
        let first = outbox.next().unwrap();
        assert_eq!(statuses(&first), [("a", &b"2"[..]), ("b", b"1")]);
        assert_eq!(outbox.next(), None);

        outbox.report(report("b", "2"));
        outbox.rewind();
        let again = outbox.next().unwrap();
        assert!(again.serial > first.serial);
        assert_eq!(
            statuses(&again),
            [("b", &b"2"[..]), ("a", b"2")],
            "the old status of b is not sent after the new"
        );

        outbox.acknowledge(again.serial);
        outbox.rewind();
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn events_are_bounded_and_the_oldest_give_way() {
        let outbox = Outbox::default();
        for number in 0..EVENTS_MAX + 5 {
            outbox.event(EventNote { message: number.to_string(), ..EventNote::default() });
        }
        assert_eq!(outbox.next().unwrap().events[0].message, "5");
    }
}
