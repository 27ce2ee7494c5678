//! Makes a failing plan small: first events are left out (ddmin), then neighbouring operations are merged and faults made shorter, then
//! the cluster is made smaller. What is left is what a person can read, and what `regressions/` keeps.

use std::collections::HashSet;

use crate::{
    Plan,
    plan::{Event, Op, Target, What},
};

/// A plan with at most so many events is small enough to stop looking at single ones when the attempts run out.
pub const GOAL: usize = 25;

/// What became of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan that still fails.
    pub plan: Plan,
    /// How often a plan was played for it.
    pub attempts: usize,
    /// Nothing more can be left out; false: the attempts ran out before.
    pub minimal: bool,
}

/// Shrinks a plan that fails. `fails` plays a plan and says whether it still fails in the same way; it is asked at most `budget`
/// times, and never twice for the same plan.
pub fn shrink(plan: &Plan, budget: usize, fails: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut shrink = Shrink { best: plan.clone(), fails, attempts: 0, budget, tried: HashSet::new() };
    loop {
        let before = shrink.best.clone();
        shrink.leave_out();
        shrink.simplify();
        shrink.fewer_machines();
        if shrink.best == before || shrink.spent() {
            break;
        }
    }
    Shrunk { minimal: !shrink.spent(), plan: shrink.best, attempts: shrink.attempts }
}

struct Shrink<F> {
    best: Plan,
    fails: F,
    attempts: usize,
    budget: usize,
    tried: HashSet<String>,
}

impl<F: FnMut(&Plan) -> bool> Shrink<F> {
    fn spent(&self) -> bool {
        self.attempts >= self.budget
    }

    /// Takes a plan if it fails, too.
    fn take(&mut self, plan: Plan) -> bool {
        if self.spent() || plan == self.best || !self.tried.insert(plan.to_lines()) {
            return false;
        }
        self.attempts += 1;
        if (self.fails)(&plan) {
            self.best = plan;
            return true;
        }
        false
    }

    fn with_events(&self, events: Vec<Event>) -> Plan {
        Plan { events, ..self.best.clone() }
    }

    /// Zeller's ddmin over the events: halves, quarters and so on, each part alone and all but each part.
    fn leave_out(&mut self) {
        // A bug often needs no operation, or no fault, at all.
        for only_faults in [true, false] {
            let is_fault = |event: &Event| matches!(event.what, What::Fault(_));
            let events = self.best.events.iter().filter(|event| is_fault(event) == only_faults);
            let plan = self.with_events(events.cloned().collect());
            self.take(plan);
        }
        let mut parts = 2;
        while self.best.events.len() >= 2 && !self.spent() {
            let events = self.best.events.clone();
            let size = events.len().div_ceil(parts);
            let chunks: Vec<Vec<Event>> = events.chunks(size).map(<[Event]>::to_vec).collect();
            let subset =
                chunks.iter().any(|chunk| chunks.len() > 2 && self.take(self.with_events(chunk.clone())));
            if subset {
                parts = 2;
                continue;
            }
            let without = |n: usize| -> Vec<Event> {
                let others = chunks.iter().enumerate().filter(|(other, _)| *other != n);
                others.flat_map(|(_, chunk)| chunk.clone()).collect()
            };
            if (0..chunks.len()).any(|n| self.take(self.with_events(without(n)))) {
                parts = (parts - 1).max(2);
            } else if size == 1 {
                break;
            } else {
                parts = (parts * 2).min(events.len());
            }
        }
        if self.best.events.len() == 1 {
            self.take(self.with_events(Vec::new()));
        }
    }

    /// Simpler events: operations of the same client on the same thing become one, faults become shorter, numbers smaller.
    fn simplify(&mut self) {
        let mut n = 0;
        while n < self.best.events.len() && !self.spent() {
            let merged = self.merged(n).is_some_and(|plan| self.take(plan));
            if !merged {
                while let Some(plan) = self.shorter(n) {
                    if !self.take(plan) {
                        break;
                    }
                }
                if let Some(plan) = self.plainer(n) {
                    self.take(plan);
                }
                n += 1;
            }
        }
    }

    /// Without the next operation of the same sort.
    fn merged(&self, n: usize) -> Option<Plan> {
        let events = &self.best.events;
        let What::Op { op, .. } = &events.get(n)?.what else { return None };
        let alike =
            |event: &Event| matches!(&event.what, What::Op { op: other, .. } if same_thing(op, other));
        let next = n + 1 + events[n + 1..].iter().position(alike)?;
        let mut events = events.clone();
        events.remove(next);
        Some(self.with_events(events))
    }

    fn shorter(&self, n: usize) -> Option<Plan> {
        let mut events = self.best.events.clone();
        let What::Fault(fault) = &mut events.get_mut(n)?.what else { return None };
        fault.for_ms = if fault.for_ms > 1 { fault.for_ms / 2 } else { return None };
        Some(self.with_events(events))
    }

    /// One client, the first controller, and a target by number instead of a group.
    fn plainer(&self, n: usize) -> Option<Plan> {
        let mut events = self.best.events.clone();
        match &mut events.get_mut(n)?.what {
            What::Op { client, via, .. } => (*client, *via) = (0, 0),
            What::Fault(fault) => {
                fault.on = match fault.on {
                    Target::All | Target::Controllers => Target::Leader,
                    Target::Workers => Target::Worker(0),
                    _ => return None,
                }
            }
        }
        Some(self.with_events(events))
    }

