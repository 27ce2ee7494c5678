use super::*;
use crate::check::{Check, build::Build};

/// A list, a watch from there with five events, a break, and a resumed one with two more.
fn good() -> Build {
    let mut build = Build::new();
    build.put("a", 1, "one");
    build.put("b", 2, "two");
    build.watch();
    let listed = build.state.revision();
    build.put("c", 1, "three");
    build.remove("d", 2);
    build.put("e", 3, "four");
    build.put("f", 1, "five");
    build.deliver(listed);
    let resumed = build.state.revision();
    let steps = &mut build.run.watches[0].steps;
    steps.push((1, WatchStep::Closed { code: None }));
    steps.push((1, WatchStep::Opened { server: 1, from: resumed }));
    build.put("g", 4, "six");
    build.put("h", 4, "seven");
    build.deliver(resumed);
    build
}

fn found(run: &Run) -> Option<String> {
    let checks: [&dyn Check; 3] = [&Events, &Lists, &Bookmarks];
    checks.iter().find_map(|check| match check.check(run) {
        Verdict::Violated { invariant, .. } => Some(invariant),
        Verdict::Pass { .. } => None,
        other => panic!("{other:?}"),
    })
}

/// Changes the steps of the only watch: 0 list, 1 opened, 2 to 5 events, 6 bookmark, 7 closed, 8 opened, 9 and 10 events, 11 bookmark.
fn with(change: impl FnOnce(&mut Vec<(u64, WatchStep)>)) -> Option<String> {
    let mut run = good().run;
    change(&mut run.watches[0].steps);
    found(&run)
}

#[test]
fn what_was_delivered_passes() {
    assert_eq!(good().run.watches[0].steps.len(), 12);
    assert_eq!(found(&good().run), None);
}

#[test]
fn events_out_of_order_are_found() {
    assert_eq!(with(|steps| steps.swap(3, 4)).as_deref(), Some("D4"), "first the hole is seen");
    assert_eq!(with(|steps| steps.insert(6, steps[3].clone())).as_deref(), Some("D1"));
}

#[test]
fn an_event_that_comes_twice_is_found() {
    assert_eq!(with(|steps| steps.insert(4, steps[3].clone())).as_deref(), Some("D2"));
    // The last event again after a resume from it.
    assert_eq!(with(|steps| steps.insert(9, steps[5].clone())).as_deref(), Some("D8"));
}

#[test]
fn a_lost_event_is_found() {
    assert_eq!(with(|steps| drop(steps.remove(4))).as_deref(), Some("D4"));
    assert_eq!(with(|steps| drop(steps.remove(3))).as_deref(), Some("D4"), "a deletion");
}

#[test]
fn a_gap_after_the_list_is_found() {
    assert_eq!(with(|steps| drop(steps.remove(2))).as_deref(), Some("D7"));
}

#[test]
fn a_gap_after_a_resume_is_found() {
    assert_eq!(with(|steps| drop(steps.remove(9))).as_deref(), Some("D5"));
}

#[test]
fn an_event_that_is_not_in_the_log_is_found() {
    let wrong = |steps: &mut Vec<(u64, WatchStep)>| {
        if let WatchStep::Put { value, .. } = &mut steps[4].1 {
            *value = "other".into();
        }
    };
    assert_eq!(with(wrong).as_deref(), Some("D4"));
}

#[test]
fn a_bookmark_that_comes_too_early_is_found() {
    assert_eq!(with(|steps| drop(steps.remove(5))).as_deref(), Some("D6"));
    let back = WatchStep::Bookmark { revision: 1 };
    assert_eq!(with(|steps| steps.insert(6, (1, back))).as_deref(), Some("D6"));
}

#[test]
fn a_wrong_list_is_found() {
    let edit = |change: fn(&mut Vec<(String, String, u64)>)| {
        with(|steps| {
            if let WatchStep::Listed { items, .. } = &mut steps[0].1 {
                change(items);
            }
        })
    };
    assert_eq!(edit(|items| drop(items.pop())).as_deref(), Some("D7"));
    assert_eq!(edit(|items| items.push(items[0].clone())).as_deref(), Some("D7"));
    assert_eq!(edit(|items| items[0].2 += 1).as_deref(), Some("D7"));
    let future = |steps: &mut Vec<(u64, WatchStep)>| {
        steps[0].1 = WatchStep::Listed { server: 0, revision: 999, items: Vec::new() };
    };
    assert_eq!(with(future).as_deref(), Some("D7"));
}

#[test]
fn a_list_within_an_entry_is_found() {
    let mut build = good();
    let object = |n: u32| build.state.get(&crate::names::register(n)).unwrap().clone();
    let label = |n: u32| {
        crate::check::build::forge_metadata(&object(n), |meta| meta["labels"] = serde_json::json!({"a": "b"}))
    };
    let changes = vec![label(1), label(3)];
    build.forge(changes);
    let log = Log::of(&build.run.log).unwrap();
    let revision = build.state.revision() - 1;
    let items = log.list(crate::names::REGISTERS, revision);
    build.run.watches[0].steps.push((1, WatchStep::Listed { server: 0, revision, items }));
    assert_eq!(found(&build.run).as_deref(), Some("D3"));
}

#[test]
fn old_events_for_a_watch_of_the_future_are_found() {
    let future = |steps: &mut Vec<(u64, WatchStep)>| {
        steps[8].1 = WatchStep::Opened { server: 1, from: 999 };
    };
    assert_eq!(with(future).as_deref(), Some("D8"));
}

#[test]
fn a_slow_watch_with_a_hole_is_found() {
    let mut run = good().run;
    let op = Op::WatchSlowly { resume_via: 0, stall_ms: 9 };
    run.plan.events.push(crate::plan::Event { at_ms: 0, what: What::Op { client: 9, via: 0, op } });
    assert_eq!(found(&run), None);
    run.watches[0].steps.remove(4);
    assert_eq!(found(&run).as_deref(), Some("D9"));
    // Cut with an error, listed anew: that is how it should be.
    let mut build = good();
    build.put("i", 5, "eight");
    build.watch();
    let mut again = build.run.watches.pop().unwrap();
    let steps = &mut build.run.watches[0].steps;
    steps.push((1, WatchStep::Closed { code: Some(410) }));
    steps.append(&mut again.steps);
    assert_eq!(found(&build.run), None);
}
