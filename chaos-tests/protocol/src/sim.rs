//! The runtime of a simulation: one thread, and a clock that stands still while anything can run and then jumps to the next timer.

use std::future::Future;

use tokio::runtime::{Builder, RngSeed};

use crate::stillness::Stillness;

/// Runs a simulation to its end. Nothing in it may depend on anything but the seed.
pub fn run<T>(seed: u64, simulation: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build();
    let _still = Stillness::begin();
    match runtime {
        Ok(runtime) => runtime.block_on(simulation),
        Err(error) => panic!("a runtime without threads and sockets always starts: {error}"),
    }
}
