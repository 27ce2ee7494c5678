use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    Run,
    check::{build::Build, linearizable::Linearizable},
};

fn found(run: &Run) -> Option<String> {
    match Wgl.check(run) {
        Verdict::Pass { .. } => None,
        Verdict::Violated { words, .. } => Some(words),
        Verdict::Unknown { words } => panic!("{words}"),
    }
}

fn good() -> Build {
    let mut build = Build::new();
    build.put("a", 1, "one");
    let revision = build.state.revision();
    build.cas("b", 1, "two", revision);
    build.cas("c", 1, "three", revision);
    build.get(1, false);
    build.remove("d", 1);
    build.get(1, false);
    build.put("e", 1, "five");
    build
}

#[test]
fn what_happened_has_an_order() {
    assert_eq!(found(&good().run), None);
}

#[test]
fn a_stale_read_has_none_and_the_words_show_it() {
    let mut run = good().run;
    run.ops[3].answer = Answer::Value { value: Some(("one".into(), 2)) };
    let words = found(&run).unwrap();
    assert!(words.contains("may be two") && words.contains("before it"), "{words}");
}

#[test]
fn lies_about_revisions_are_found() {
    // The answers' revisions all fit the log, but the second swap expected what was no longer there and says that it was done.
    let mut run = good().run;
    run.ops[2].answer = Answer::Done { revision: 4 };
    assert!(found(&run).is_some());
    let mut run = good().run;
    let Answer::Done { revision } = run.ops[1].answer else { panic!("{:?}", run.ops[1]) };
    run.ops[3].answer = Answer::Value { value: Some(("other".into(), revision)) };
    assert!(found(&run).unwrap().contains("and also"), "one revision, two values");
}

#[test]
fn a_write_without_an_answer_counts_if_the_log_has_it() {
    let mut run = good().run;
    (run.ops[0].answer, run.ops[0].returned_ns) = (Answer::Unknown, None);
    assert_eq!(found(&run), None);
    // One that is not in the log never happened: it explains nothing.
    let lost = OpRecord { request: Some("x".into()), ..run.ops[0].clone() };
    let create = Call::Create { key: "configmaps/default/r2".into(), value: "lost".into() };
    run.ops.push(OpRecord { call: create, ..lost.clone() });
    assert_eq!(found(&run), None);
    let read = Answer::Value { value: Some(("lost".into(), 3)) };
    let get = Call::Get { key: "configmaps/default/r2".into(), stale: false };
    run.ops.push(OpRecord {
        call: get,
        answer: read,
        invoked_ns: 900_000_000,
        returned_ns: Some(900_000_001),
        ..lost
    });
    assert!(found(&run).is_some());
}

#[test]
fn a_delete_without_an_answer_or_a_name_counts_if_the_log_has_one_more() {
    let mut run = good().run;
    run.ops.iter_mut().for_each(|op| op.request = None);
    assert!(matches!(run.ops[4].call, Call::Delete { .. }));
    let unanswered = OpRecord { answer: Answer::Unknown, returned_ns: None, ..run.ops[4].clone() };
    // The log has one delete, and that one was answered: another never happened.
    run.ops.insert(0, OpRecord { invoked_ns: 0, ..unanswered.clone() });
    assert_eq!(found(&run), None);
    assert!(matches!(run.ops[4].call, Call::Get { .. }));
    run.ops[4].answer = Answer::Value { value: None };
    assert!(found(&run).is_some(), "nothing was deleted before this read");
    // If nobody was told, the one in the log may be this one.
    let mut run = good().run;
    run.ops.iter_mut().for_each(|op| op.request = None);
    run.ops[4] = unanswered;
    assert_eq!(found(&run), None);
}

