//! Who is alive: signs of life in, verdicts out. Heartbeats stay here; only verdicts enter the log. A plain struct without
//! a clock of its own.
//!
//! Mass silence is not mass death: while nobody at all is heard, the leader doubts itself and gives up no node, however long it
//! lasts: there is no other node to replace anything on. When the first is heard again, the others get their time to call, too.
//! A new leader condemns no node before it had time to reconnect, and while thousands call in one after another, those at the end of the
//! queue are not silent, nor those whose signs of life come late for the crowd. While the leader itself stood still (stopped, or its machine
//! paused) or was late with its work, nobody was silent: it was not listening. Where most are late, all are given longer ([`Stretch`]).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use kontiki_actors::{
    Kind, ObjectKey, State,
    input::{Life, Verdict},
};
use kontiki_hooks::{Defect, Mark, planted, reached};

use super::{pace, stretch::Stretch};

/// When silence means what.
#[derive(Clone, Copy, Debug)]
pub struct LivenessTimings {
    /// Silence after which nothing new is placed there, unless workers are so many that they are not heard much more often.
    pub suspect: Duration,
    /// Silence after which a node's pods are replaced.
    pub down: Duration,
}

impl LivenessTimings {
    /// From the grace that a silent node gets.
    pub fn of_grace(grace: Duration) -> LivenessTimings {
        LivenessTimings { suspect: grace / 2, down: grace }
    }
}

/// A verdict that was submitted is not submitted again within this time: it is on its way, and where much is, it takes long.
const SUBMITTED: Duration = Duration::from_secs(10);
/// What is longer between two looks is the leader's own delay.
const LOOK: Duration = Duration::from_millis(300);
/// A longer time means that it stood still, all of it.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// Workers call in for so many times the silence that condemns one, at most: after that it is no queue any more.
const WELCOME: u32 = 10;
/// The taint that says that a node's pods are replaced.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The signs of life of one term of leadership.
pub struct Liveness {
    timings: LivenessTimings,
    /// Between two signs of life of a worker.
    period: Duration,
    since: Instant,
    looked: Instant,
    /// Since then, so much was counted as time in which nobody could be heard.
    missed: Duration,
    heard: BTreeMap<CompactString, Sign>,
    stretch: Stretch,
    /// When the last of those called in that had not been heard before in this term.
    arrived: Option<Instant>,
    /// Nobody at all was heard when one looked last.
    doubts: bool,
    /// When that was over, or goes on: until then silence was nobody's own.
    doubted: Option<Instant>,
    submitted: BTreeMap<CompactString, (Life, Instant)>,
    /// Nodes that were given up a short time ago.
    condemned: BTreeMap<CompactString, Instant>,
}

/// What is known of one worker's signs of life.
struct Sign {
    /// The last, or later by what was not its silence.
    at: Instant,
    /// How long it was silent before that.
    gap: Option<Duration>,
    /// It came since one looked last.
    fresh: bool,
}

impl Liveness {
    /// A leader begins to listen.
    pub fn new(timings: LivenessTimings, now: Instant) -> Liveness {
        Liveness {
            timings,
            period: pace::period(timings.down, 0),
            since: now,
            looked: now,
            missed: Duration::ZERO,
            heard: BTreeMap::new(),
            stretch: Stretch::of(timings.down, now),
            arrived: None,
            doubts: false,
            doubted: None,
            submitted: BTreeMap::new(),
            condemned: BTreeMap::new(),
        }
    }

    /// A node was heard. An older sign of life than is known takes nothing back, neither another one nor what was not its silence.
    pub fn heard(&mut self, node: &str, now: Instant) {
        match self.heard.get_mut(node) {
            Some(sign) if now > sign.at => {
                let gap = now.duration_since(sign.at);
                let longest = sign.gap.filter(|_| sign.fresh).map_or(gap, |other| gap.max(other));
                *sign = Sign { at: now, gap: Some(longest), fresh: true };
            }
            Some(_) => {}
            None => {
                self.heard.insert(node.into(), Sign { at: now, gap: None, fresh: true });
                if now < self.since + self.timings.down * WELCOME {
                    self.arrived = self.arrived.max(Some(now));
                }
            }
        }
    }

