//! The part of docs/benchmarks.md that is measured.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::{Figure, Goal, Outcome, Round, Spread, plot};

/// What is between these lines of the page is written anew; the rest of it is left alone.
const BEGIN: &str = "<!-- measured by `make bench`: begin -->";
const END: &str = "<!-- measured by `make bench`: end -->";

/// The folder, if its page has a place for answers; what is wrong and what to do, if it has not. Asked before anything is measured.
pub(crate) fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let docs = PathBuf::from(name);
    renewed(&docs, "").map_err(|error| {
        anyhow!("{error:#}; name the folder with benchmarks.md, or leave --docs out to have answers printed")
    })?;
    Ok(docs)
}

/// Writes the page and the plots from all outcomes that are kept in its folder `benchmarks`.
pub(crate) fn write(docs: &Path) -> anyhow::Result<()> {
    let (page, folder) = (docs.join("benchmarks.md"), docs.join("benchmarks"));
    let outcomes = Outcome::kept(&folder)?;
    for outcome in &outcomes {
        plot::draw(outcome, &folder.join(format!("{}.svg", outcome.question)))?;
    }
    let after = renewed(docs, &render(&outcomes))?;
    fs::write(&page, after).with_context(|| format!("writing {}", page.display()))
}

fn renewed(docs: &Path, measured: &str) -> anyhow::Result<String> {
    let page = docs.join("benchmarks.md");
    let before = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    put_in(&before, measured)
        .with_context(|| format!("{} lacks the line {BEGIN:?} or {END:?}", page.display()))
}

fn put_in(page: &str, measured: &str) -> Option<String> {
    put_between(page, BEGIN, END, measured)
}

/// The page with this between two of its lines; none if it lacks one of them.
pub(crate) fn put_between(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (head, rest) = page.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n{text}{end}{tail}"))
}

/// The table of all, and what is behind each line of it.
pub(crate) fn render(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| what | Kontiki | peer | ratio | goal | reached | limit |\n|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{}", line(outcome));
    }
    text.push_str(
        "\nMedians of the rounds (lowest to highest). A ratio is of two turns that followed one another. \
         Limits are what disk and loopback of this\nmachine allowed in the same run.\n",
    );
    for outcome in outcomes {
        details(&mut text, outcome);
    }
    text
}

/// With as many digits as a reader can use.
pub(crate) fn number(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".into(),
        v if v >= 1000.0 => {
            let whole = format!("{v:.0}");
            let (head, tail) = whole.split_at(whole.len() - 3);
            if head.len() > 3 {
                let (head, middle) = head.split_at(head.len() - 3);
                format!("{head},{middle},{tail}")
            } else {
                format!("{head},{tail}")
            }
        }
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn unit(figure: Figure) -> &'static str {
    match figure {
        Figure::P50 => " ms",
        Figure::PerSecond => "/s",
    }
}

fn spread(spread: Spread, unit: &str) -> String {
    format!("{}{unit} ({} to {})", number(spread.median), number(spread.min), number(spread.max))
}

pub(super) fn goal(goal: Goal) -> String {
    let aim = |aim: Option<f64>| aim.map(|aim| format!(", aim {aim}x")).unwrap_or_default();
    match goal {
        Goal::TimesAtMost { goal, aim: further } => format!("<= {goal}x{}", aim(further)),
        Goal::TimesAtLeast { goal, aim: further } => format!(">= {goal}x{}", aim(further)),
        Goal::PerSecondAtLeast { goal } => format!(">= {}/s", number(goal)),
        Goal::MillisecondsAtMost { goal } => format!("<= {} ms", number(goal)),
    }
}

fn line(outcome: &Outcome) -> String {
    let figure = |side: usize| {
        let side = outcome.sides.get(side)?;
        Some(spread(Spread::of(side.figures(outcome.figure)), unit(outcome.figure)))
    };
    let peer = outcome.sides.get(1).map_or(String::new(), |side| side.name.clone());
    format!(
        "| [{}](#{}) | {} | {} | {} | {} | {} | {}{} |",
        outcome.what,
        outcome.question,
        figure(0).unwrap_or_default(),
        figure(1).map(|seen| format!("{peer}: {seen}")).unwrap_or_default(),
        outcome.ratio().map(|ratio| spread(ratio, "x")).unwrap_or_default(),
        goal(outcome.goal),
        outcome.met().map_or("not known", |met| if met { "yes" } else { "**no**" }),
        number(outcome.limit.value),
        unit(outcome.figure),
    )
}

