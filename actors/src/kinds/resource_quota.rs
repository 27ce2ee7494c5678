//! Resource quotas: see [`crate::quota`], which counts them with each change.

use crate::{object::Object, quota, turn::Turn};

/// It is new, or somebody wrote to it: it is counted anew.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    quota::reconcile(turn, me);
}