    /// How many nodes were heard just now: within the time of one sign of life and a half.
    pub fn in_contact(&self, now: Instant) -> usize {
        let heard = |sign: &&Sign| now.saturating_duration_since(sign.at) < self.period * 3 / 2;
        self.heard.values().filter(heard).count()
    }

    /// How often workers are to be heard, by the number of nodes at the last look.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Two signs of life are missing at least.
    fn suspect(&self) -> Duration {
        self.stretch.apply(self.timings.suspect.max(self.period * 2))
    }

    /// Silence after which a node is given up at present.
    fn down(&self) -> Duration {
        self.stretch.apply(self.timings.down)
    }

    /// Time in which the leader did not look is nobody's silence.
    fn look(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let late = if gap < STOOD_STILL { gap.saturating_sub(LOOK) } else { gap };
        // It was the same delay, seen twice: who counted it twice would call the dead alive.
        self.missed(late.saturating_sub(self.missed), now);
        self.missed = Duration::ZERO;
        let mut gaps = Vec::with_capacity(self.heard.len());
        for sign in self.heard.values_mut() {
            sign.fresh = false;
            let recent = now.saturating_duration_since(sign.at) < self.timings.down;
            let Some(gap) = sign.gap.filter(|_| recent) else { continue };
            // While nobody at all was heard, nobody was late.
            let began = sign.at.checked_sub(gap);
            if self.doubted.is_none_or(|doubted| began.is_some_and(|began| began >= doubted)) {
                gaps.push(gap);
            }
        }
        if !planted(Defect::MassCondemnation) {
            self.stretch.look(gaps, now);
        }
    }

    /// For so long since the last look this leader could not hear anybody, whoever spoke: that is nobody's silence.
    pub(super) fn missed(&mut self, time: Duration, now: Instant) {
        if time.is_zero() {
            return;
        }
        self.missed += time;
        if time >= STOOD_STILL {
            tracing::warn!(?time, "this leader stood still: that is not counted as its workers' silence");
        }
        let later = |at: Instant| (at + time).min(now);
        self.since = later(self.since);
        self.arrived = self.arrived.map(later);
        for sign in self.heard.values_mut() {
            sign.at = later(sign.at);
            if sign.fresh {
                sign.gap = sign.gap.map(|gap| gap.saturating_sub(time));
            }
        }
    }

