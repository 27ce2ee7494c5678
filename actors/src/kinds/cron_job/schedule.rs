//! Schedules as cron writes them: five fields, or a word that begins with `@`; and the times that they mean, by the rules of the parser
//! that Kubernetes uses (robfig/cron), changes of the clock included.

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil, tz::TimeZone};

/// The fields, in order: name, least, most, names of values.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
/// Words, and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A time that is not found within so many years is none.
const YEARS: i16 = 5;

/// When something is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At these times of the clock.
    Clock(Clock),
    /// Again after so many seconds.
    Every(i64),
}

/// Sets of values, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Day of month or day of week is `*`: then both must match, else either.
    any_day: bool,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it, in the words of the parser that Kubernetes uses, as far as it has some.
    pub fn parse(schedule: &str) -> Result<Schedule, String> {
        if let Some(every) = schedule.strip_prefix("@every ") {
            let seconds = seconds(every)
                .ok_or_else(|| format!("failed to parse duration {schedule}: invalid duration"))?;
            return Ok(Schedule::Every(seconds));
        }
        if schedule.starts_with('@') {
            let word = WORDS.iter().find(|(word, _)| *word == schedule);
            let (_, fields) = word.ok_or_else(|| format!("unrecognized descriptor: {schedule}"))?;
            return Schedule::parse(fields);
        }
        let told: Vec<&str> = schedule.split_whitespace().collect();
        if told.len() != FIELDS.len() {
            let found = told.len();
            return Err(format!("expected exactly 5 fields, found {found}: [{}]", told.join(" ")));
        }
        let mut sets = [(0, false); 5];
        for ((set, told), field) in sets.iter_mut().zip(&told).zip(&FIELDS) {
            for part in told.split(',') {
                let (values, star) = range(part, field)?;
                *set = (set.0 | values, set.1 | star);
            }
        }
        let [(minute, _), (hour, _), (day, any), (month, _), (weekday, any_weekday)] = sets;
        Ok(Schedule::Clock(Clock { minute, hour, day, month, weekday, any_day: any || any_weekday }))
    }

    /// The first time after this one, Unix seconds; none if there is none within five years.
    pub fn next(&self, after_s: i64, zone: &TimeZone) -> Option<i64> {
        match self {
            Schedule::Every(seconds) => after_s.checked_add(*seconds),
            Schedule::Clock(clock) => {
                let after = Timestamp::from_second(after_s.checked_add(1)?).ok()?.to_zoned(zone.clone());
                clock.from(after).map(|at| at.timestamp().as_second())
            }
        }
    }
}

impl Clock {
    /// The first time that is not before this one.
    fn from(&self, start: Zoned) -> Option<Zoned> {
        let limit = start.year() + YEARS;
        let mut at = start;
        // A field that was moved sets the finer ones back, once.
        let mut moved = false;
        'again: loop {
            if at.year() > limit {
                return None;
            }
            while !has(self.month, at.month()) {
                if !std::mem::replace(&mut moved, true) {
                    at = on(&at, civil::date(at.year(), at.month(), 1), 0)?;
                }
                at = at.checked_add(1.month()).ok()?;
                if at.month() == 1 {
                    continue 'again;
                }
            }
            while !self.day_matches(&at) {
                if !std::mem::replace(&mut moved, true) {
                    at = on(&at, at.date(), 0)?;
                }
                // Where the clock leaves midnight out, the day begins at another hour.
                at = at.checked_add(1.day()).ok()?.start_of_day().ok()?;
                if at.day() == 1 {
                    continue 'again;
                }
            }
            while !has(self.hour, at.hour()) {
                if !std::mem::replace(&mut moved, true) {
                    at = on(&at, at.date(), at.hour())?;
                }
                at = at.checked_add(SignedDuration::from_hours(1)).ok()?;
                if at.hour() == 0 {
                    continue 'again;
                }
            }
            while !has(self.minute, at.minute()) {
                if !std::mem::replace(&mut moved, true) {
                    at = at.checked_sub(SignedDuration::from_secs(i64::from(at.second()))).ok()?;
                }
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
                if at.minute() == 0 {
                    continue 'again;
                }
            }
            if at.second() != 0 {
                moved = true;
                at = at.checked_add(SignedDuration::from_secs(60 - i64::from(at.second()))).ok()?;
                continue 'again;
            }
            return Some(at);
        }
    }

    fn day_matches(&self, at: &Zoned) -> bool {
        let day = has(self.day, at.day());
        let weekday = has(self.weekday, at.weekday().to_sunday_zero_offset());
        if self.any_day { day && weekday } else { day || weekday }
    }
}

