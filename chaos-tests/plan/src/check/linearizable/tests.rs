use super::*;
use crate::{Run, check::build::Build};

fn good() -> Build {
    let mut build = Build::new();
    build.get(1, false);
    build.put("a", 1, "one");
    let revision = build.state.revision();
    build.get(1, false);
    build.cas("b", 1, "two", revision);
    build.cas("c", 1, "three", revision);
    build.put("d", 2, "four");
    build.list();
    build.remove("e", 1);
    build.remove("f", 1);
    build.get(1, false);
    build.put("g", 1, "five");
    build
}

fn violated(run: &Run) -> String {
    match Linearizable.check(run) {
        Verdict::Violated { invariant, .. } => invariant,
        other => panic!("not found: {other:?}"),
    }
}

/// Changes the n-th operation's answer.
fn with(n: usize, change: impl FnOnce(&mut OpRecord)) -> Run {
    let mut run = good().run;
    change(&mut run.ops[n]);
    run
}

#[test]
fn what_happened_passes() {
    let run = good().run;
    assert_eq!(Linearizable.check(&run), Verdict::Pass { examined: 11 });
    assert_eq!(run.ops[4].answer, Answer::Refused { code: 409 });
}

#[test]
fn an_unknown_write_may_be_done_or_not() {
    for n in [1, 3, 4] {
        let run = with(n, |op| (op.answer, op.returned_ns) = (Answer::Unknown, None));
        assert!(Linearizable.check(&run).passed(), "{n}");
    }
}

#[test]
fn overlapping_operations_may_stand_either_way() {
    let mut run = good().run;
    // The first read still sees nothing although the write's answer came before: they overlap.
    run.ops[0].returned_ns = run.ops[1].returned_ns.map(|at| at + 10);
    assert!(Linearizable.check(&run).passed());
}

#[test]
fn a_stale_read_is_found() {
    let mut run = good().run;
    let Answer::Done { revision } = run.ops[3].answer else { panic!("{:?}", run.ops[3]) };
    run.ops[9].answer = Answer::Value { value: Some(("two".into(), revision)) };
    assert_eq!(violated(&run), "C1");
    let run = with(2, |op| op.answer = Answer::Value { value: None });
    assert_eq!(violated(&run), "C1");
}

#[test]
fn a_stale_list_is_found() {
    let run = with(6, |op| op.answer = Answer::Listed { revision: 2, items: Vec::new() });
    assert_eq!(violated(&run), "C1");
    let run = with(6, |op| op.answer = Answer::Listed { revision: 999, items: Vec::new() });
    assert_eq!(violated(&run), "C2");
}

#[test]
fn a_stale_refusal_is_found() {
    // It was created before: that it is not found cannot be.
    let run = with(4, |op| op.answer = Answer::Refused { code: 404 });
    assert_eq!(violated(&run), "C1");
    // The second deletion came too late to find it.
    let mut build = good();
    let now = build.now_ns;
    build.op(
        now,
        Some("x"),
        Call::Create { key: "configmaps/default/r9".into(), value: "x".into() },
        Answer::Refused { code: 409 },
    );
    assert_eq!(violated(&build.run), "C1");
}

#[test]
fn a_lost_write_is_found() {
    let mut run = good().run;
    // The log without its last entry: what it acknowledged is gone.
    run.log.pop();
    assert_eq!(violated(&run), "C4");
}

#[test]
fn a_value_from_nowhere_is_found() {
    let run = with(2, |op| op.answer = Answer::Value { value: Some(("never".into(), 2)) });
    assert_eq!(violated(&run), "C4");
    let mut run = good().run;
    run.ops.remove(1);
    assert_eq!(violated(&run), "C4", "the log has what nobody wrote");
}

#[test]
fn a_wrong_revision_is_found() {
    let run = with(2, |op| op.answer = Answer::Value { value: Some(("one".into(), 7)) });
    assert_eq!(violated(&run), "C2");
    let run = with(1, |op| op.answer = Answer::Done { revision: 9 });
    assert_eq!(violated(&run), "C2");
}

#[test]
fn a_precondition_that_did_not_hold_is_found() {
    // The same log, but the client had asked for another revision.
    let run = with(3, |op| {
        if let Call::Update { revision, .. } = &mut op.call {
            *revision = Some(1);
        }
    });
    assert_eq!(violated(&run), "C3");
    let run =
        with(3, |op| op.call = Call::Create { key: "configmaps/default/r1".into(), value: "two".into() });
    assert_eq!(violated(&run), "C3");
}

#[test]
fn a_retry_that_was_done_again_is_found() {
    let mut build = good();
    build.remove("e", 1);
    build.run.ops.pop();
    assert_eq!(violated(&build.run), "C7");
}

#[test]
fn a_refused_write_that_was_done_is_found() {
    let run = with(5, |op| op.answer = Answer::Refused { code: 409 });
    assert_eq!(violated(&run), "C7");
}

#[test]
fn a_write_that_stands_before_it_was_asked_for_is_found() {
    let run = with(3, |op| {
        op.invoked_ns += 900_000_000;
        op.returned_ns = op.returned_ns.map(|at| at + 900_000_000);
    });
    assert_eq!(violated(&run), "C1");
    let run = with(3, |op| (op.invoked_ns, op.returned_ns, op.answer) = (900_000_000, None, Answer::Unknown));
    assert_eq!(violated(&run), "C1");
}

#[test]
fn a_write_without_its_request_is_found_by_its_value() {
    let mut run = good().run;
    run.ops.iter_mut().for_each(|op| op.request = None);
    assert!(Linearizable.check(&run).passed());
    run.log.pop();
    assert_eq!(violated(&run), "C4");
}
