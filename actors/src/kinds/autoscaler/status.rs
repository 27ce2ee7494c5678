//! An autoscaler's status.

use serde_json::{Map, Value, json};

use super::{
    super::condition,
    Measured, Proposal,
    spec::{Metric, Sort},
};

/// A status in the making, from the one before.
pub(super) struct Status {
    value: Value,
    now: String,
}

impl Status {
    /// Begins with the status as it is. The time is as Kubernetes writes it.
    pub(super) fn new(before: Value, now: String) -> Status {
        let value = if before.is_object() { before } else { json!({}) };
        Status { value, now }
    }

    /// Sets a condition.
    pub(super) fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let value = if holds { "True" } else { "False" };
        condition::set(&mut self.value, kind, value, reason, message, &self.now);
    }

    /// How many pods were asked for, and how many are now.
    pub(super) fn count(&mut self, current: i64, desired: i64) {
        // Go leaves zeros out of this one, and not of the other.
        match current {
            0 => drop(self.fields().remove("currentReplicas")),
            current => self.value["currentReplicas"] = current.into(),
        }
        self.value["desiredReplicas"] = desired.into();
    }

    /// How many pods shall be, by what was last told.
    pub(super) fn desired(&self) -> i64 {
        self.value["desiredReplicas"].as_i64().unwrap_or(0)
    }

    /// What metrics are now.
    pub(super) fn measured(&mut self, metrics: &[Metric], measured: &[Measured]) {
        let each: Vec<Value> = metrics.iter().zip(measured).map(|(it, now)| current(it, now)).collect();
        match each.is_empty() {
            true => drop(self.fields().remove("currentMetrics")),
            false => self.value["currentMetrics"] = each.into(),
        }
    }

    /// The target was scaled just now.
    pub(super) fn scaled(&mut self) {
        self.value["lastScaleTime"] = self.now.as_str().into();
    }

    /// What it is in the end.
    pub(super) fn into_value(self) -> Value {
        self.value
    }

    fn fields(&mut self) -> &mut Map<String, Value> {
        if !self.value.is_object() {
            self.value = json!({});
        }
        self.value.as_object_mut().expect("it is an object")
    }
}

/// One that has no value is an empty one, so that the others stay where their specs are.
fn current(metric: &Metric, measured: &Measured) -> Value {
    let (Some((sort, source)), Measured::Value(Proposal { utilization, average_milli, .. })) =
        (metric.source(), measured)
    else {
        return json!({"type": ""});
    };
    let mut current = json!({"averageValue": amount(*average_milli)});
    if let Some(percent) = utilization {
        current["averageUtilization"] = (*percent).into();
    }
    match sort {
        Sort::ContainerResource => json!({"type": sort.name(),
            "containerResource": {"name": source.name, "container": source.container, "current": current}}),
        // No other has a value here.
        _ => json!({"type": sort.name(), "resource": {"name": source.name, "current": current}}),
    }
}

/// Thousandths as a quantity, by powers of thousand.
fn amount(milli: i64) -> String {
    const SUFFIXES: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
    if milli == 0 {
        return "0".to_owned();
    }
    let (mut number, mut suffixes) = (milli, SUFFIXES.iter());
    let mut suffix = suffixes.next().unwrap_or(&"");
    while number % 1000 == 0
        && let Some(next) = suffixes.next()
    {
        (number, suffix) = (number / 1000, next);
    }
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_kubernetes_writes_them() {
        for (milli, text) in [
            (0, "0"),
            (7, "7m"),
            (1500, "1500m"),
            (2000, "2"),
            (47_185_920_000, "47185920"),
            (5_000_000, "5k"),
            (10_000_000_000_000, "10G"),
        ] {
            assert_eq!(amount(milli), text);
        }
    }
}
