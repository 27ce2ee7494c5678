//! Plans as files: the first line is the cluster with its seed, each further line an event. A person can delete a line, and so can
//! the shrinker.

use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{Event, Plan, Shape};

#[derive(Serialize, Deserialize)]
struct Head {
    seed: u64,
    #[serde(flatten)]
    shape: Shape,
}

impl Plan {
    /// As lines of text.
    pub fn to_lines(&self) -> String {
        let head = Head { seed: self.seed, shape: self.shape.clone() };
        let mut text = line(&head);
        for event in &self.events {
            text.push_str(&line(event));
        }
        text
    }

    /// From lines of text; empty ones and those that begin with `#` are passed over.
    pub fn from_lines(text: &str) -> anyhow::Result<Plan> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let Some((n, head)) = lines.next() else { bail!("the plan is empty") };
        let head: Head =
            serde_json::from_str(head).with_context(|| format!("line {}: the cluster", n + 1))?;
        let events = lines.map(|(n, line)| {
            serde_json::from_str::<Event>(line).with_context(|| format!("line {}: an event", n + 1))
        });
        let mut events = events.collect::<anyhow::Result<Vec<Event>>>()?;
        events.sort_by_key(|event| event.at_ms);
        Ok(Plan { seed: head.seed, shape: head.shape, events })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Plan> {
        let text = std::fs::read_to_string(path).with_context(|| format!("plan {}", path.display()))?;
        Plan::from_lines(&text).with_context(|| format!("plan {}", path.display()))
    }
}

fn line<T: Serialize>(value: &T) -> String {
    // Plain data with string keys: it always has a JSON form.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, FaultKind, Op, Side, Target, What};

    #[test]
    fn a_plan_survives_its_file() {
        let fault = Fault { on: Target::Zone(1), for_ms: 500, kind: FaultKind::Isolate { side: Side::Out } };
        let op = What::Op { client: 1, via: 2, op: Op::Put { key: 7 } };
        let slow = Fault { on: Target::Leader, for_ms: 9, kind: FaultKind::DiskSlow { ms: 20 } };
        let events = vec![
            Event { at_ms: 5, what: op },
            Event { at_ms: 10, what: What::Fault(fault) },
            Event { at_ms: 12, what: What::Fault(slow) },
        ];
        let plan = Plan { seed: u64::MAX, shape: Shape::default(), events };
        let text = plan.to_lines();
        assert_eq!(text.lines().count(), 4);
        assert_eq!(Plan::from_lines(&text).unwrap(), plan);
        assert_eq!(plan.ends_ms(), 510);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = Plan::from_lines("{\"seed\":1}\n\n{\"at_ms\":1}\n").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error:#}");
    }
}