fn details(text: &mut String, outcome: &Outcome) {
    let (setting, physics) = (&outcome.setting, &outcome.limit.physics);
    let _ = writeln!(text, "\n### {}\n", outcome.question);
    let _ = writeln!(text, "{}. Measured {} on {}.", capital(&outcome.what), setting.date, setting.machine);
    let _ = write!(text, "Load before {}, after {}.", setting.load_before, setting.load_after);
    let _ = writeln!(text, "{}{}", if setting.note.is_empty() { "" } else { " " }, setting.note);
    let _ = writeln!(
        text,
        "Limit: {}{}: {}. Measured for it: fdatasync of 1 KiB p50 {} ms, p99 {} ms, {}/s;\nTLS round trip of 1 KiB p50 {} ms, p99 {} ms.\n",
        number(outcome.limit.value),
        unit(outcome.figure),
        outcome.limit.words,
        number(physics.sync_p50_ms),
        number(physics.sync_p99_ms),
        number(physics.syncs_per_second),
        number(physics.trip_p50_ms),
        number(physics.trip_p99_ms),
    );
    let columns = "| side | rounds | n | errors | per second | p50 ms | p99 ms | max ms | servers' cores | generator's | others' |";
    let _ = writeln!(text, "{columns}\n|---|---|---|---|---|---|---|---|---|---|---|");
    for side in &outcome.sides {
        let (n, errors) =
            side.rounds.iter().fold((0, 0), |(n, errors), round| (n + round.n, errors + round.errors));
        let middle = |of: fn(&Round) -> f64| number(side.spread(of).median);
        let _ = writeln!(
            text,
            "| {} | {} | {n} | {errors} | {} | {} | {} | {} | {} | {} | {} |",
            side.name,
            side.rounds.len(),
            middle(|round| round.per_second),
            middle(|round| round.p50_ms),
            middle(|round| round.p99_ms),
            number(side.spread(|round| round.max_ms).max),
            middle(|round| round.server_cores),
            middle(|round| round.generator_cores),
            middle(|round| round.other_cores),
        );
    }
    for side in &outcome.sides {
        if let Some(error) = side.rounds.iter().rev().find_map(|round| round.last_error.as_ref()) {
            let _ = writeln!(text, "\nThe last error of {}: `{}`", side.name, error.replace('`', "'"));
        }
    }
    let _ = writeln!(text, "\n![{0}, round by round](benchmarks/{0}.svg)", outcome.question);
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::tests::outcome;

    #[test]
    fn a_missed_goal_is_told_with_its_figure() {
        let goal = Goal::TimesAtLeast { goal: 2.0, aim: Some(3.0) };
        let seen = outcome(Figure::PerSecond, goal, &[5000.0, 6000.0], Some(&[4000.0, 4000.0]));
        let text = render(&[seen]);
        let row = "| 5,500/s (5,000 to 6,000) | etcd 3: 4,000/s (4,000 to 4,000) | 1.38x (1.25 to 1.50) | >= 2x, aim 3x | **no** |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("beside a build"), "{text}");
    }

    #[test]
    fn the_rest_of_the_page_is_left_alone() {
        let page = format!("# Head\n{BEGIN}\nold\n{END}\ntail\n");
        assert_eq!(put_in(&page, "new\n").unwrap(), format!("# Head\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert_eq!(put_in("no marks", "new\n"), None);
    }

    #[test]
    fn a_folder_without_the_page_is_refused_with_a_way_out() {
        let docs = tempfile::tempdir().unwrap();
        let name = docs.path().to_str().unwrap();
        let refusal = folder(name).unwrap_err().to_string();
        assert!(refusal.contains(name) && refusal.contains("No such file"), "{refusal}");
        assert!(refusal.contains("leave --docs out"), "{refusal}");
        let page = docs.path().join("benchmarks.md");
        fs::write(&page, "no marks").unwrap();
        assert!(folder(name).unwrap_err().to_string().contains("lacks the line"));
        fs::write(&page, format!("{BEGIN}\n{END}\n")).unwrap();
        assert_eq!(folder(name).unwrap(), docs.path());
    }

    #[test]
    fn numbers_have_useful_digits() {
        let seen = [0.1234, 1.234, 12.34, 123.4, 1234.0, 1_234_567.0].map(number);
        assert_eq!(seen, ["0.123", "1.23", "12.3", "123", "1,234", "1,234,567"]);
    }
}
