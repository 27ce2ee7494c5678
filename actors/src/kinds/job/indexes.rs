//! Sets of completion indexes, as a status writes them: `1,3-5,7`.

use std::collections::BTreeSet;

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<i64>);

impl Indexes {
    /// Reads a list; what is not below the limit, and what is not a list, is left out.
    pub(super) fn parse(text: &str, limit: i64) -> Indexes {
        let mut indexes = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.trim().parse::<i64>(), last.trim().parse::<i64>()) {
                indexes.extend(first.max(0)..=last.min(limit - 1));
            }
        }
        Indexes(indexes)
    }

    /// Adds one.
    pub(super) fn insert(&mut self, index: i64) {
        self.0.insert(index);
    }

    /// Whether it is in.
    pub(super) fn contains(&self, index: i64) -> bool {
        self.0.contains(&index)
    }

    /// How many there are.
    pub(super) fn len(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }

    /// How many of these are in.
    pub(super) fn count_of(&self, others: &Indexes) -> i64 {
        i64::try_from(self.0.intersection(&others.0).count()).unwrap_or(i64::MAX)
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut spans: Vec<(i64, i64)> = Vec::new();
        for index in &self.0 {
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => spans.push((*index, *index)),
            }
        }
        for (at, (first, last)) in spans.iter().enumerate() {
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
}
