//! The figures as a table in docs/benchmarks.md, kept as JSON beside it.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;

use super::{
    NODES, plot,
    rows::{Row, Sizes},
};
use crate::report::{number, put_between};

const BEGIN: &str = "<!-- measured by `make bench NAME=large`: begin -->";
const END: &str = "<!-- measured by `make bench NAME=large`: end -->";

/// Keeps the figures, and writes table and plot from them.
pub(super) fn write(docs: &Path, sizes: &Sizes) -> anyhow::Result<()> {
    let (page, folder) = (docs.join("benchmarks.md"), docs.join("benchmarks"));
    fs::create_dir_all(&folder)?;
    let file = folder.join("large/figures.json");
    fs::create_dir_all(folder.join("large"))?;
    fs::write(&file, serde_json::to_string_pretty(sizes)? + "\n")
        .with_context(|| format!("writing {}", file.display()))?;
    plot::draw(sizes, &folder.join("large/growth.svg"))?;
    let before = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let after = put_between(&before, BEGIN, END, &render(sizes))
        .with_context(|| format!("{} lacks the line {BEGIN:?} or {END:?}", page.display()))?;
    fs::write(&page, after).with_context(|| format!("writing {}", page.display()))
}

/// The table.
pub(super) fn render(sizes: &Sizes) -> String {
    let mut text = String::from("| what |");
    for size in &sizes.sizes {
        // Writing into a string does not fail.
        let _ = write!(text, " {} nodes, {} pods |", number(size.nodes as f64), number(size.pods as f64));
    }
    text.push_str(" goal | reached |\n|---|");
    text.push_str(&"---|".repeat(sizes.sizes.len() + 2));
    text.push('\n');
    for row in Row::ALL {
        let _ = write!(text, "| {} |", row.what());
        let unit = if row.unit().is_empty() { String::new() } else { format!(" {}", row.unit()) };
        for size in &sizes.sizes {
            let figure = size.figures.get(&row).map(|value| format!("{}{unit}", number(*value)));
            let _ = write!(text, " {} |", figure.unwrap_or_default());
        }
        let last = sizes.sizes.last().and_then(|size| size.figures.get(&row));
        let goal = row.goal().map(|goal| format!("<= {}{unit}", number(goal))).unwrap_or_default();
        // A goal is for all of it, and reached or missed there only.
        let all = sizes.sizes.last().is_some_and(|size| size.nodes >= NODES);
        let reached = match row.goal().zip(last).filter(|_| all) {
            Some((goal, value)) if *value <= goal => "yes",
            Some(_) => "**no**",
            None => "",
        };
        let _ = writeln!(text, " {goal} | {reached} |");
    }
    let setting = &sizes.setting;
    let note = if setting.note.is_empty() { String::new() } else { format!(" {}", setting.note) };
    let _ = writeln!(
        text,
        "\nGoals are for 5,000 nodes. Measured {} on {}. Load before {}, after {}.{note}\n\n![How the figures grow with the cluster](benchmarks/large/growth.svg)",
        setting.date, setting.machine, setting.load_before, setting.load_after
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{large::rows::Size, report::Setting};

    #[test]
    fn a_goal_is_judged_at_the_largest_size() {
        let mut sizes = Sizes { setting: Setting::begin(""), sizes: Vec::new() };
        for (nodes, seconds) in [(500, 0.2), (5000, 2.5)] {
            let text = render(&sizes);
            assert!(!text.contains("yes") && !text.contains("**no**"), "{text}");
            let mut size = Size { nodes, pods: nodes * 30, ..Size::default() };
            size.add(Row::List, seconds);
            sizes.sizes.push(size);
        }
        let text = render(&sizes);
        assert!(text.contains("| LIST of all pods | 0.200 s | 2.50 s | <= 2.00 s | **no** |"), "{text}");
        assert!(text.contains("| 500 nodes, 15,000 pods | 5,000 nodes, 150,000 pods |"), "{text}");
    }
}
