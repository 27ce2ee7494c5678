//! Who is alive: signs of life in, verdicts out. Heartbeats stay here; only verdicts enter the log. A plain struct without
//! a clock of its own.
//!
//! Mass silence is not mass death: while nobody at all is heard, the leader doubts itself first. A new leader condemns
//! no node before it had time to reconnect.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use kontiki_actors::{
    Kind, State,
    input::{Life, Verdict},
};

/// When silence means what.
#[derive(Clone, Copy, Debug)]
pub struct LivenessTimings {
    /// Silence after which nothing new is placed there.
    pub suspect: Duration,
    /// Silence after which a node's pods are replaced.
    pub down: Duration,
    /// The same while no node at all is heard.
    pub all_silent: Duration,
}

impl LivenessTimings {
    /// From the grace that a silent node gets.
    pub fn of_grace(grace: Duration) -> LivenessTimings {
        LivenessTimings { suspect: grace / 2, down: grace, all_silent: grace * 10 }
    }
}

/// A verdict that was submitted is not submitted again within this time: it is on its way.
const SUBMITTED: Duration = Duration::from_secs(2);
/// The taint that says that a node's pods are replaced.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The signs of life of one term of leadership.
pub struct Liveness {
    timings: LivenessTimings,
    since: Instant,
    heard: BTreeMap<CompactString, Instant>,
    submitted: BTreeMap<CompactString, (Life, Instant)>,
}

impl Liveness {
    /// A leader begins to listen.
    pub fn new(timings: LivenessTimings, now: Instant) -> Liveness {
        Liveness { timings, since: now, heard: BTreeMap::new(), submitted: BTreeMap::new() }
    }

    /// A node was heard.
    pub fn heard(&mut self, node: &str, now: Instant) {
        match self.heard.get_mut(node) {
            Some(at) => *at = now,
            None => {
                self.heard.insert(node.into(), now);
            }
        }
    }

    /// What changes in the verdicts on the state's nodes.
    pub fn verdicts(&mut self, state: &State, now: Instant) -> Vec<Verdict> {
        let mut silent = Vec::new();
        let (mut nodes, mut heard) = (0, 0);
        for node in state.list(Kind::NODE, None) {
            let (name, held) = (&node.key.name, life(node));
            nodes += 1;
            let last = self.heard.get(name).copied().unwrap_or(self.since).max(self.since);
            let silence = now.saturating_duration_since(last);
            if silence < self.timings.suspect {
                // Only a real sign of life counts, not the benefit of the doubt of a new leader.
                if self.heard.contains_key(name) {
                    heard += 1;
                    if held != Life::Ready {
                        silent.push((name.clone(), silence, held, Life::Ready));
                    }
                }
                continue;
            }
            let verdict = if silence >= self.timings.down { Life::Down } else { Life::Suspect };
            if severity(verdict) > severity(held) {
                silent.push((name.clone(), silence, held, verdict));
            }
        }
        self.heard.retain(|name, _| {
            state.get(&kontiki_actors::ObjectKey::new(Kind::NODE, "", name)).is_some()
        });
        let doubt = heard == 0 && nodes > 1;
        let mut verdicts = Vec::new();
        for (node, silence, _, life) in silent {
            if doubt && life == Life::Down && silence < self.timings.all_silent {
                continue;
            }
            if self.submitted.get(&node).is_some_and(|(l, at)| *l == life && now.duration_since(*at) < SUBMITTED) {
                continue;
            }
            self.submitted.insert(node.clone(), (life, now));
            let reason = match life {
                Life::Ready => "heard again".to_string(),
                _ => format!("not heard for {:.1} s", silence.as_secs_f64()),
            };
            verdicts.push(Verdict { node, life, reason });
        }
        verdicts
    }
}

/// What the state holds of a node.
pub fn life(node: &kontiki_actors::Object) -> Life {
    let Some(digest) = node.node() else { return Life::Down };
    if digest.ready == "True" {
        Life::Ready
    } else if digest.taints.iter().any(|t| t.key == UNREACHABLE && t.effect == "NoExecute") {
        Life::Down
    } else {
        Life::Suspect
    }
}

fn severity(life: Life) -> u8 {
    match life {
        Life::Ready => 0,
        Life::Suspect => 1,
        Life::Down => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Document, Object, ObjectKey};
    use serde_json::json;

    use super::*;

    fn cluster(nodes: &[&str]) -> State {
        let mut state = State::default();
        for name in nodes {
            let document = Document::from_value(json!({"metadata": {"name": name, "uid": name},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
            state.restore(Object::new(ObjectKey::new(Kind::NODE, "", name), 1, document));
        }
        state
    }

    fn lives(verdicts: &[Verdict]) -> Vec<(&str, Life)> {
        verdicts.iter().map(|v| (v.node.as_str(), v.life)).collect()
    }

    const GRACE: Duration = Duration::from_secs(3);

    #[test]
    fn silence_is_suspect_then_down() {
        let (state, start) = (cluster(&["a", "b", "c"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let at = |s: f64| start + Duration::from_secs_f64(s);
        for node in ["a", "b", "c"] {
            liveness.heard(node, at(0.1));
        }
        assert!(liveness.verdicts(&state, at(1.0)).is_empty());
        liveness.heard("a", at(1.5));
        liveness.heard("b", at(1.5));
        assert_eq!(lives(&liveness.verdicts(&state, at(1.7))), [("c", Life::Suspect)]);
        assert!(liveness.verdicts(&state, at(1.8)).is_empty(), "said once");
        liveness.heard("a", at(3.0));
        liveness.heard("b", at(3.0));
        assert_eq!(lives(&liveness.verdicts(&state, at(3.2))), [("c", Life::Down)]);
    }

    #[test]
    fn a_new_leader_gives_everybody_time() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        liveness.heard("a", start + Duration::from_millis(2500));
        assert_eq!(lives(&liveness.verdicts(&state, start + Duration::from_millis(2600))), [("b", Life::Suspect)]);
        liveness.heard("a", start + Duration::from_millis(3000));
        assert_eq!(lives(&liveness.verdicts(&state, start + Duration::from_millis(3100))), [("b", Life::Down)]);
    }

    #[test]
    fn mass_silence_is_not_mass_death() {
        let (state, start) = (cluster(&["a", "b", "c"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let verdicts = liveness.verdicts(&state, start + Duration::from_secs(10));
        assert!(verdicts.iter().all(|v| v.life == Life::Suspect), "{verdicts:?}");
        assert!(verdicts.is_empty() || verdicts.len() == 3);
        let verdicts = liveness.verdicts(&state, start + Duration::from_secs(31));
        assert_eq!(lives(&verdicts), [("a", Life::Down), ("b", Life::Down), ("c", Life::Down)]);
    }
}
