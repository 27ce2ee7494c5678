//! After failures, the next pod waits: 10 s, and twice as long with each failure more, up to 10 minutes. The record is part of the
//! job, so that a new leader goes on waiting where the last one was.

use crate::object::{Object, parse_time_ms, rfc3339};

/// Where the record stands: `2 2026-01-01T00:00:00Z`, the failures since the last success and the time of the last.
pub(super) const ANNOTATION: &str = "kontiki.io/job-backoff";
const FIRST_MS: i64 = 10_000;
const MOST_MS: i64 = 600_000;

/// Failures since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    failures: i64,
    last_ms: i64,
}

impl Record {
    /// The record of a job.
    pub(super) fn of(job: &Object) -> Record {
        let read = || {
            let (failures, last) = job.meta.annotations.get(ANNOTATION)?.split_once(' ')?;
            Some(Record { failures: failures.parse().ok()?, last_ms: parse_time_ms(last)? })
        };
        read().unwrap_or_default()
    }

    /// Adds pods that have ended: (when, whether it succeeded).
    pub(super) fn add(&mut self, mut ended: Vec<(i64, bool)>) {
        ended.sort_unstable();
        for (at, success) in ended {
            *self = match success {
                true => Record::default(),
                false => Record { failures: self.failures + 1, last_ms: at.max(self.last_ms) },
            };
        }
    }

    /// When the next pod may be made.
    pub(super) fn until_ms(self) -> i64 {
        if self.failures == 0 { i64::MIN } else { self.last_ms + wait_ms(self.failures) }
    }

    /// As the annotation has it; none after a success.
    pub(super) fn text(self) -> Option<String> {
        (self.failures > 0).then(|| format!("{} {}", self.failures, rfc3339(self.last_ms)))
    }
}

/// How long the next pod waits after so many failures.
pub(super) fn wait_ms(failures: i64) -> i64 {
    let doublings = u32::try_from((failures - 1).clamp(0, 20)).unwrap_or(0);
    FIRST_MS.saturating_mul(1 << doublings).min(MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_ten_minutes_and_a_success_ends_it() {
        let waits: Vec<i64> = (1..9).map(|failures| wait_ms(failures) / 1000).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        let mut record = Record::default();
        record.add(vec![(5000, false), (1000, false), (3000, true)]);
        assert_eq!(record, Record { failures: 1, last_ms: 5000 });
        record.add(vec![(9000, true)]);
        assert_eq!((record.text(), record.until_ms()), (None, i64::MIN));
    }
}
