//! Which of two assignments of one pod counts: revisions only grow, so the newest does, however often and in whatever order they come.

use kontiki_hooks::{Defect, planted};

/// Whether an assignment of this revision was overtaken by the one that was applied, and must have no effect.
pub fn is_overtaken(revision: u64, applied: u64) -> bool {
    revision < applied && !planted(Defect::OlderAssignmentObeyed)
}
