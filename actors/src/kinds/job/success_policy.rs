//! When an indexed job has succeeded before all of its indexes have:
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy>.

use super::indexes::Indexes;
use crate::object::JobDigest;

/// What is said when enough indexes have succeeded.
pub(super) fn met(spec: &JobDigest, succeeded: &Indexes) -> Option<String> {
    let completions = spec.completions.unwrap_or(0);
    let at =
        spec.success_rules.iter().position(|rule| match (&rule.succeeded_indexes, rule.succeeded_count) {
            (Some(list), count) => {
                let wanted = Indexes::parse(list, completions);
                succeeded.count_of(&wanted) >= count.unwrap_or(wanted.len())
            }
            (None, Some(count)) => succeeded.len() >= count,
            (None, None) => false,
        })?;
    Some(format!("Matched rules at index {at}"))
}
