//! How many pods a metric asks for: as many as it takes for each to use what is aimed at. Pods that are not ready, and those of which
//! nothing is known, are taken for what makes the change smaller.

use std::collections::BTreeMap;

use super::{Proposal, TOLERANCE, group::Groups};

/// What is aimed at. Amounts are in thousandths.
pub(super) enum Aim<'a> {
    /// That pods use, all together, so many percent of what they ask for.
    Utilization {
        /// In percent.
        percent: i64,
        /// What they ask for.
        requests: BTreeMap<&'a str, i128>,
    },
    /// That they use so much on average.
    Average(i128),
}

/// What is, beside what is aimed at.
struct Reading {
    ratio: f64,
    utilization: Option<i64>,
    average: i128,
}

impl Aim<'_> {
    fn read(&self, used: &BTreeMap<&str, i128>) -> Result<Reading, String> {
        let count = i128::try_from(used.len()).unwrap_or(i128::MAX).max(1);
        let total = used.values().fold(0_i128, |sum, amount| sum.saturating_add(*amount));
        let average = total / count;
        match self {
            Aim::Average(aimed) => {
                Ok(Reading { ratio: average as f64 / *aimed as f64, utilization: None, average })
            }
            Aim::Utilization { percent, requests } => {
                let asked = used.keys().filter_map(|name| requests.get(name));
                let asked = asked.fold(0_i128, |sum, amount| sum.saturating_add(*amount));
                if asked == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let utilization = narrow(total.saturating_mul(100) / asked);
                Ok(Reading {
                    ratio: utilization as f64 / *percent as f64,
                    utilization: Some(utilization),
                    average,
                })
            }
        }
    }

    /// What a pod is taken to use of which nothing is known, where there are to be fewer: all that it may.
    fn at_most(&self, name: &str) -> i128 {
        match self {
            Aim::Average(aimed) => *aimed,
            Aim::Utilization { percent, requests } => {
                let asked = requests.get(name).copied().unwrap_or(0);
                asked.saturating_mul(i128::from((*percent).max(100))) / 100
            }
        }
    }
}

/// How many pods are asked for where there are `current` now. An error says why that cannot be told.
pub(super) fn calculate(current: i64, groups: Groups<'_>, aim: &Aim<'_>) -> Result<Proposal, String> {
    let Groups { mut used, unready, missing } = groups;
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let Reading { ratio, utilization, average } = aim.read(&used)?;
    let of = |replicas| Ok(Proposal { replicas, utilization, average_milli: narrow(average) });
    let unready_matter = ratio > 1.0 && !unready.is_empty();
    if !unready_matter && missing.is_empty() {
        return of(if is_near(ratio) { current } else { count(ratio, used.len()) });
    }
    if ratio < 1.0 {
        used.extend(missing.iter().map(|name| (*name, aim.at_most(name))));
    } else if ratio > 1.0 {
        used.extend(missing.iter().chain(&unready).map(|name| (*name, 0)));
    }
    let again = aim.read(&used)?.ratio;
    // A change that is small, or that turns round by what pods are taken for, is none.
    if is_near(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
        return of(current);
    }
    let replicas = count(again, used.len());
    let turns = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    of(if turns { current } else { replicas })
}

