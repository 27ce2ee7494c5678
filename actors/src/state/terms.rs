//! Which terms of pod affinity stand on which nodes: what pods that have a place say of those that come. Few terms for many
//! pods, since those of one template share theirs.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::OrdMap;

use super::State;
use crate::object::{Object, PodAffinity, PodTerm};

/// A pod that must be near others is drawn to by its like a little, so that they come to lie together: as kube-scheduler's
/// `hardPodAffinityWeight`.
const REQUIRED_WEIGHT: i64 = 1;

/// A term of pods that have a place.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct StandingTerm {
    /// What it does to a pod that it selects.
    pub pull: Pull,
    /// The term.
    pub term: PodTerm,
}

/// What a term of a placed pod does to pods that it selects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Pull {
    /// They must stay out of its topology domain.
    Bars,
    /// They are drawn into its topology domain by this weight; away if it is negative.
    Draws(i64),
}

/// How many pods of a node have a term.
pub(super) type OnNodes = OrdMap<CompactString, usize>;

impl StandingTerm {
    /// The terms by which a pod bears on others, once it has a place.
    pub fn of(affinity: &PodAffinity) -> impl Iterator<Item = StandingTerm> {
        let bars = affinity.anti.iter().map(|term| (Pull::Bars, term));
        let near = affinity.required.iter().map(|term| (Pull::Draws(REQUIRED_WEIGHT), term));
        let drawn = affinity.preferred.iter().map(|(weight, term)| (Pull::Draws(*weight), term));
        bars.chain(near).chain(drawn).map(|(pull, term)| StandingTerm { pull, term: term.clone() })
    }
}

/// Where a pod's terms stand: nowhere without a place, or once it has ended.
fn stands(object: &Object) -> Option<(&CompactString, &Arc<PodAffinity>)> {
    let pod = object.pod().filter(|pod| !pod.terminal())?;
    Some((pod.node.as_ref()?, pod.pod_affinity.as_ref()?))
}

impl State {
    /// The terms that bear on pods that come, each with the nodes where it stands and how often.
    pub fn standing_terms(
        &self,
    ) -> impl Iterator<Item = (&StandingTerm, impl Iterator<Item = (&CompactString, usize)>)> {
        self.standing.iter().map(|(term, nodes)| (&**term, nodes.iter().map(|(node, count)| (node, *count))))
    }

    /// How many different ones stand.
    pub fn standing_terms_count(&self) -> usize {
        self.standing.len()
    }

    /// Whether no pod that has a place bears on those that come.
    pub fn no_terms_stand(&self) -> bool {
        self.standing.is_empty()
    }

    pub(super) fn replace_terms(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let (before, after) = (old.and_then(stands), new.and_then(stands));
        if before == after {
            return;
        }
        if let Some((node, affinity)) = before {
            for term in StandingTerm::of(affinity) {
                let Some(nodes) = self.standing.get_mut(&term) else { continue };
                match nodes.get_mut(node) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(nodes.remove(node)),
                }
                if nodes.is_empty() {
                    self.standing.remove(&term);
                }
            }
        }
        if let Some((node, affinity)) = after {
            for term in StandingTerm::of(affinity) {
                *self.standing.entry(Arc::new(term)).or_default().entry(node.clone()).or_default() += 1;
            }
        }
    }
}
