//! Tables for people: columns in line, no frames, as kubectl prints them.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with these column heads.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    table
}

/// The table as text, without blanks at the ends of lines.
pub(crate) fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A span of time as people say it: the two largest units.
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{minutes}m{}s", seconds % 60),
        7200..172_800 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line() {
        let mut table = table(&["NAME", "ROLE"]);
        table.add_row(["controller-1", "leader"]);
        assert_eq!(text(&mut table), "NAME          ROLE\ncontroller-1  leader\n");
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!([5, 119, 125, 7260, 200_000].map(age), ["5s", "119s", "2m5s", "2h1m", "2d7h"]);
    }
}
