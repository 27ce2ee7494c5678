//! The table, and its place in docs/benchmarks.md.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use kontiki_inside::grouped;

use crate::Row;

/// What is between these lines of the page is written anew; the rest of it is left alone.
const BEGIN: &str = "<!-- measured by `make bench NAME=inside`: begin -->";
const END: &str = "<!-- measured by `make bench NAME=inside`: end -->";

/// The table, and when and where it was measured.
pub(crate) fn render(rows: &[Row], note: &str) -> String {
    let mut text = String::from(
        "| what | time (95 % interval of the median) | per second | allocations | KiB | name |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{}", line(row));
    }
    let _ = write!(text, "\n{}.", setting(rows));
    let _ = writeln!(text, "{}{note}", if note.is_empty() { "" } else { " " });
    text
}

fn line(row: &Row) -> String {
    let (time, rate) = match &row.time {
        Some(time) => (
            format!("{} ({} to {})", span(time.median_ns), span(time.from_ns), span(time.to_ns)),
            grouped((row.elements as f64 * 1e9 / time.median_ns) as u64),
        ),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let kib = row.bytes as f64 / 1024.0;
    format!("| {} | {time} | {rate} | {} | {kib:.1} | `{}` |", row.what, grouped(row.allocations), row.id)
}

fn setting(rows: &[Row]) -> String {
    let oldest = rows.iter().filter_map(|row| row.time.as_ref()).map(|time| &time.at).min();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    match oldest {
        Some(at) => format!("Measured {at} on {cores} cores ({model})"),
        None => "Times were not measured".to_owned(),
    }
}

/// A time with three digits that count.
fn span(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 999.5 => (ns, "ns"),
        ns if ns < 999.5e3 => (ns / 1e3, "µs"),
        ns => (ns / 1e6, "ms"),
    };
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// The folder, if its page has a place for the table; what is wrong and what to do, if it has not. Asked before anything is counted.
pub(crate) fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let docs = PathBuf::from(name);
    renewed(&docs, "").map_err(|error| {
        anyhow!(
            "{error:#}; name the folder with benchmarks.md, or leave --docs out to have the table printed"
        )
    })?;
    Ok(docs)
}

/// Writes the table to its place.
pub(crate) fn write(docs: &Path, table: &str) -> anyhow::Result<()> {
    let page = docs.join("benchmarks.md");
    fs::write(&page, renewed(docs, table)?).with_context(|| format!("writing {}", page.display()))
}

fn renewed(docs: &Path, table: &str) -> anyhow::Result<String> {
    let page = docs.join("benchmarks.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    put_in(&text, table).with_context(|| format!("{} lacks the line {BEGIN:?} or {END:?}", page.display()))
}

fn put_in(page: &str, table: &str) -> Option<String> {
    let (head, rest) = page.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Time;

    #[test]
    fn a_line_tells_time_rate_and_allocations() {
        let time = Time { median_ns: 2e6, from_ns: 1.9e6, to_ns: 2.123e6, at: "1970-01-01T00:00Z".into() };
        let mut row = Row {
            id: "scheduling/basic-500".into(),
            what: "plan 500 pods".into(),
            elements: 500,
            allocations: 12_345,
            bytes: 2560,
            time: Some(time),
        };
        let seen = line(&row);
        let expected = "| plan 500 pods | 2.00 ms (1.90 ms to 2.12 ms) | 250,000 | 12,345 | 2.5 | `scheduling/basic-500` |";
        assert_eq!(seen, expected);
        assert!(render(std::slice::from_ref(&row), "").contains("Measured 1970-01-01T00:00Z on "));
        row.time = None;
        assert_eq!(line(&row), "| plan 500 pods | - | - | 12,345 | 2.5 | `scheduling/basic-500` |");
        assert!(render(&[row], "Alone.").ends_with("\nTimes were not measured. Alone.\n"));
    }

    #[test]
    fn numbers_have_useful_digits() {
        let spans = [0.5, 12.34, 999.6, 9994.0, 99_960.0, 1_234_000.0].map(span);
        assert_eq!(spans, ["0.50 ns", "12.3 ns", "1.00 µs", "9.99 µs", "100 µs", "1.23 ms"]);
    }

    #[test]
    fn a_page_without_a_place_is_refused_with_a_way_out() {
        let docs = tempfile::tempdir().unwrap();
        let name = docs.path().to_str().unwrap();
        let refusal = folder(name).unwrap_err().to_string();
        assert!(
            refusal.contains("benchmarks.md: No such file") && refusal.contains("leave --docs out"),
            "{refusal}"
        );
        fs::write(docs.path().join("benchmarks.md"), format!("head\n{BEGIN}\nold\n{END}\ntail\n")).unwrap();
        write(&folder(name).unwrap(), "new\n").unwrap();
        let page = fs::read_to_string(docs.path().join("benchmarks.md")).unwrap();
        assert_eq!(page, format!("head\n{BEGIN}\nnew\n{END}\ntail\n"));
    }
}
