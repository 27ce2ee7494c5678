//! Even spread: the domains with the fewest pods first. Hard constraints count here too: what is even now leaves the
//! most choice later.

use crate::scheduling::spread::Counter;

/// More than any domain can hold: nodes outside of a soft constraint's topology come last.
const OUTSIDE: i64 = 1 << 40;

/// How many pods are in these domains already; the fewer the better.
pub(in crate::scheduling) fn crowd<'a>(places: impl Iterator<Item = (&'a Counter, Option<usize>)>) -> i64 {
    places.map(|(counter, domain)| domain.map_or(OUTSIDE, |domain| counter.at(domain))).sum()
}