    /// The verdicts on these nodes were not submitted, or were refused: they are given again as soon as they hold.
    pub(super) fn take_back<'a>(&mut self, nodes: impl IntoIterator<Item = &'a CompactString>) {
        for node in nodes {
            self.submitted.remove(node);
        }
    }

    /// What changes in the verdicts on the state's nodes. To be asked regularly.
    pub fn verdicts(&mut self, state: &State, now: Instant) -> Vec<Verdict> {
        self.look(now);
        let (mut nodes, mut heard, mut count) = (Vec::new(), 0, 0);
        let suspect = self.suspect();
        for node in state.list(Kind::NODE, None) {
            let name = &node.key.name;
            let since = match planted(Defect::NewLeaderCondemns) {
                true => self.since.checked_sub(self.timings.down).unwrap_or(self.since),
                false => self.since,
            };
            let called_in = self.arrived.filter(|_| !planted(Defect::NewLeaderCondemns));
            let sign = self.heard.get(name).map(|sign| sign.at);
            let last = sign.or(called_in).unwrap_or(since).max(since);
            let quiet = now.saturating_duration_since(last) >= suspect;
            // Only a real sign of life counts, not the benefit of the doubt of a new leader.
            let called = !quiet && sign.is_some();
            heard += usize::from(called);
            count += 1;
            let held = life(node);
            if quiet || held != Life::Ready {
                nodes.push((name.clone(), held, last, quiet, called));
            }
        }
        self.period = pace::period(self.timings.down, count);
        // A node that was heard a moment ago and is not there yet will be, and must not count as silent then.
        let down = self.down();
        let there = |name: &str| state.get(&ObjectKey::new(Kind::NODE, "", name)).is_some();
        self.heard.retain(|name, sign| now.saturating_duration_since(sign.at) < down || there(name));
        // Whoever is heard later than that was out of reach, or is another one.
        self.condemned.retain(|_, at| now.saturating_duration_since(*at) < down * 2);
        self.submitted.retain(|_, (_, at)| now.saturating_duration_since(*at) < SUBMITTED);
        if heard == 0 && count > 1 && !planted(Defect::MassCondemnation) {
            reached(Mark::MassSilenceDoubted);
            (self.doubts, self.doubted) = (true, Some(now));
        } else if std::mem::take(&mut self.doubts) {
            // Not from the last look on, when nobody was heard: they may have been out of reach for some time after it.
            self.doubted = Some(now);
        }
        let shared = self.doubted.max(self.arrived).filter(|_| !planted(Defect::NewLeaderCondemns));
        let mut verdicts = Vec::new();
        for (node, held, last, quiet, called) in nodes {
            let silence = now.saturating_duration_since(last);
            let own = now.saturating_duration_since(shared.map_or(last, |at| at.max(last)));
            let life = match quiet {
                false if called && held != Life::Ready => Life::Ready,
                false => continue,
                true if own >= down => Life::Down,
                true => Life::Suspect,
            };
            if life != Life::Ready && severity(life) <= severity(held) {
                continue;
            }
            if self.submitted.get(&node).is_some_and(|(l, _)| *l == life) {
                continue;
            }
            self.submitted.insert(node.clone(), (life, now));
            match life {
                Life::Down => drop(self.condemned.insert(node.clone(), now)),
                Life::Ready if self.condemned.remove(&node).is_some() => {
                    let silence = self.heard.get(&node).and_then(|sign| sign.gap).unwrap_or_default();
                    self.stretch.mistaken(silence, count, now);
                }
                _ => {}
            }
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
pub(super) fn life(node: &kontiki_actors::Object) -> Life {
    let Some(digest) = node.node() else { return Life::Down };
    // Who says himself that he is not ready is heard.
    if matches!(digest.ready.as_str(), "True" | "False") {
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
    use kontiki_actors::{Document, Object};
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

    /// A worker is heard now, and was in time since it was heard last, for two seconds.
    fn speaks(liveness: &mut Liveness, node: &str, now: Instant) {
        for before in [1400, 700, 0] {
            liveness.heard(node, now.checked_sub(Duration::from_millis(before)).unwrap());
        }
    }

    /// Looks five times a second, as the live one does, until then; gives what was said on the way.
    fn watch(
        liveness: &mut Liveness,
        state: &State,
        from: Instant,
        seconds: std::ops::Range<f64>,
    ) -> Vec<Verdict> {
        let (first, last) = ((seconds.start * 5.0).ceil() as u32, (seconds.end * 5.0).floor() as u32);
        (first..=last).flat_map(|n| liveness.verdicts(state, from + Duration::from_millis(200) * n)).collect()
    }

    #[test]
    fn who_was_heard_just_now_is_in_contact() {
        let start = Instant::now();
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        assert_eq!(liveness.in_contact(start), 0, "the benefit of the doubt is no contact");
        liveness.heard("a", start);
        liveness.heard("b", start + Duration::from_millis(500));
        assert_eq!(liveness.in_contact(start + Duration::from_millis(700)), 2);
        assert_eq!(
            liveness.in_contact(start + Duration::from_millis(800)),
            1,
            "a is silent, though not suspect"
        );
    }

    #[test]
    fn where_workers_are_many_one_late_sign_of_life_is_no_reason() {
        let names: Vec<String> = (0..5000).map(|n| format!("n{n}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let (state, start) = (cluster(&nodes), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        for node in &nodes {
            speaks(&mut liveness, node, start);
        }
        assert!(watch(&mut liveness, &state, start, 0.0..2.3).is_empty(), "two are due in this time");
        assert_eq!(liveness.in_contact(at(1.7)), 5000);
        for node in &nodes[1..] {
            speaks(&mut liveness, node, at(2.3));
        }
        assert_eq!(lives(&watch(&mut liveness, &state, start, 2.3..2.9)), [("n0", Life::Suspect)]);
        assert_eq!(
            lives(&watch(&mut liveness, &state, start, 2.9..3.1)),
            [("n0", Life::Down)],
            "the grace is the same"
        );
    }

    #[test]
    fn silence_is_suspect_then_down() {
        let (state, start) = (cluster(&["a", "b", "c"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let at = |s: f64| start + Duration::from_secs_f64(s);
        for node in ["a", "b", "c"] {
            speaks(&mut liveness, node, at(0.1));
        }
        assert!(watch(&mut liveness, &state, start, 0.0..1.5).is_empty());
        speaks(&mut liveness, "a", at(1.5));
        speaks(&mut liveness, "b", at(1.5));
        assert_eq!(
            lives(&watch(&mut liveness, &state, start, 1.5..2.8)),
            [("c", Life::Suspect)],
            "said once"
        );
        speaks(&mut liveness, "a", at(2.9));
        speaks(&mut liveness, "b", at(2.9));
        assert_eq!(lives(&watch(&mut liveness, &state, start, 2.9..3.3)), [("c", Life::Down)]);
    }

    #[test]
    fn a_new_leader_gives_everybody_time() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        speaks(&mut liveness, "a", start);
        assert!(watch(&mut liveness, &state, start, 0.0..1.4).is_empty());
        speaks(&mut liveness, "a", start + Duration::from_millis(1400));
        assert_eq!(lives(&watch(&mut liveness, &state, start, 1.5..2.7)), [("b", Life::Suspect)]);
        speaks(&mut liveness, "a", start + Duration::from_millis(2800));
        assert_eq!(lives(&watch(&mut liveness, &state, start, 2.8..3.1)), [("b", Life::Down)]);
    }

    #[test]
    fn who_stands_at_the_end_of_the_queue_is_not_silent() {
        let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let (state, start) = (cluster(&nodes), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        // One calls in each 100 ms. The last never does, and the first is heard no more.
        for (n, node) in nodes[..99].iter().enumerate() {
            let now = n as f64 / 10.0;
            liveness.heard(node, start + Duration::from_secs_f64(now));
            for earlier in &nodes[1.min(n)..n] {
                liveness.heard(earlier, start + Duration::from_secs_f64(now));
            }
            let verdicts = watch(&mut liveness, &state, start, now..now + 0.1);
            assert!(
                verdicts.iter().all(|v| v.life == Life::Suspect && v.node == "n0"),
                "{now}: {verdicts:?}"
            );
        }
        let (mut down, mut silent) = (Vec::new(), 9.8);
        while silent < 14.0 {
            for node in &nodes[1..99] {
                liveness.heard(node, start + Duration::from_secs_f64(silent));
            }
            let verdicts = watch(&mut liveness, &state, start, silent..silent + 0.5);
            let lost = verdicts.into_iter().filter(|v| v.life == Life::Down);
            down.extend(lost.map(|v| (v.node.to_string(), silent >= 12.3)));
            silent += 0.5;
        }
        assert_eq!(down, [("n0".to_owned(), true), ("n99".to_owned(), true)], "3 s after the last call");
    }

    #[test]
    fn a_queue_that_never_ends_is_none() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let mut down = None;
        for second in 0..60_u32 {
            let now = start + Duration::from_secs(second.into());
            liveness.heard("a", now);
            liveness.heard(&format!("new-{second}"), now);
            let verdicts = watch(&mut liveness, &state, start, f64::from(second)..f64::from(second) + 0.9);
            if verdicts.iter().any(|v| v.node == "b" && v.life == Life::Down) {
                down.get_or_insert(second);
            }
        }
        // Who came last in the 30 s of the welcome, and the silence that condemns.
        assert_eq!(down, Some(32));
    }

    #[test]
    fn mass_silence_is_not_mass_death() {
        let (state, start) = (cluster(&["a", "b", "c"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let verdicts = watch(&mut liveness, &state, start, 0.0..600.0);
        assert!(verdicts.iter().all(|v| v.life == Life::Suspect), "{verdicts:?}");
    }

    #[test]
    fn after_a_mass_silence_everybody_gets_time_to_call() {
        let (state, start) = (cluster(&["a", "b", "c"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        for node in ["a", "b", "c"] {
            speaks(&mut liveness, node, at(0.1));
        }
        let _ = watch(&mut liveness, &state, start, 0.2..20.0);
        // One is heard before the others: they are not given up for a silence that all shared.
        speaks(&mut liveness, "a", at(20.1));
        let verdicts = watch(&mut liveness, &state, start, 20.2..21.5);
        assert!(verdicts.iter().all(|v| v.life != Life::Down), "{verdicts:?}");
        speaks(&mut liveness, "b", at(21.5));
        speaks(&mut liveness, "a", at(21.5));
        let _ = watch(&mut liveness, &state, start, 21.6..22.8);
        for node in ["a", "b"] {
            speaks(&mut liveness, node, at(22.9));
        }
        let verdicts = watch(&mut liveness, &state, start, 23.0..23.4);
        let down: Vec<_> = verdicts.iter().filter(|v| v.life == Life::Down).map(|v| &*v.node).collect();
        assert_eq!(down, ["c"], "who does not call in its time is given up");
    }

    #[test]
    fn the_time_to_call_begins_when_the_first_is_heard() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        for node in ["a", "b"] {
            speaks(&mut liveness, node, at(0.1));
        }
        // Nobody can be heard before 20.1, between two looks.
        let _ = watch(&mut liveness, &state, start, 0.2..20.0);
        for s in [20.15, 21.5, 22.9] {
            speaks(&mut liveness, "a", at(s));
            let verdicts = watch(&mut liveness, &state, start, s..(s + 1.3_f64).min(23.1));
            assert!(verdicts.iter().all(|v| v.life != Life::Down), "{s}: {verdicts:?}");
        }
        assert_eq!(lives(&watch(&mut liveness, &state, start, 23.2..23.4)), [("b", Life::Down)]);
    }

    #[test]
    fn a_leader_that_stood_still_condemns_nobody_for_it() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        liveness.heard("a", start);
        liveness.heard("b", start);
        assert!(watch(&mut liveness, &state, start, 0.0..1.0).is_empty());
        // Stopped for an hour; then one worker is heard before the other, of which the same is known before each look.
        let mut verdicts = Vec::new();
        for look in 0..=9 {
            let now = start + Duration::from_secs(3600) + Duration::from_millis(200) * look;
            liveness.heard("a", now);
            liveness.heard("b", start);
            verdicts.extend(liveness.verdicts(&state, now));
            assert!(look > 2 || verdicts.is_empty(), "{look}: {verdicts:?}");
        }
        assert_eq!(lives(&verdicts), [("b", Life::Suspect)], "silence counts again");
    }

    #[test]
    fn a_delay_that_is_seen_twice_counts_once() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        speaks(&mut liveness, "a", start);
        speaks(&mut liveness, "b", start);
        assert!(watch(&mut liveness, &state, start, 0.0..1.4).is_empty());
        // Stopped for ten seconds, which those who wait for their turn notice as well.
        speaks(&mut liveness, "a", at(11.4));
        liveness.missed(Duration::from_secs(10), at(11.4));
        assert!(liveness.verdicts(&state, at(11.4)).is_empty());
        assert_eq!(lives(&liveness.verdicts(&state, at(11.6))), [("b", Life::Suspect)], "silent before it");
    }

    #[test]
    fn who_called_in_long_ago_does_not_shorten_the_queue() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        let _ = watch(&mut liveness, &state, start, 0.0..2.8);
        liveness.heard("a", at(2.9));
        // The session of a node that was deleted: all that is known of it is old.
        liveness.heard("deleted", start);
        assert!(watch(&mut liveness, &state, start, 3.0..4.2).is_empty(), "b may be next");
    }

    #[test]
    fn a_verdict_that_was_not_delivered_is_given_again() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        speaks(&mut liveness, "a", start);
        let _ = watch(&mut liveness, &state, start, 0.0..1.2);
        speaks(&mut liveness, "a", at(1.3));
        assert_eq!(lives(&watch(&mut liveness, &state, start, 1.4..1.6)), [("b", Life::Suspect)]);
        assert!(liveness.verdicts(&state, at(1.8)).is_empty(), "it is on its way");
        liveness.take_back([&"b".into()]);
        assert_eq!(lives(&liveness.verdicts(&state, at(2.0))), [("b", Life::Suspect)]);
    }

    #[test]
    fn a_leader_that_is_late_hears_late_and_condemns_nobody_for_it() {
        let (state, start) = (cluster(&["a", "b"]), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        liveness.heard("a", start);
        liveness.heard("b", start);
        let mut now = 0.0;
        // It looks every 0.9 s, three times as late as it may: 0.3 s of each count.
        while now < 8.0 {
            liveness.heard("a", at(now));
            let verdicts = liveness.verdicts(&state, at(now));
            assert!(verdicts.iter().all(|v| v.life != Life::Down), "{now}: {verdicts:?}");
            now += 0.9;
        }
        // It looks in time, and what comes in reaches it late.
        for step in 1..=10 {
            let now = at(now + f64::from(step) * 0.2);
            liveness.heard("a", now);
            liveness.missed(Duration::from_millis(200), now);
            let verdicts = liveness.verdicts(&state, now);
            assert!(verdicts.iter().all(|v| v.life != Life::Down), "{step}: {verdicts:?}");
        }
    }

    #[test]
    fn where_most_are_late_nobody_is_given_up_for_being_late_too() {
        let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let (state, start) = (cluster(&nodes), Instant::now());
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        // Everybody is heard every 2 s only, and one of ten not half as often.
        let beat = |liveness: &mut Liveness, n: u32| {
            for (k, node) in nodes.iter().enumerate() {
                if k % 10 != 0 || n.is_multiple_of(2) {
                    liveness.heard(node, at(f64::from(n) * 2.0));
                }
            }
        };
        let mut down = Vec::new();
        for n in 0..10 {
            beat(&mut liveness, n);
            let verdicts =
                watch(&mut liveness, &state, start, f64::from(n) * 2.0 + 0.1..f64::from(n) * 2.0 + 2.0);
            down.extend(verdicts.into_iter().filter(|v| v.life == Life::Down && n > 1));
        }
        assert!(down.is_empty(), "{down:?}");
        // All but one are heard in time again: that one is given up soon.
        for n in 0..60 {
            let now = 20.0 + f64::from(n) * 0.5;
            nodes[1..].iter().for_each(|node| liveness.heard(node, at(now)));
            let verdicts = watch(&mut liveness, &state, start, now + 0.1..now + 0.5);
            down.extend(verdicts.into_iter().filter(|v| v.life == Life::Down));
        }
        assert!(!down.is_empty() && down.iter().all(|v| v.node == "n0"), "{down:?}");
    }

    #[test]
    fn where_many_were_given_up_too_early_the_others_get_longer() {
        let names: Vec<String> = (0..100).map(|n| format!("n{n:02}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let (first, others) = nodes.split_at(20);
        let (well, start) = (cluster(&nodes), Instant::now());
        let mut ill = well.clone();
        for name in first {
            let document = Document::from_value(json!({"metadata": {"name": name, "uid": name},
                "spec": {"taints": [{"key": UNREACHABLE, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}));
            ill.restore(Object::new(ObjectKey::new(Kind::NODE, "", name), 2, document));
        }
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        // Twice a second all are heard but for these.
        let mut life = |state: &State, silent: &[&str], seconds: std::ops::Range<u32>| {
            let mut verdicts = Vec::new();
            for half in seconds.start * 2..seconds.end * 2 {
                let now = f64::from(half) / 2.0;
                for node in nodes.iter().filter(|node| !silent.contains(node)) {
                    liveness.heard(node, start + Duration::from_secs_f64(now));
                }
                verdicts.extend(watch(&mut liveness, state, start, now..now + 0.45));
            }
            verdicts
        };
        let count = |verdicts: &[Verdict], life| verdicts.iter().filter(|v| v.life == life).count();
        assert!(life(&well, &[], 0..5).is_empty());
        assert_eq!(count(&life(&well, first, 5..9), Life::Down), 20, "silent for four seconds");
        assert_eq!(count(&life(&ill, &[], 9..10), Life::Ready), 20, "and heard after all");
        assert_eq!(
            count(&life(&well, &others[..30], 10..15), Life::Down),
            0,
            "five seconds are not enough any more"
        );
        assert_eq!(count(&life(&well, &others[..30], 15..18), Life::Down), 30, "it is given up all the same");
    }

    #[test]
    fn a_newcomer_is_not_condemned_between_its_greeting_and_its_object() {
        let start = Instant::now();
        let mut liveness = Liveness::new(LivenessTimings::of_grace(GRACE), start);
        assert!(watch(&mut liveness, &cluster(&[]), start, 0.0..60.0).is_empty());
        liveness.heard("a", start + Duration::from_millis(60_100));
        assert!(liveness.verdicts(&cluster(&[]), start + Duration::from_millis(60_200)).is_empty());
        assert!(liveness.verdicts(&cluster(&["a"]), start + Duration::from_millis(60_400)).is_empty());
    }
}
