//! Sets of completion indexes, as a status writes them: `1,3-5,7`.

use std::collections::BTreeMap;

/// A set of indexes, kept as spans: a few characters can name billions of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// The first of each span, and its last. Spans neither overlap nor touch.
    spans: BTreeMap<i64, i64>,
}

impl Indexes {
    /// Reads a list; what is not below the limit, and what is not a list, is left out.
    pub(super) fn parse(text: &str, limit: i64) -> Indexes {
        let mut indexes = Indexes::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.trim().parse::<i64>(), last.trim().parse::<i64>()) {
                indexes.add(first.max(0), last.min(limit - 1));
            }
        }
        indexes
    }

    /// Adds one.
    pub(super) fn insert(&mut self, index: i64) {
        self.add(index, index);
    }

    /// Adds a span; it becomes one with those that it overlaps or touches.
    fn add(&mut self, mut first: i64, mut last: i64) {
        if first > last {
            return;
        }
        while let Some((start, end)) = self.last_from(last.saturating_add(1))
            && end >= first.saturating_sub(1)
        {
            self.spans.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.spans.insert(first, last);
    }

    /// The last span that begins at an index or before it.
    fn last_from(&self, index: i64) -> Option<(i64, i64)> {
        self.spans.range(..=index).next_back().map(|(first, last)| (*first, *last))
    }

    /// Whether it is in.
    pub(super) fn contains(&self, index: i64) -> bool {
        self.span_end(index).is_some()
    }

    /// The last index up to which all are in, from one that is in.
    pub(super) fn span_end(&self, index: i64) -> Option<i64> {
        self.last_from(index).map(|(_, last)| last).filter(|last| *last >= index)
    }

    /// How many there are.
    pub(super) fn len(&self) -> i64 {
        self.spans.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many of these are in.
    pub(super) fn count_of(&self, others: &Indexes) -> i64 {
        let (mut ours, mut theirs) = (self.spans.iter().peekable(), others.spans.iter().peekable());
        let mut count = 0;
        while let (Some(&(a, a_last)), Some(&(b, b_last))) = (ours.peek(), theirs.peek()) {
            count += (a_last.min(b_last) - a.max(b) + 1).max(0);
            if a_last <= b_last {
                ours.next();
            } else {
                theirs.next();
            }
        }
        count
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.spans.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                // Two in a row are written as two, as Kubernetes does.
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_in_kubernetes() {
        for text in ["", "0", "1,3-5,7", "0,1", "2-4,6,7,9-11"] {
            assert_eq!(Indexes::parse(text, 100).to_string(), text);
        }
        assert_eq!(Indexes::parse("3-5,x,9-200", 11).to_string(), "3-5,9,10");
        let mut indexes = Indexes::parse("1,3", 10);
        indexes.insert(2);
        assert_eq!((indexes.to_string().as_str(), indexes.len()), ("1-3", 3));
    }

    #[test]
    fn a_list_of_all_costs_no_more_than_its_text() {
        let all = Indexes::parse("0-9223372036854775806", i64::from(i32::MAX));
        assert_eq!((all.to_string().as_str(), all.len()), ("0-2147483646", 2_147_483_647));
        assert_eq!(all.count_of(&Indexes::parse("3-5,1000000000-3000000000", 2_000_000_000)), 1_000_000_003);
        assert_eq!((all.span_end(7), all.span_end(2_147_483_647)), (Some(2_147_483_646), None));
    }

    #[test]
    fn spans_that_meet_become_one() {
        for (text, expected) in [
            ("5-9,1-3", "1-3,5-9"),
            ("5-9,1-3,4", "1-9"),
            ("1-3,4-6", "1-6"),
            ("1-9,3-5", "1-9"),
            ("3-5,1-9", "1-9"),
            ("1,3,5,7,2-6", "1-7"),
            ("0-2,2-4,9-8", "0-4"),
            ("2,2,0", "0,2"),
        ] {
            assert_eq!(Indexes::parse(text, 100).to_string(), expected, "{text}");
        }
        let indexes = Indexes::parse("1-3,7,9-12", 100);
        let held: Vec<i64> = (0..15).filter(|index| indexes.contains(*index)).collect();
        assert_eq!(held, [1, 2, 3, 7, 9, 10, 11, 12]);
        assert_eq!(indexes.len(), 8);
        for (others, count) in [("", 0), ("0-20", 8), ("3-9", 3), ("4-6,8,13", 0), ("2,7,10-11", 4)] {
            let others = Indexes::parse(others, 100);
            assert_eq!((indexes.count_of(&others), others.count_of(&indexes)), (count, count), "{others}");
        }
    }
}