    /// Fewer workers, controllers and zones.
    fn fewer_machines(&mut self) {
        loop {
            let shape = &self.best.shape;
            let mut smaller = Vec::new();
            for workers in [0, 1, shape.workers / 2, shape.workers.saturating_sub(1)] {
                if workers < shape.workers {
                    smaller.push(crate::plan::Shape { workers, ..shape.clone() });
                }
            }
            for controllers in [1, 3] {
                if controllers < shape.controllers {
                    smaller.push(crate::plan::Shape { controllers, ..shape.clone() });
                }
            }
            if shape.zones > 1 {
                smaller.push(crate::plan::Shape { zones: 1, ..shape.clone() });
            }
            let plans: Vec<Plan> =
                smaller.into_iter().map(|shape| Plan { shape, ..self.best.clone() }).collect();
            if !plans.into_iter().any(|plan| self.take(plan)) {
                return;
            }
        }
    }
}

/// Whether two operations do the same to the same thing.
fn same_thing(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Deploy { name, .. }, Op::Deploy { name: other, .. })
        | (Op::Scale { name, .. }, Op::Scale { name: other, .. })
        | (Op::StatefulSet { name, .. }, Op::StatefulSet { name: other, .. })
        | (Op::ScaleStatefulSet { name, .. }, Op::ScaleStatefulSet { name: other, .. })
        | (Op::Job { name, .. }, Op::Job { name: other, .. }) => name == other,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Fault, FaultKind,
        generate::{Options, generate},
    };

    fn large() -> Plan {
        let options =
            Options { ops_per_s: 30.0, faults_per_minute: 60.0, workers: (9, 9), ..Options::default() };
        let plan = generate(11, &options);
        assert!(plan.events.len() > 800, "{}", plan.events.len());
        plan
    }

    fn faults<'a>(plan: &'a Plan, name: &'a str) -> impl Iterator<Item = (u64, &'a Fault)> {
        plan.events.iter().filter_map(move |event| match &event.what {
            What::Fault(fault) if fault.kind.name() == name => Some((event.at_ms, fault)),
            _ => None,
        })
    }

    fn is_put(event: &Event) -> bool {
        matches!(event.what, What::Op { op: Op::Put { .. }, .. })
    }

    #[test]
    fn one_guilty_event_is_left() {
        let plan = large();
        let guilty = plan.events.iter().find(|event| is_put(event)).unwrap().at_ms;
        let shrunk = shrink(&plan, 1000, |plan| plan.events.iter().any(|e| e.at_ms == guilty && is_put(e)));
        assert_eq!(shrunk.plan.events.len(), 1);
        assert_eq!((shrunk.plan.shape.workers, shrunk.plan.shape.controllers), (0, 1));
        assert!(shrunk.minimal && shrunk.attempts < 200, "{}", shrunk.attempts);
    }

    #[test]
    fn what_needs_one_another_stays_together() {
        // A put before a crash, two more after it, and three workers.
        let fails = |plan: &Plan| {
            let crash = faults(plan, "crash").map(|(at, _)| at).next();
            let puts = |after: bool| {
                let on_side =
                    |event: &&Event| crash.is_some_and(|at| (event.at_ms > at) == after) && is_put(event);
                plan.events.iter().filter(on_side).count()
            };
            puts(false) >= 1 && puts(true) >= 2 && plan.shape.workers >= 3
        };
        let mut plan = large();
        let crash = Fault { on: Target::Leader, for_ms: 900, kind: FaultKind::Crash };
        plan.events.push(Event { at_ms: 30_000, what: What::Fault(crash) });
        plan.events.sort_by_key(|event| event.at_ms);
        let shrunk = shrink(&plan, 5000, fails);
        assert_eq!(shrunk.plan.events.len(), 4, "{}", shrunk.plan.to_lines());
        assert_eq!(shrunk.plan.shape.workers, 3);
        assert!(fails(&shrunk.plan) && shrunk.minimal);
        assert_eq!(faults(&shrunk.plan, "crash").next().unwrap().1.for_ms, 1, "as short as it may be");
    }

    #[test]
    fn twenty_scattered_guilty_ones_come_below_the_goal() {
        let plan = large();
        let guilty: Vec<Event> =
            plan.events.iter().step_by(plan.events.len() / 20).take(20).cloned().collect();
        let shrunk = shrink(&plan, 5000, |plan| {
            guilty.iter().all(|event| plan.events.iter().any(|other| other.at_ms == event.at_ms))
        });
        assert!(shrunk.plan.events.len() <= GOAL, "{} after {}", shrunk.plan.events.len(), shrunk.attempts);
    }

    #[test]
    fn the_budget_holds_and_what_comes_out_fails() {
        let plan = large();
        let (mut asked, mut seen) = (0, HashSet::new());
        let fails = |plan: &Plan| plan.events.iter().filter(|event| is_put(event)).count() >= 10;
        let shrunk = shrink(&plan, 40, |plan| {
            asked += 1;
            assert!(seen.insert(plan.to_lines()), "asked twice");
            fails(plan)
        });
        assert_eq!((asked, shrunk.attempts, shrunk.minimal), (40, 40, false));
        assert!(fails(&shrunk.plan) && shrunk.plan.events.len() < plan.events.len());
    }

    #[test]
    fn a_plan_that_always_fails_becomes_nothing() {
        let shrunk = shrink(&large(), 1000, |_| true);
        assert!(shrunk.plan.events.is_empty());
    }
}
