//! From what metrics ask for to what is done: by what was asked for before, by how fast it may go, and by the least and the most pods.

use super::{
    history::History,
    rate,
    spec::{DOWN_WINDOW_S, Spec},
};

/// Without behavior, pods become at most so many times more at once ...
const UP_FACTOR: i64 = 2;
/// ... but so many in any case.
const UP_LEAST: i64 = 4;

/// What is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounded {
    /// So many pods.
    pub(super) replicas: i64,
    /// The reason and message of the condition AbleToScale, which is True.
    pub(super) able: (&'static str, &'static str),
    /// Whether ScalingLimited.
    pub(super) limited: bool,
    /// Its reason and message.
    pub(super) limit: (&'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST_UP: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

/// Bounds what metrics ask for, where there are `current` pods, and notes it in the history.
pub(super) fn bounded(spec: &Spec, history: &mut History, current: i64, asked: i64, now_ms: i64) -> Bounded {
    let Some(behavior) = &spec.behavior else { return simply(spec, history, current, asked, now_ms) };
    let (up, down) = (behavior.up(), behavior.down());
    history.ask(asked, now_ms, up.window_ms().max(down.window_ms()));
    let lowest = history.lowest(up.window_ms(), now_ms, asked);
    let highest = history.highest(down.window_ms(), now_ms, asked);
    let stable = current.max(lowest).min(highest);
    let able = match stable {
        stable if stable == asked => READY,
        _ if asked >= current => UP_STABILIZED,
        _ => DOWN_STABILIZED,
    };
    let (replicas, limit) = if stable > current {
        let most = rate::most(current, history, &up, now_ms);
        let (most, limit) =
            if spec.max_replicas > most { (most, TOO_FAST_UP) } else { (spec.max_replicas, TOO_MANY) };
        if stable > most { (most, limit) } else { (stable, WITHIN) }
    } else if stable < current {
        let fewest = rate::fewest(current, history, &down, now_ms);
        let (fewest, limit) =
            if spec.least() < fewest { (fewest, TOO_FAST_DOWN) } else { (spec.least(), TOO_FEW) };
        if stable < fewest { (fewest, limit) } else { (stable, WITHIN) }
    } else {
        (stable, WITHIN)
    };
    Bounded { replicas, able, limited: replicas != stable, limit }
}

/// The same without behavior.
fn simply(spec: &Spec, history: &mut History, current: i64, asked: i64, now_ms: i64) -> Bounded {
    let window_ms = DOWN_WINDOW_S * 1000;
    history.ask(asked, now_ms, window_ms);
    let stable = history.highest(window_ms, now_ms, asked);
    let able = if stable == asked { READY } else { DOWN_STABILIZED };
    let fast = current.saturating_mul(UP_FACTOR).max(UP_LEAST);
    let (most, limit) =
        if spec.max_replicas > fast { (fast, TOO_FAST_UP) } else { (spec.max_replicas, TOO_MANY) };
    let (replicas, limit) = match stable {
        stable if stable < spec.least() => (spec.least(), TOO_FEW),
        stable if stable > most => (most, limit),
        stable => (stable, WITHIN),
    };
    Bounded { replicas, able, limited: replicas != stable, limit }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::{super::PERIOD_MS, *};

    fn spec(behavior: Value) -> Spec {
        serde_json::from_value(json!({"minReplicas": 2, "maxReplicas": 100, "behavior": behavior})).unwrap()
    }

    /// What is done, look by look, with what is asked for at each of them, and the reasons of the last.
    fn done(spec: &Spec, mut current: i64, asked: &[i64]) -> (Vec<i64>, (&'static str, &'static str)) {
        let mut history = History::begin(current, 0);
        let mut reasons = ("", "");
        let each = asked.iter().enumerate().map(|(look, asked)| {
            let now_ms = (look as i64 + 1) * PERIOD_MS;
            let bounded = bounded(spec, &mut history, current, *asked, now_ms);
            if let Some(behavior) = spec.behavior.as_ref().filter(|_| bounded.replicas != current) {
                let rules = if bounded.replicas > current { behavior.up() } else { behavior.down() };
                history.scaled(bounded.replicas - current, now_ms, &rules);
            }
            reasons = (bounded.able.0, bounded.limit.0);
            assert_eq!(bounded.limited, bounded.limit != WITHIN);
            current = bounded.replicas;
            current
        });
        (each.collect(), reasons)
    }

    #[test]
    fn without_behavior_it_doubles_at_most_and_waits_for_five_minutes_with_fewer() {
        let spec = spec(Value::Null);
        assert_eq!(done(&spec, 1, &[50]), (vec![4], ("ReadyForNewScale", "ScaleUpLimit")));
        assert_eq!(done(&spec, 2, &[50, 50, 50]).0, [4, 8, 16]);
        assert_eq!(done(&spec, 40, &[500, 500]), (vec![80, 100], ("ReadyForNewScale", "TooManyReplicas")));
        // It stood at 10 until the beginning.
        let mut asked = vec![4; 20];
        let (each, reasons) = done(&spec, 10, &asked[..19]);
        assert_eq!((each, reasons), (vec![10; 19], ("ScaleDownStabilized", "DesiredWithinRange")));
        let (each, reasons) = done(&spec, 10, &asked);
        assert_eq!((each.last(), reasons), (Some(&4), ("ReadyForNewScale", "DesiredWithinRange")));
        // One look with more in between begins it anew, for as many.
        asked[10] = 7;
        assert_eq!(done(&spec, 10, &asked).0.last(), Some(&7));
        // Fewer than there may be.
        let (each, reasons) = done(&spec, 3, &[0; 20]);
        assert_eq!((each.last(), reasons), (Some(&2), ("ReadyForNewScale", "TooFewReplicas")));
    }

    #[test]
    fn windows_hold_what_goes_up_and_down() {
        let windows = |up: i64, down: i64| {
            spec(
                json!({"scaleUp": {"stabilizationWindowSeconds": up}, "scaleDown": {"stabilizationWindowSeconds": down}}),
            )
        };
        // At once, as far as the default policies allow.
        assert_eq!(done(&windows(0, 0), 4, &[8, 2, 9]).0, [8, 2, 6]);
        assert_eq!(
            done(&windows(60, 0), 4, &[8, 8, 8]),
            (vec![4, 4, 4], ("ScaleUpStabilized", "DesiredWithinRange"))
        );
        assert_eq!(done(&windows(60, 0), 4, &[8, 8, 8, 8]).0, [4, 4, 4, 8]);
        assert_eq!(done(&windows(60, 0), 4, &[8, 8, 5, 8, 8, 8, 8]).0, [4, 4, 4, 5, 5, 5, 8]);
        assert_eq!(
            done(&windows(0, 60), 8, &[4, 4, 4]),
            (vec![8, 8, 8], ("ScaleDownStabilized", "DesiredWithinRange"))
        );
        assert_eq!(done(&windows(0, 60), 8, &[4, 4, 4, 4]).0, [8, 8, 8, 4]);
        // Where nothing is said, five minutes.
        let (each, _) = done(&spec(json!({})), 8, &[4; 20]);
        assert_eq!((each[18], each[19]), (8, 4));
    }

    #[test]
    fn policies_hold_the_pace() {
        let pace = |select: &str| {
            spec(json!({
                "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": select,
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 30}]},
                "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": select,
                    "policies": [{"type": "Percent", "value": 10, "periodSeconds": 30}]},
            }))
        };
        assert_eq!(done(&pace("Max"), 10, &[99, 99]), (vec![14, 14], ("ReadyForNewScale", "ScaleUpLimit")));
        assert_eq!(done(&pace("Max"), 10, &[99; 5]).0, [14, 14, 18, 18, 22]);
        assert_eq!(done(&pace("Max"), 100, &[2, 2]), (vec![90, 90], ("ReadyForNewScale", "ScaleDownLimit")));
        assert_eq!(done(&pace("Max"), 100, &[2; 3]).0, [90, 90, 81]);
        assert_eq!(done(&pace("Disabled"), 10, &[99, 2]).0, [10, 10]);
        assert_eq!(done(&pace("Max"), 98, &[200]), (vec![100], ("ReadyForNewScale", "TooManyReplicas")));
        assert_eq!(done(&pace("Max"), 2, &[0]), (vec![2], ("ReadyForNewScale", "TooFewReplicas")));
    }
}
