use super::*;
use crate::{
    Run, Verdict,
    check::{Judgement, build::Build, judge_all},
    history::{Answer, FaultRecord, Reign},
    plan::{
        What,
        generate::{Options, generate},
    },
};

/// A run of a generated plan, with faults and reigns as if a layer had played it. `wrong`: with a stale read in it.
fn example(wrong: bool) -> (Run, Vec<Judgement>) {
    let mut build = Build::new();
    build.nodes(6, 12);
    for name in 0..3 {
        build.deploy(name, 6, crate::check::build::rolling(1, 0));
    }
    for n in 0..300_u32 {
        build.wait_ms(u64::from(n * 7 % 90) + 60);
        match n % 5 {
            0 => build.put(&format!("p{n}"), n % 7, &format!("v{n}")),
            1 => build.list(),
            2 if n % 20 == 2 => build.remove(&format!("p{n}"), n % 7),
            _ => build.get(n % 7, false),
        }
        if n % 50 == 20 {
            build.edit(&crate::names::deployment(n % 3), |value| {
                value["spec"]["template"]["spec"]["containers"][0]["image"] = format!("v{n}").into();
            });
        }
        build.workers_work();
        if let Some(op) = build.run.ops.last_mut().filter(|_| n % 37 == 5) {
            (op.answer, op.returned_ns) = (Answer::Unknown, None);
        }
    }
    build.converge();
    let mut run = build.run;
    run.plan = generate(7, &Options { duration_ms: 32_000, faults_per_minute: 50.0, ..Options::default() });
    let end = run.ops.last().map_or(0, |op| op.invoked_ns);
    for (event, planned) in run.plan.events.iter().enumerate() {
        let What::Fault(fault) = &planned.what else { continue };
        run.faults.push(FaultRecord {
            event,
            number: fault.kind.number(),
            hit: vec![match fault.on {
                crate::plan::Target::Worker(n) => crate::names::worker(n),
                crate::plan::Target::Controller(n) => crate::names::controller(n),
                _ => crate::names::controller(event as u32 % 3),
            }],
            from_ns: planned.at_ms * 1_000_000,
            until_ns: planned.ends_ms() * 1_000_000,
            bit: event % 5 != 0,
            skipped: (event % 11 == 0).then(|| "not in this layer".into()),
        });
    }
    for term in 1..=5_u64 {
        let (from_ns, until_ns) =
            (end / 5 * (term - 1), Some(end / 5 * term - 200_000_000).filter(|_| term < 5));
        run.reigns.push(Reign { controller: (term % 3) as u32, term, from_ns, until_ns });
    }
    run.settled.healed_ns = end;
    run.settled.limit_ns = 15_000_000_000;
    for (n, part) in [
        &mut run.settled.leader_ns,
        &mut run.settled.replicas_ns,
        &mut run.settled.workload_ns,
        &mut run.settled.served_ns,
    ]
    .into_iter()
    .enumerate()
    {
        *part = Some(300_000_000 * (n as u64 + 1));
    }
    if wrong {
        let stale =
            run.ops.iter().position(|op| matches!(op.answer, Answer::Value { value: Some(_) })).unwrap();
        let later = run.ops.iter().rposition(|op| op.call == run.ops[stale].call).unwrap();
        run.ops[later].answer = run.ops[stale].answer.clone();
    }
    let judgements = judge_all(&run);
    (run, judgements)
}

#[test]
fn a_violation_stands_on_top_with_its_surroundings_and_its_command() {
    let (run, judgements) = example(true);
    let page = html(&run, &judgements, "kontiki-chaos replay <plan>");
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not on the page"));
    assert!(place("C1 violated") < place("What happened around it"));
    assert!(place("What happened around it") < place("kontiki-chaos replay &lt;plan&gt;"));
    assert!(place("Play it again") < place("<svg"));
    for part in
        ["class=\"wrong\"", "class=\"healed\"", "term 5", "worker-5", "class=\"heat\"", "not in this layer"]
    {
        place(part);
    }
    let summary = text(&run, &judgements, "again");
    assert!(summary.starts_with("L0 seed 7: VIOLATED C1 at "), "{summary}");
    assert!(summary.contains("again: again"));
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let (run, judgements) = example(false);
    let page = html(&run, &judgements, "x");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("class=\"violation\""));
    assert!(text(&run, &judgements, "x").contains("passed"));
}

#[test]
fn what_cannot_be_decided_is_no_pass() {
    let (run, _) = example(false);
    let judgements =
        [Judgement { check: "wgl".into(), verdict: Verdict::Unknown { words: "too <many>".into() } }];
    let page = html(&run, &judgements, "x");
    assert!(page.contains("unknown: no pass") && page.contains("too &lt;many&gt;"));
    assert!(text(&run, &judgements, "x").contains("UNKNOWN"));
}

#[test]
fn an_empty_run_has_a_page_too() {
    let run = Build::new().run;
    assert!(html(&run, &judge_all(&run), "x").contains("<svg"));
}

#[test]
#[ignore = "writes pages to look at: REPORTS=directory"]
fn pages_to_look_at() {
    let directory = std::path::PathBuf::from(std::env::var("REPORTS").unwrap());
    for (name, wrong) in [("passed", false), ("violated", true)] {
        let (run, judgements) = example(wrong);
        std::fs::write(
            directory.join(format!("{name}.html")),
            html(&run, &judgements, "make chaos-replay PLAN=seed-7.jsonl"),
        )
        .unwrap();
        print!("{}", text(&run, &judgements, "make chaos-replay PLAN=seed-7.jsonl"));
    }
}
