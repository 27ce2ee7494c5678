//! What workers said a moment ago, so that a crowd that asks costs them no more than one who does.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use kontiki_proto::worker::NodeUsage;
use tokio::time::Instant;

/// What a worker said counts for so long: workers measure every 15 s.
const FRESH: Duration = Duration::from_secs(10);
/// What was said is forgotten after this.
const KEPT: Duration = Duration::from_secs(60);

/// What workers said.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<String, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    /// It was asked about its pods, too.
    pods: bool,
    /// Nothing if it did not answer.
    usage: Option<NodeUsage>,
}

impl Memory {
    /// Those of the nodes that are to be asked anew. What is old is forgotten.
    pub(super) fn stale(&mut self, nodes: &BTreeSet<String>, pods: bool, now: Instant) -> BTreeSet<String> {
        let age = |said: &Said| now.saturating_duration_since(said.at);
        self.0.retain(|_, said| age(said) < KEPT);
        let known =
            |node: &String| self.0.get(node).is_some_and(|said| age(said) < FRESH && said.pods >= pods);
        nodes.iter().filter(|node| !known(node)).cloned().collect()
    }

    /// These were asked, and this is what came of it: who did not answer is not asked again at once.
    pub(super) fn learn(
        &mut self,
        asked: BTreeSet<String>,
        pods: bool,
        answers: Vec<NodeUsage>,
        now: Instant,
    ) {
        self.0.extend(asked.into_iter().map(|node| (node, Said { at: now, pods, usage: None })));
        for usage in answers {
            if let Some(said) = self.0.get_mut(&usage.node) {
                said.usage = Some(usage);
            }
        }
    }

    /// What is known of these nodes.
    pub(super) fn tell(&self, nodes: &BTreeSet<String>) -> Vec<NodeUsage> {
        nodes.iter().filter_map(|node| self.0.get(node)?.usage.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn usage(node: &str, cpu_nanocores: u64) -> NodeUsage {
        NodeUsage { node: node.to_owned(), cpu_nanocores, ..NodeUsage::default() }
    }

    #[test]
    fn workers_are_asked_once_in_a_while_however_many_ask() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let both = nodes(&["a", "silent"]);
        assert_eq!(memory.stale(&both, false, start), both);
        memory.learn(both.clone(), false, vec![usage("a", 1), usage("stranger", 9)], start);
        assert_eq!(memory.tell(&both), [usage("a", 1)]);
        assert_eq!(memory.stale(&both, false, start + FRESH / 2), nodes(&[]), "nor those that are silent");
        assert_eq!(memory.stale(&nodes(&["a", "b"]), false, start), nodes(&["b"]));
        assert_eq!(memory.stale(&nodes(&["a"]), true, start), nodes(&["a"]), "of its pods it did not speak");
        memory.learn(nodes(&["a"]), true, vec![usage("a", 2)], start);
        assert_eq!(
            memory.stale(&nodes(&["a"]), false, start),
            nodes(&[]),
            "who knows the pods knows the node"
        );
        assert_eq!(memory.stale(&nodes(&["a"]), true, start + FRESH), nodes(&["a"]));
        assert_eq!(memory.tell(&nodes(&["a"])), [usage("a", 2)]);
        memory.stale(&nodes(&[]), false, start + KEPT);
        assert!(memory.tell(&both).is_empty(), "what is old is forgotten");
    }
}
