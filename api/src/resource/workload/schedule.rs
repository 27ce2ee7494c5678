//! Schedules as cron writes them: five fields, or a word that begins with `@`.

/// The fields, in order: name, least, most, names of values.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule; says what is wrong in the words of the parser that Kubernetes uses, as far as it has some.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if let Some(every) = schedule.strip_prefix("@every ") {
        return duration(every)
            .ok_or_else(|| format!("failed to parse duration {schedule}: invalid duration"));
    }
    if schedule.starts_with('@') {
        let known = WORDS.contains(&schedule);
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let told: Vec<&str> = schedule.split_whitespace().collect();
    if told.len() != FIELDS.len() {
        let found = told.len();
        return Err(format!("expected exactly 5 fields, found {found}: [{}]", told.join(" ")));
    }
    for (told, field) in told.iter().zip(&FIELDS) {
        told.split(',').try_for_each(|part| range(part, field))?;
    }
    Ok(())
}

/// One of `*`, `a`, `a-b`, each with `/step` or without.
fn range(part: &str, field: &(&str, u32, u32, &[&str])) -> Result<(), String> {
    let (_, least, most, _) = *field;
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    let (from, to) = match span {
        "*" | "?" => (least, most),
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
    match step.map(str::parse::<u32>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(Ok(0)) => Err(format!("step of range should be a positive number: {part}")),
        Some(Err(_)) => Err(format!("failed to parse int from {}", step.unwrap_or_default())),
    }
}

fn value(text: &str, (_, least, _, names): &(&str, u32, u32, &[&str])) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(at) => Ok(u32::try_from(at).unwrap_or(0) + least),
        None => text.parse().map_err(|_| format!("failed to parse int from {text}")),
    }
}

/// Whether a text is a duration as Go writes it: `1h30m`, `1.5s`.
fn duration(text: &str) -> Option<()> {
    let mut rest = text;
    while !rest.is_empty() || rest.len() == text.len() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let unit = ["ns", "us", "ms", "s", "m", "h"].into_iter().find(|unit| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_that_cron_knows() {
        for good in [
            "* * * * *",
            "*/5 0-6 1,15 JAN-Mar mon",
            "0 22 * * 1-5",
            "5/15 * ? * *",
            "@hourly",
            "@every 1h30m",
            "@every 0.5s",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
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
            let wrong = check(bad).expect_err(bad);
            assert!(wrong.contains(text), "{bad}: {wrong}");
        }
    }
}
