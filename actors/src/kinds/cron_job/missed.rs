//! Which start is due: the last of those that were missed, however many they are.

use jiff::tz::TimeZone;

use super::schedule::Schedule;

/// More missed starts than this are worth a word.
const MANY: i64 = 100;

/// A start that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// When, Unix seconds.
    pub at_s: i64,
    /// Very many have been missed: the clock may be wrong.
    pub many: bool,
}

/// The last start after one time and not after the other; an error where the schedule has no two times.
pub(super) fn due(
    schedule: &Schedule,
    zone: &TimeZone,
    after_s: i64,
    now_s: i64,
) -> Result<Option<Due>, String> {
    let two = || {
        let first = schedule.next(after_s, zone)?;
        Some((first, schedule.next(first, zone)?))
    };
    let Some((first, second)) = two() else {
        return Err("time difference between two schedules is less than 1 second".into());
    };
    if now_s < first {
        return Ok(None);
    }
    if now_s < second {
        return Ok(Some(Due { at_s: first, many: false }));
    }
    // About as many as fit between; then by single steps from one before the last of them, and from further back where the schedule is so
    // irregular that there is none after that.
    let between = (second - first).max(1);
    let missed = (now_s - first) / between + 1;
    let (mut last, mut back) = (None, 2);
    while last.is_none() {
        let from = (first + (missed - back) * between).max(first - 1);
        let mut at = schedule.next(from, zone);
        while let Some(found) = at.filter(|at| *at <= now_s) {
            last = Some(found);
            at = schedule.next(found, zone);
        }
        if from < first {
            break;
        }
        back *= 2;
    }
    Ok(last.map(|at_s| Due { at_s, many: missed > MANY }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_last_missed_start_is_due() {
        let of = |text: &str, after: i64, now: i64| {
            due(&Schedule::parse(text).unwrap(), &TimeZone::UTC, after, now)
        };
        let one = |at_s: i64, many: bool| Ok(Some(Due { at_s, many }));
        assert_eq!(of("* * * * *", 0, 59), Ok(None));
        assert_eq!(of("* * * * *", 0, 60), one(60, false));
        assert_eq!(of("* * * * *", 0, 125), one(120, false));
        assert_eq!(of("* * * * *", 0, 60 * 100), one(6000, false));
        assert_eq!(of("* * * * *", 0, 60 * 101), one(6060, true));
        assert_eq!(of("@every 90s", 10, 400), one(370, false));
        // Not regular: 6, 10, 14 on weekdays. 1970-01-01 is a Thursday; Monday the 5th at five, the last was on Friday at 14.
        assert_eq!(of("0 6-16/4 * * 1-5", 0, 4 * 86_400 + 5 * 3600), one(86_400 + 14 * 3600, false));
        assert!(of("59 23 31 2 *", 0, 1000).is_err());
    }
}
