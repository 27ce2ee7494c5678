//! How many pods the policies of a direction allow: so many, or so many percent, more or fewer than there were a while ago.

use super::{history::History, spec::Rules};

/// The most pods that there may be, with these now.
pub(super) fn most(replicas: i64, history: &History, rules: &Rules, now_ms: i64) -> i64 {
    let allowed = each(replicas, history, rules, now_ms, |before, r#type, value| match r#type {
        // Rounded up, or a few pods would never become more.
        "Percent" => (before as f64 * (1.0 + value as f64 / 100.0)).ceil() as i64,
        _ => before.saturating_add(value),
    });
    let chosen = match rules.select_policy.as_str() {
        "Disabled" => None,
        "Min" => allowed.min(),
        _ => allowed.max(),
    };
    chosen.unwrap_or(replicas).max(replicas)
}

/// The fewest pods that there may be, with these now.
pub(super) fn fewest(replicas: i64, history: &History, rules: &Rules, now_ms: i64) -> i64 {
    let allowed = each(replicas, history, rules, now_ms, |before, r#type, value| match r#type {
        "Percent" => (before as f64 * (1.0 - value as f64 / 100.0)) as i64,
        _ => before.saturating_sub(value),
    });
    // The largest change is the smallest number.
    let chosen = match rules.select_policy.as_str() {
        "Disabled" => None,
        "Min" => allowed.max(),
        _ => allowed.min(),
    };
    chosen.unwrap_or(replicas).min(replicas)
}

fn each(
    replicas: i64,
    history: &History,
    rules: &Rules,
    now_ms: i64,
    allowed: impl Fn(i64, &str, i64) -> i64,
) -> impl Iterator<Item = i64> {
    rules.policies.iter().map(move |policy| {
        allowed(history.before(replicas, policy.period_seconds, now_ms), &policy.r#type, policy.value)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    /// Types, values and periods.
    type Policies<'a> = &'a [(&'a str, i64, i64)];

    fn rules(select: &str, policies: &[(&str, i64, i64)]) -> Rules {
        let policy = |(r#type, value, period): &(&str, i64, i64)| json!({"type": r#type, "value": value, "periodSeconds": period});
        let policies: Vec<Value> = policies.iter().map(policy).collect();
        serde_json::from_value(json!({"selectPolicy": select, "policies": policies})).unwrap()
    }

    /// The examples of the documentation.
    #[test]
    fn policies_allow_what_the_documentation_says() {
        let (pods, percent) = (("Pods", 4, 60), ("Percent", 10, 60));
        let none = History::default();
        // Pods, and how many there may be of them.
        let table: &[(i64, &str, Policies<'_>, i64)] = &[
            (10, "Max", &[pods], 6),
            (80, "Max", &[pods, percent], 72),
            (72, "Max", &[pods, percent], 64),
            (40, "Max", &[pods, percent], 36),
            (30, "Max", &[pods, percent], 26),
            (80, "Min", &[pods, percent], 76),
            (80, "Disabled", &[pods, percent], 80),
            (80, "Max", &[], 80),
            (3, "Max", &[("Percent", 100, 15)], 0),
        ];
        for (replicas, select, policies, expected) in table {
            let least = fewest(*replicas, &none, &rules(select, policies), 0);
            assert_eq!(least, *expected, "{replicas} {select} {policies:?}");
        }
        let table: &[(i64, &str, Policies<'_>, i64)] = &[
            (1, "Max", &[("Pods", 4, 15), ("Percent", 100, 15)], 5),
            (10, "Max", &[("Pods", 4, 15), ("Percent", 100, 15)], 20),
            (10, "Min", &[("Pods", 4, 15), ("Percent", 100, 15)], 14),
            (10, "Disabled", &[("Pods", 4, 15)], 10),
            (1, "Max", &[percent], 2),
            (10, "Max", &[], 10),
        ];
        for (replicas, select, policies, expected) in table {
            let most = most(*replicas, &none, &rules(select, policies), 0);
            assert_eq!(most, *expected, "{replicas} {select} {policies:?}");
        }
    }

    #[test]
    fn what_was_done_within_the_period_counts() {
        let rules = rules("Max", &[("Pods", 4, 60)]);
        let mut history = History::default();
        history.scaled(3, 0, &rules);
        assert_eq!(most(13, &history, &rules, 30_000), 14);
        assert_eq!(most(13, &history, &rules, 60_000), 17);
        history.scaled(4, 30_000, &rules);
        assert_eq!(most(17, &history, &rules, 30_000), 17, "more than is allowed is not taken back");
        history.scaled(-6, 40_000, &rules);
        assert_eq!(fewest(11, &history, &rules, 40_000), 6);
        assert_eq!(fewest(11, &history, &rules, 110_000), 7);
    }

    #[test]
    fn amounts_beyond_all_measure_do_no_harm() {
        let all = [("Percent", i64::MAX, i64::MAX), ("Pods", i64::MAX, i64::MAX)];
        assert_eq!(most(1, &History::default(), &rules("Max", &all), 0), i64::MAX);
        assert!(fewest(1, &History::default(), &rules("Max", &all), 0) < 0);
    }
}