#[test]
fn many_writes_without_an_answer_do_not_stop_the_search() {
    let mut build = Build::new();
    for n in 0..400 {
        build.put(&format!("p{n}"), 0, &format!("v{n}"));
        build.get(0, false);
    }
    // Nobody saw commits, and most writes were never answered.
    build.run.log.iter_mut().for_each(|logged| logged.committed_ns = 0);
    for (n, op) in build.run.ops.iter_mut().enumerate().filter(|(n, _)| n % 2 == 0 && n % 40 != 0) {
        (op.answer, op.returned_ns) = (Answer::Unknown, None);
        assert!(op.request.is_some(), "{n}");
    }
    assert_eq!(found(&build.run), None);
    build.run.ops[799].answer = build.run.ops[1].answer.clone();
    assert!(found(&build.run).is_some());
}

#[test]
fn overlapping_operations_may_have_any_order() {
    let mut run = good().run;
    // The read of "two" is open all the time.
    (run.ops[3].invoked_ns, run.ops[3].returned_ns) = (0, Some(u64::MAX));
    assert_eq!(found(&run), None);
    (run.ops[5].invoked_ns, run.ops[5].returned_ns) = (0, Some(u64::MAX));
    assert_eq!(found(&run), None);
}

/// Clients of some registers whose operations overlap; each takes effect at a moment between its beginning and its end.
fn random(seed: u64, ops: usize, keys: u32) -> Build {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut build = Build::new();
    for n in 0..ops {
        let key = rng.random_range(0..keys);
        match rng.random_range(0..10) {
            0..=3 => build.put(&format!("p{n}"), key, &format!("v{n}")),
            4 => build.remove(&format!("p{n}"), key),
            5 => {
                let revision = build.state.revision();
                build.cas(&format!("p{n}"), key, &format!("v{n}"), revision);
            }
            _ => build.get(key, false),
        }
        let last = build.run.ops.last_mut().unwrap();
        last.invoked_ns = last.invoked_ns.saturating_sub(rng.random_range(0..8_000_000));
        last.returned_ns = last.returned_ns.map(|at| at + rng.random_range(0..8_000_000));
        if rng.random_bool(0.02) && last.request.is_some() {
            (last.answer, last.returned_ns) = (Answer::Unknown, None);
        }
    }
    build
}

#[test]
fn both_judges_agree_on_histories_and_on_broken_ones() {
    let (mut by_search, mut by_log) = (0, 0);
    for seed in 0..150 {
        let mut run = random(seed, 60, 3).run;
        assert_eq!(found(&run), None, "seed {seed}");
        assert!(Linearizable.check(&run).passed(), "seed {seed}: {:?}", Linearizable.check(&run));
        // One read answers what another one of the same key answered.
        let mut rng = StdRng::seed_from_u64(seed);
        let reads: Vec<usize> =
            (0..run.ops.len()).filter(|n| matches!(run.ops[*n].answer, Answer::Value { .. })).collect();
        let a = reads[rng.random_range(0..reads.len())];
        let same: Vec<usize> =
            reads.iter().copied().filter(|b| run.ops[*b].call == run.ops[a].call).collect();
        run.ops[a].answer = run.ops[same[rng.random_range(0..same.len())]].answer.clone();
        let (search, log) = (found(&run).is_some(), !Linearizable.check(&run).passed());
        // The log says more than values do: it may find what a search cannot see, never the other way round.
        assert!(log || !search, "seed {seed}: only the search found it: {:?}", found(&run));
        by_search += u32::from(search);
        by_log += u32::from(log);
    }
    assert!(by_search > 40 && by_log >= by_search, "{by_search} and {by_log}");
}

#[test]
fn long_histories_are_no_trouble() {
    let build = random(1, 20_000, 20);
    let log = Log::of(&build.run.log).unwrap();
    let before = std::time::Instant::now();
    assert!(judge(&build.run.ops, &log).unwrap().passed());
    println!("20,000 operations in {:?}", before.elapsed());
    let before = std::time::Instant::now();
    assert!(Linearizable.check(&build.run).passed());
    println!("by the log in {:?}, decoding included", before.elapsed());
}
