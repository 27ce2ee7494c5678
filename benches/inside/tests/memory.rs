//! How much memory a running pod may take in the state, with its events. Bytes that were asked of the allocator, the same in every run.

/// Bytes per pod: of 1.5 GiB for 150,000 pods, what is left beside what a controller holds for other reasons.
const LIMIT: f64 = 8_000.0;

#[test]
fn a_running_pod_takes_no_more_than_it_may() {
    let grown = |run: &mut dyn FnMut()| allocation_counter::measure(run).bytes_current;
    let shares = kontiki_inside::memory::shares(100, &grown);
    for share in &shares {
        println!("{:<28} {:>10.1}", share.what, share.bytes);
    }
    let all = shares.last().expect("what is held in all");
    assert!(all.bytes <= LIMIT, "{} bytes per pod", all.bytes);
}
