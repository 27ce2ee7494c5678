//! The loop, and what an input may cost.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Target, mutate::mutate, random::Random};

/// What one input may hold at a time. The greatest that is meant to be are the 200,000 values that a JSON patch may copy.
pub const MAX_LIVE_BYTES: u64 = 128 << 20;
/// How often one input may allocate: work is counted rather than timed, so that a busy machine fails nothing.
pub const MAX_ALLOCATIONS: u64 = 4_000_000;
/// Seeds that are kept of what was found; beyond them a new one takes the place of an old one.
const MAX_CORPUS: usize = 1024;
/// What is remembered as seen, so that a target that tells ever new things does not fill the memory.
const MAX_SEEN: usize = 1 << 17;
/// What is remembered of one input.
const MAX_MARKS: usize = 64;

/// An input that a target fails with.
#[derive(Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// What went wrong.
    pub why: String,
}

/// What became of an input.
#[derive(Debug)]
pub struct Tried {
    /// Whether it was accepted.
    pub accepted: bool,
    /// How many allocations that took.
    pub allocations: u64,
    marks: Vec<u64>,
}

thread_local! {
    static MARKS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Targets tell by this what an input came to, mostly in an error's words: an input that brings new words is a seed for others.
/// What stands in quotes and digits do not count.
pub(crate) fn mark(words: &str) {
    let mut hasher = DefaultHasher::new();
    let mut quoted = false;
    for c in words.chars().take(512) {
        match c {
            '"' | '\'' | '`' => quoted = !quoted,
            c if quoted || c.is_ascii_digit() => {}
            c => c.hash(&mut hasher),
        }
    }
    MARKS.with_borrow_mut(|marks| {
        if marks.len() < MAX_MARKS {
            marks.push(hasher.finish());
        }
    });
}

/// Gives a target one input.
///
/// # Errors
/// What is wrong, if the input fails.
pub fn try_input(target: &Target, input: &[u8]) -> Result<Tried, String> {
    MARKS.with_borrow_mut(Vec::clear);
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
    let mut marks = MARKS.with_borrow_mut(std::mem::take);
    marks.push(u64::from(accepted) << 8 | u64::from(cost.count_total.max(1).ilog2()));
    Ok(Tried { accepted, allocations: cost.count_total, marks })
}

/// Who follows a run.
pub trait Watcher {
    /// Asked before each mutation: whether there is to be one.
    fn more(&mut self) -> bool;
    /// This input is tried next. Nothing is heard after it if it ends the process.
    fn trying(&mut self, _input: &[u8]) {}
}

/// So many mutations.
pub struct Times(pub usize);

impl Watcher for Times {
    fn more(&mut self) -> bool {
        let more = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        more
    }
}

/// Gives a target its seeds, then mutations for as long as the watcher says so. Says how many inputs were accepted.
///
/// # Errors
/// The first input that fails.
pub fn fuzz(target: &Target, seed: u64, watcher: &mut dyn Watcher) -> Result<u64, Box<Failure>> {
    let mut random = Random(seed);
    let mut corpus: Vec<Vec<u8>> = (target.seeds)();
    let mut run = Run { seen: BTreeSet::new(), accepted: 0 };
    // What is made at first use is no input's cost.
    if let Some(first) = corpus.first() {
        try_input(target, first).ok();
    }
    for input in &corpus {
        run.attempt(target, input, watcher)?;
    }
    while watcher.more() {
        let (input, other) = (random.pick(&corpus), random.pick(&corpus));
        let input = mutate(&mut random, target, input, other);
        if run.attempt(target, &input, watcher)? {
            if corpus.len() < MAX_CORPUS {
                corpus.push(input);
            } else {
                let at = random.below(corpus.len());
                corpus[at] = input;
            }
        }
    }
    Ok(run.accepted)
}

/// What is known of the inputs so far.
struct Run {
    seen: BTreeSet<u64>,
    accepted: u64,
}

impl Run {
    /// Tries an input. Says whether it brought anything new.
    fn attempt(
        &mut self,
        target: &Target,
        input: &[u8],
        watcher: &mut dyn Watcher,
    ) -> Result<bool, Box<Failure>> {
        watcher.trying(input);
        let tried =
            try_input(target, input).map_err(|why| Box::new(Failure { input: input.to_vec(), why }))?;
        self.accepted += u64::from(tried.accepted);
        let mut new = false;
        for mark in tried.marks {
            new |= self.seen.len() < MAX_SEEN && self.seen.insert(mark);
        }
        Ok(new)
    }
}
