//! Probes: whether a container has started, lives, and is ready to serve. One task per probe, asleep between two
//! questions. Not for what follows from the answer: the pod's driver decides that.

pub mod check;
mod health;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use check::Action;

use crate::pod::document::{Container, Pod, Probe};
use crate::pod::host::Host;
use crate::pod::inbox::Inbox;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the Kubernetes API")]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// The container's probe of this kind.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
        }
    }

    /// As it stands in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Startup => "startup",
            Kind::Readiness => "readiness",
            Kind::Liveness => "liveness",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }
}

/// Whom a probe asks, and who hears of it.
pub struct Subject {
    /// What the probe uses.
    pub host: Arc<Host>,
    /// Who hears of changes.
    pub inbox: Arc<Inbox>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Which start of it.
    pub attempt: u32,
    /// When that was.
    pub started_ms: i64,
}

/// Counts answers in a row.
#[derive(Debug)]
struct Streak {
    successes_needed: u32,
    failures_needed: u32,
    successes: u32,
    failures: u32,
}

impl Streak {
    fn of(probe: &Probe, kind: Kind) -> Streak {
        // Startup and liveness probes succeed at once: the API allows no other number.
        let successes_needed =
            if kind == Kind::Readiness { probe.success_threshold.unwrap_or(1).max(1) } else { 1 };
        let failures_needed = probe.failure_threshold.unwrap_or(3).max(1);
        Streak { successes_needed, failures_needed, successes: 0, failures: 0 }
    }

    /// The verdict, when this answer makes one.
    fn count(&mut self, good: bool) -> Option<bool> {
        let (mine, other, needed) = if good {
            (&mut self.successes, &mut self.failures, self.successes_needed)
        } else {
            (&mut self.failures, &mut self.successes, self.failures_needed)
        };
        *other = 0;
        *mine = mine.saturating_add(1);
        (*mine == needed).then_some(good)
    }
}

/// Asks until it is aborted, or until a startup probe has its answer.
pub async fn run(subject: Subject, kind: Kind) {
    let Subject { host, inbox, pod, container, attempt, started_ms } = &subject;
    let Some(probe) = kind.of(container) else { return };
    let note = |message: String| host.note(pod, Some(&container.name), "Unhealthy", message);
    let Some(action) = Action::of(probe) else {
        note(format!("{} probe not run: it says neither exec, httpGet, tcpSocket nor grpc", kind.title()));
        return;
    };
    let seconds =
        |value: Option<u32>, default: u32| Duration::from_secs(value.unwrap_or(default).max(1).into());
    let (period, timeout) = (seconds(probe.period_seconds, 10), seconds(probe.timeout_seconds, 1));
    let delay_ms = i64::from(probe.initial_delay_seconds.unwrap_or(0)).saturating_mul(1000);
    tokio::time::sleep(host.clock.until(started_ms.saturating_add(delay_ms))).await;
    let mut streak = Streak::of(probe, kind);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = check::perform(&*host.runtime, &pod.metadata.uid, container, action, timeout).await;
        let good = match answer {
            Ok(()) => true,
            Err(check::Error::Failed(message)) => {
                note(format!("{} probe failed: {message}", kind.title()));
                false
            }
            // It says nothing for or against the container.
            Err(check::Error::Unknown(message)) => {
                note(format!("{} probe errored: {message}", kind.title()));
                continue;
            }
        };
        if let Some(verdict) = streak.count(good) {
            inbox.tell(|news| {
                news.probes.insert((container.name.clone(), kind), (*attempt, verdict));
            });
            if kind == Kind::Startup {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_takes_as_many_answers_in_a_row_as_its_threshold_says() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut streak = Streak::of(&probe, Kind::Readiness);
        let answers = [true, false, true, true, true, false, false, true, false, false, false, false];
        let verdicts: Vec<_> = answers.iter().map(|good| streak.count(*good)).collect();
        let mut expected = [None; 12];
        expected[3] = Some(true);
        expected[10] = Some(false);
        assert_eq!(verdicts, expected);
        assert_eq!(Streak::of(&probe, Kind::Liveness).count(true), Some(true));
    }
}
