//! The time of every operation, by criterion: `cargo bench -p kontiki-inside`, or some of them, `cargo bench -p kontiki-inside -- turn/pod`.
//! `kontiki-inside` tells it beside the allocations.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The product's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn times(criterion: &mut Criterion) {
    for operation in kontiki_inside::operations() {
        let mut group = criterion.benchmark_group(operation.step);
        group.throughput(Throughput::Elements(operation.elements));
        // criterion calls this many times for one that is asked for, and never for others.
        let mut action = None;
        group.bench_function(&operation.name, |bencher| {
            let action = action.get_or_insert_with(|| operation.prepare());
            bencher.iter(action);
        });
        group.finish();
    }
}

criterion_group!(all, times);
criterion_main!(all);
