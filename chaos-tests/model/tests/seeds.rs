//! Seeds of every profile, judged by every checker; and crashes between any two commands.

use kontiki_chaos_model::{LAYER_FAULTS, Model, Moment, Options as Playing};
use kontiki_chaos_plan::{
    Plan, Play,
    check::{first_failure, judge_all},
    plan::{
        Event, Op, Shape, What,
        generate::{Options, Profile, generate},
    },
};

fn judged(model: &mut Model, plan: &Plan, what: &str) {
    let run = model.play(plan).expect("the model plays any plan");
    let judgements = judge_all(&run);
    if let Some(failure) = first_failure(&judgements) {
        panic!("{what}: {} {:?}\n{}", failure.check, failure.verdict, plan.to_lines());
    }
}

#[test]
fn every_profile_passes_every_check() {
    for profile in Profile::ALL {
        let options =
            Options { profile, faults: LAYER_FAULTS.to_vec(), duration_ms: 20_000, ..Options::default() };
        for seed in 0..12 {
            let plan = generate(seed, &options);
            judged(&mut Model::default(), &plan, &format!("{profile:?} seed {seed}"));
        }
    }
}

/// A deployment that is made, grows, rolls out and goes, with registers written meanwhile.
fn small_plan() -> Plan {
    let op = |at_ms, client, op| Event { at_ms, what: What::Op { client, via: client, op } };
    let deploy = Op::Deploy { name: 0, replicas: 3, cpu_m: 100, max_surge: 1, max_unavailable: 1 };
    let events = vec![
        op(1000, 0, deploy),
        op(1500, 1, Op::Put { key: 0 }),
        op(3000, 0, Op::Rollout { name: 0 }),
        op(3100, 1, Op::Cas { key: 0 }),
        op(6000, 2, Op::Finalize { key: 0, add: true }),
        op(6500, 2, Op::Finalize { key: 0, add: false }),
        op(7000, 0, Op::Undeploy { name: 0, orphan: false }),
        op(7100, 1, Op::Remove { key: 0 }),
    ];
    let shape = Shape { workers: 3, ..Shape::default() };
    Plan { seed: 7, shape, events }
}

#[test]
fn the_leader_may_crash_at_any_command() {
    let plan = small_plan();
    let mut whole = Model::default();
    judged(&mut whole, &plan, "without a crash");
    assert!(whole.work.entries > 20, "the plan does too little: {:?}", whole.work);
    for entry in 1..=whole.work.entries {
        for moment in [Moment::Proposed, Moment::Committed] {
            let options = Playing { crash_at: Some((entry, moment)), ..Playing::default() };
            let mut model = Model { options, ..Model::default() };
            judged(&mut model, &plan, &format!("crash at entry {entry}, {moment:?}"));
        }
    }
}
