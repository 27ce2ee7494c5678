//! Owners of many pods gather news of them for a while before they look at all of them: looking at each of n for each of n reports would
//! take n² steps while a large set starts.

use crate::{object::Object, turn::Turn};

/// Owners of more pods than this gather ...
pub(super) const LARGE: usize = 500;
/// ... for so long.
const GATHER_MS: i64 = 100;

/// Whether the reaction of an owner with so many pods is left to one a moment later, which is then asked for: where they are more than
/// `large`, unless it was told something itself.
pub(super) fn gathers(turn: &mut Turn, me: &Object, pods: usize, large: usize, told: bool) -> bool {
    if told || turn.woken(&me.key) || pods <= large {
        return false;
    }
    let soon = turn.now_ms() + GATHER_MS;
    turn.wake_by(&me.key, soon);
    true
}
