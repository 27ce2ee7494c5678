//! Disruption budgets in preemption: minded where that is possible, not where it is not, as in Kubernetes:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#poddisruptionbudget-is-supported-but-not-guaranteed>.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    kinds::disruption_budget::{allowed, covering},
    object::{Object, ObjectKey},
    state::State,
};

/// How many pods each budget lets go, less those that a plan sent away already. Looked up when they are asked for.
#[derive(Debug, Default)]
pub(in crate::scheduling) struct Budgets<'a>(BTreeMap<&'a ObjectKey, i64>);

impl<'a> Budgets<'a> {
    fn left(&mut self, state: &'a State, budget: &'a Object) -> &mut i64 {
        self.0.entry(&budget.key).or_insert_with(|| allowed(state, budget))
    }

    /// Of pods that would all leave, those for which the budgets have no room, if room is given to the first of them first.
    pub(super) fn violated_by(&mut self, state: &'a State, pods: &[&'a Object]) -> BTreeSet<&'a ObjectKey> {
        let mut taken: BTreeMap<&ObjectKey, i64> = BTreeMap::new();
        let mut violating = BTreeSet::new();
        for pod in pods {
            for budget in covering(state, pod) {
                let taken = taken.entry(&budget.key).or_default();
                *taken += 1;
                if *taken > *self.left(state, budget) {
                    violating.insert(&pod.key);
                }
            }
        }
        violating
    }

    /// These leave.
    pub(super) fn spend(&mut self, state: &'a State, victims: &[&'a Object]) {
        for budget in victims.iter().flat_map(|victim| covering(state, victim)) {
            *self.left(state, budget) -= 1;
        }
    }
}