fn is_near(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

/// Rounded up, and within what the API writes.
fn count(ratio: f64, pods: usize) -> i64 {
    // A cast of what is too large gives the largest.
    ((ratio * pods as f64).ceil() as i64).clamp(0, i64::from(i32::MAX))
}

fn narrow(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

    /// Pods that use this, of one processor each; below zero: not ready (-1), nothing known (-2).
    fn groups(used: &[i128]) -> Groups<'static> {
        let mut groups = Groups::default();
        for (name, amount) in NAMES.into_iter().zip(used) {
            match amount {
                -1 => groups.unready.push(name),
                -2 => groups.missing.push(name),
                amount => drop(groups.used.insert(name, *amount)),
            }
        }
        groups
    }

    fn share(percent: i64) -> Aim<'static> {
        Aim::Utilization { percent, requests: NAMES.iter().map(|name| (*name, 1000)).collect() }
    }

    #[test]
    fn as_many_as_it_takes_for_each_to_use_what_is_aimed_at() {
        const UNREADY: i128 = -1;
        const MISSING: i128 = -2;
        // What pods use, percent that are aimed at, pods now, pods then, percent that are used.
        let table: &[(&[i128], i64, i64, i64, i64)] = &[
            (&[300, 500, 700], 30, 3, 5, 50),
            (&[100, 300, 500, 250, 250], 50, 5, 3, 28),
            // Twice what is aimed at doubles, half of it halves (the documentation's own example).
            (&[200, 200], 10, 2, 4, 20),
            (&[50, 50], 10, 2, 1, 5),
            // A tenth more or less is let be.
            (&[1000, 1000], 91, 2, 2, 100),
            (&[1000, 1000], 110, 2, 2, 100),
            (&[1010, 1030, 1020], 100, 3, 3, 102),
            // Who is not ready is taken to use nothing where there are to be more, and not counted where fewer.
            (&[UNREADY, 500, 700], 30, 3, 4, 60),
            (&[400, UNREADY, UNREADY], 30, 3, 3, 40),
            (&[100, 300, 500, UNREADY, UNREADY], 50, 5, 2, 30),
            // Who says nothing is taken to use nothing where there are to be more, all that it asks for where fewer.
            (&[MISSING, 600, 600], 30, 3, 4, 60),
            (&[MISSING, 500, 500], 30, 3, 3, 50),
            (&[MISSING, 450, 450], 30, 3, 3, 45),
            (&[100, 100, 100, MISSING], 50, 4, 3, 10),
            (&[100, MISSING], 50, 2, 2, 10),
            (&[100, 200, MISSING], 500, 3, 2, 15),
            // Both.
            (&[MISSING, 450, UNREADY], 50, 3, 3, 45),
            (&[MISSING, 2000, UNREADY], 50, 3, 4, 200),
            (&[0, 0, 0], 50, 3, 0, 0),
        ];
        for (used, percent, current, replicas, utilization) in table {
            let proposal = calculate(*current, groups(used), &share(*percent)).unwrap();
            assert_eq!(
                (proposal.replicas, proposal.utilization),
                (*replicas, Some(*utilization)),
                "{used:?} of {percent} %"
            );
        }
    }

    #[test]
    fn amounts_are_aimed_at_in_the_same_way() {
        let table: &[(&[i128], i128, i64, i64, i64)] = &[
            (&[200, 400], 100, 2, 6, 300),
            (&[200, 400], 300, 2, 2, 300),
            (&[200, 401], 300, 2, 2, 300),
            (&[100, 100, 100], 300, 3, 1, 100),
            (&[400, -2], 100, 2, 4, 400),
            (&[100, -2], 300, 2, 2, 100),
            (&[400, -1], 100, 2, 4, 400),
        ];
        for (used, aimed, current, replicas, average) in table {
            let proposal = calculate(*current, groups(used), &Aim::Average(*aimed)).unwrap();
            let expected = Proposal { replicas: *replicas, utilization: None, average_milli: *average };
            assert_eq!(proposal, expected, "{used:?} at {aimed}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        for used in [&[][..], &[-1, -2]] {
            let said = calculate(2, groups(used), &share(50)).unwrap_err();
            assert_eq!(said, "did not receive metrics for targeted pods (pods might be unready)");
        }
        let nothing = Aim::Utilization { percent: 50, requests: BTreeMap::new() };
        let said = calculate(2, groups(&[100]), &nothing).unwrap_err();
        assert_eq!(said, "no metrics returned matched known pods");
    }

    #[test]
    fn amounts_beyond_all_measure_do_no_harm() {
        let proposal = calculate(1, groups(&[i128::MAX, i128::MAX]), &share(1)).unwrap();
        assert_eq!((proposal.replicas, proposal.average_milli), (i64::from(i32::MAX), i64::MAX));
        let proposal = calculate(1, groups(&[1]), &Aim::Average(0)).unwrap();
        assert_eq!(proposal.replicas, i64::from(i32::MAX));
    }
}