/// A full hour of a date in the same zone.
fn on(at: &Zoned, date: civil::Date, hour: i8) -> Option<Zoned> {
    date.at(hour, 0, 0, 0).to_zoned(at.time_zone().clone()).ok()
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| (set >> value) & 1 == 1)
}

/// One of `*`, `a`, `a-b`, each with `/step` or without: the values, and whether it is any.
fn range(part: &str, field: &(&str, u32, u32, &[&str])) -> Result<(u64, bool), String> {
    let (_, least, most, _) = *field;
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    let mut any = false;
    let (from, to) = match span {
        "*" | "?" => {
            any = true;
            (least, most)
        }
        _ => match span.split_once('-') {
            Some((from, to)) => (value(from, field)?, value(to, field)?),
            // A step from a value on goes to the end.
            None => (value(span, field)?, if step.is_some() { most } else { value(span, field)? }),
        },
    };
    if from < least {
        return Err(format!("beginning of range ({from}) below minimum ({least}): {part}"));
    }
    if to > most {
        return Err(format!("end of range ({to}) above maximum ({most}): {part}"));
    }
    if from > to {
        return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
    }
    let by = match step.map(str::parse::<u32>) {
        None => 1,
        Some(Ok(0)) => return Err(format!("step of range should be a positive number: {part}")),
        Some(Ok(by)) => by,
        Some(Err(_)) => return Err(format!("failed to parse int from {}", step.unwrap_or_default())),
    };
    let steps = (from..=to).step_by(usize::try_from(by).unwrap_or(usize::MAX));
    Ok((steps.fold(0, |set, value| set | (1 << value)), any && by == 1))
}

fn value(text: &str, (_, least, _, names): &(&str, u32, u32, &[&str])) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(at) => Ok(u32::try_from(at).unwrap_or(0) + least),
        None => text.parse().map_err(|_| format!("failed to parse int from {text}")),
    }
}

/// A duration as Go writes it (`1h30m`, `1.5s`) in whole seconds, at least one.
fn seconds(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 6] =
        [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() || rest.len() == text.len() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let (unit, length) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        sum += number * length;
        rest = &rest[unit.len()..];
    }
    // As long as a duration in Go may be, so that it fits.
    (sum < 9.2e9).then_some((sum as i64).max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        kinds::cron_job::zone,
        object::{parse_time_ms, rfc3339},
    };

    fn next(schedule: &str, after: &str, zone: &TimeZone) -> String {
        let after = parse_time_ms(after).unwrap() / 1000;
        let schedule = Schedule::parse(schedule).unwrap();
        schedule.next(after, zone).map_or("never".into(), |at| rfc3339(at * 1000))
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said() {
        for (bad, text) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every soon", "failed to parse duration @every soon"),
            ("@every 5", "failed to parse duration @every 5"),
            ("@every ", "failed to parse duration"),
        ] {
            let wrong = Schedule::parse(bad).expect_err(bad);
            assert!(wrong.contains(text), "{bad}: {wrong}");
        }
    }

    #[test]
    fn times_are_those_of_cron() {
        let utc = TimeZone::UTC;
        for (schedule, after, expected) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:14:59Z", "2026-01-01T00:15:00Z"),
            ("5/15 * ? * *", "2026-01-01T00:21:00Z", "2026-01-01T00:35:00Z"),
            ("30 2 * * 1-5", "2026-01-02T02:30:00Z", "2026-01-05T02:30:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("59 23 31 2 *", "2026-01-01T00:00:00Z", "never"),
            ("0 12 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
            ("0 12 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T12:00:00Z"),
            ("0 0 * JAN,dec *", "2026-02-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:10Z", "2026-01-01T01:30:10Z"),
            ("@every 0.5s", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        ] {
            assert_eq!(next(schedule, after, &utc), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn where_the_clock_changes_a_time_is_left_out_or_comes_twice() {
        let oslo = zone("Europe/Oslo").unwrap();
        assert_eq!(next("30 2 * * *", "2026-01-01T12:00:00Z", &oslo), "2026-01-02T01:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-07-01T12:00:00Z", &oslo), "2026-07-02T00:30:00Z");
        // 2026-03-29 has no half past two, 2026-10-25 has two.
        assert_eq!(next("30 2 * * *", "2026-03-28T12:00:00Z", &oslo), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-10-24T12:00:00Z", &oslo), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", "2026-10-25T00:30:00Z", &oslo), "2026-10-25T01:30:00Z");
        // In Santiago, midnight of 2026-09-06 is left out.
        let santiago = zone("America/Santiago").unwrap();
        assert_eq!(next("0 12 6 9 *", "2026-09-01T00:00:00Z", &santiago), "2026-09-06T15:00:00Z");
    }
}
