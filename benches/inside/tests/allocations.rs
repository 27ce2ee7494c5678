//! How often each operation may call the allocator: a quarter more than it did when the limit was set. Only this thread's calls are counted,
//! so neither load nor other tests change them. Who goes over a limit on purpose sets it anew, by `cargo run --release -p kontiki-inside`.

use allocation_counter::measure;

const LIMITS: [(&str, u64); 41] = [
    ("request/decode-config-map", 40),
    ("request/accept-config-map", 50),
    ("request/answer-config-map", 8),
    ("request/decode-pod", 250),
    ("request/accept-pod", 450),
    ("request/answer-pod", 35),
    ("request/get-config-map", 75),
    ("request/get-config-map-by-role", 78),
    ("request/post-config-map", 245),
    ("turn/config-map-1000", 58),
    ("turn/config-map-15000", 62),
    ("turn/config-map-150000", 64),
    ("turn/pod-100", 750),
    ("turn/pod-500", 830),
    ("turn/pod-5000", 870),
    ("turn/deployment-1000", 203_000),
    ("scheduling/basic-500", 280),
    ("scheduling/basic-1500", 400),
    ("scheduling/basic-5000", 410),
    ("scheduling/hard-spread-500", 290),
    ("scheduling/hard-spread-1500", 410),
    ("scheduling/hard-spread-5000", 420),
    ("scheduling/preferred-spread-500", 280),
    ("scheduling/preferred-spread-1500", 410),
    ("scheduling/preferred-spread-5000", 420),
    ("scheduling/required-affinity-500", 230),
    ("scheduling/required-affinity-1500", 310),
    ("scheduling/required-affinity-5000", 410),
    ("scheduling/unschedulable-500", 1350),
    ("scheduling/unschedulable-1500", 2600),
    ("scheduling/unschedulable-5000", 6950),
    ("reports/of-30", 240_000),
    ("reports/of-90", 725_000),
    ("reports/of-300", 2_460_000),
    ("zone/lost-30", 360_000),
    ("zone/lost-90", 1_100_000),
    ("zone/lost-300", 3_735_000),
    ("codec/encode", 18),
    ("codec/decode", 880),
    ("codec/apply", 880),
    ("codec/fold", 1500),
];

#[test]
fn no_operation_allocates_more_than_it_may() {
    let mut over = Vec::new();
    for operation in kontiki_inside::operations() {
        let id = operation.id();
        let limit = LIMITS.iter().find(|(name, _)| *name == id);
        let (_, limit) = limit.unwrap_or_else(|| panic!("{id} has no limit"));
        let mut action = operation.prepare();
        let seen = measure(&mut action).count_total;
        if seen > *limit {
            over.push(format!("{id}: {seen} allocations, at most {limit}"));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
