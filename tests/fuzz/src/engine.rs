//! The loop, and what an input may cost.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    Target,
    mutate::{Random, mutate},
};

/// What one input of at most 4 KiB may hold at a time. The greatest that is meant to be are the 200,000 values that a JSON patch may copy.
pub const MAX_LIVE_BYTES: u64 = 128 << 20;
/// How often one input may allocate: work is counted rather than timed, so that a busy machine fails nothing.
pub const MAX_ALLOCATIONS: u64 = 4_000_000;
/// Seeds that are kept of what was found; beyond them a new one takes the place of an old one.
const MAX_CORPUS: usize = 256;

/// An input that a target fails with.
#[derive(Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// What went wrong.
    pub why: String,
}

/// Gives a target one input. Says whether it was accepted, and how many allocations that took.
///
/// # Errors
/// What is wrong, if the input fails.
pub fn try_input(target: &Target, input: &[u8]) -> Result<(bool, u64), String> {
    let mut result = Ok(Ok(false));
    let cost = allocation_counter::measure(|| {
        result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    let accepted = match result {
        Ok(verdict) => verdict?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            return Err(format!("panic: {}", text.unwrap_or("without a text")));
        }
    };
    if cost.bytes_max > MAX_LIVE_BYTES {
        return Err(format!("held {} bytes at a time, more than {MAX_LIVE_BYTES}", cost.bytes_max));
    }
    if cost.count_total > MAX_ALLOCATIONS {
        return Err(format!("allocated {} times, more than {MAX_ALLOCATIONS}", cost.count_total));
    }
    Ok((accepted, cost.count_total))
}

/// Gives a target its seeds, then mutations for as long as `more` says so, which is asked before each.
///
/// # Errors
/// The first input that fails.
pub fn fuzz(target: &Target, seed: u64, mut more: impl FnMut() -> bool) -> Result<(), Box<Failure>> {
    let mut random = Random(seed);
    let mut corpus: Vec<Vec<u8>> = target.seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut seen = BTreeSet::new();
    let attempt = |input: &[u8]| {
        try_input(target, input).map_err(|why| Box::new(Failure { input: input.to_vec(), why }))
    };
    // Twice: tables that are made at first use are no input's cost.
    for input in corpus.iter().chain(&corpus) {
        let (accepted, allocations) = attempt(input)?;
        seen.insert((accepted, allocations.max(1).ilog2()));
    }
    while more() {
        let input = &corpus[random.below(corpus.len())].clone();
        let other = &corpus[random.below(corpus.len())];
        let input = mutate(&mut random, input, other);
        let (accepted, allocations) = attempt(&input)?;
        if seen.insert((accepted, allocations.max(1).ilog2())) || (accepted && random.below(16) == 0) {
            if corpus.len() < MAX_CORPUS {
                corpus.push(input);
            } else {
                let at = random.below(corpus.len());
                corpus[at] = input;
            }
        }
    }
    Ok(())
}
