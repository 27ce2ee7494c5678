//! The decision: what is the one next thing to do for a pod, given what is wanted and what was seen. Pure.
//!
//! Not for doing it: that is the driver's, which comes back here after every step.

use super::backoff::due;
use super::document::{Container, Pod, Role};
use super::observed::{Observed, Record, State, restarts};

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something happens or this time comes.
    Wait {
        /// Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// Put the files of the volumes in place.
    MountVolumes,
    /// Start the sandbox.
    StartSandbox,
    /// Start a container, or find out why it cannot be.
    Start(String),
    /// Begin to stop a container, to be killed at the given time.
    Stop(String, i64),
    /// Run a container's preStop hook.
    PreStop(String),
    /// Ask a container to end, by the signal that its image names, or TERM.
    Ask(String),
    /// Kill a container.
    Kill(String),
    /// It ran for longer than it may: end it.
    Expire,
    /// Nothing runs any more: remove the sandbox.
    RemoveSandbox,
    /// Nothing is left of a deleted pod: say so.
    Gone,
}

/// A KILL that did not show is sent again after this.
const KILL_AGAIN_MS: i64 = 2000;
/// A preStop hook that took all the time leaves the container this much to answer TERM.
const LAST_GRACE_MS: i64 = 2000;

/// The next thing to do for a pod.
pub fn next(pod: &Pod, seen: &Observed, now_ms: i64) -> Step {
    if let Some(by_ms) = seen.stop_by_ms() {
        if seen.estranged.is_some() && now_ms >= by_ms.saturating_add(LAST_GRACE_MS) {
            // Not every end of its containers shows: its time is over, whatever is seen of them.
            return finish(seen);
        }
        let step = stop_all(pod, seen, by_ms, now_ms);
        return step.unwrap_or_else(|| finish(seen));
    }
    if seen.over_before {
        return Step::Wait { until_ms: None };
    }
    if seen.outcome(pod).is_some() {
        // Sidecars go on until the others are through.
        let by_ms = now_ms.saturating_add(pod.grace_seconds().saturating_mul(1000));
        return stop_all(pod, seen, by_ms, now_ms).unwrap_or_else(|| finish(seen));
    }
    if seen.estranged.is_some() {
        return Step::Wait { until_ms: None };
    }
    let mut wake = Wake(None);
    if let (Some(seconds), Some(start_ms)) = (pod.spec.active_deadline_seconds, seen.start_ms) {
        let deadline_ms = start_ms.saturating_add(seconds.saturating_mul(1000));
        if now_ms >= deadline_ms {
            return Step::Expire;
        }
        wake.at(deadline_ms);
    }
    // Containers that failed a probe.
    for container in pod.all_containers() {
        let record = seen.record(&container.name);
        if let Some(step) = stop_one(container, record, now_ms, &mut wake) {
            return step;
        }
    }
    if !seen.sandbox && seen.leftovers {
        return Step::RemoveSandbox;
    }
    if !seen.volumes {
        match &seen.mount_failure {
            // Whoever fetches them says so when they are there.
            _ if seen.awaits_tokens => {}
            Some(failure) if !due(failure.retry_ms, now_ms) => wake.at(failure.retry_ms),
            _ => return Step::MountVolumes,
        }
        // Where a sandbox is, the files are in place as they were, and what crashes is started with them.
        if !seen.sandbox {
            return wake.step();
        }
    }
    if !seen.sandbox {
        if !due(seen.sandbox_retry_ms, now_ms) {
            wake.at(seen.sandbox_retry_ms);
            return wake.step();
        }
        return Step::StartSandbox;
    }
    // They need no more than the sandbox: a pod that does not get ready is what they are for.
    for container in &pod.spec.ephemeral_containers {
        let record = seen.record(&container.name);
        if let Some(step) = start_one(pod, container, record, Role::Ephemeral, now_ms, &mut wake) {
            return step;
        }
    }
    let mut initialized = true;
    for container in &pod.spec.init_containers {
        let record = seen.record(&container.name);
        let over = if container.is_sidecar() {
            record.started && record.run().is_some()
        } else {
            record.completed()
        };
        if let Some(step) = start_one(pod, container, record, Role::Init, now_ms, &mut wake) {
            return step;
        }
        if !over && !main_ran(pod, seen) {
            initialized = false;
            break;
        }
    }
    if initialized {
        for container in &pod.spec.containers {
            let record = seen.record(&container.name);
            if let Some(step) = start_one(pod, container, record, Role::Main, now_ms, &mut wake) {
                return step;
            }
        }
    }
    wake.step()
}

/// Once a main container was started the pod is initialized, whatever its sidecars do then.
pub(super) fn main_ran(pod: &Pod, seen: &Observed) -> bool {
    seen.sandbox && pod.spec.containers.iter().any(|container| seen.record(&container.name).run().is_some())
}

fn finish(seen: &Observed) -> Step {
    if seen.sandbox || seen.leftovers {
        Step::RemoveSandbox
    } else if seen.delete_by_ms.is_some() {
        Step::Gone
    } else {
        Step::Wait { until_ms: None }
    }
}

/// The next step towards nothing running; none when nothing runs.
fn stop_all(pod: &Pod, seen: &Observed, by_ms: i64, now_ms: i64) -> Option<Step> {
    let mut wake = Wake(None);
    let mut running = false;
    let sidecar = |container: &&Container| container.is_sidecar();
    let sidecars: Vec<_> = pod.spec.init_containers.iter().filter(sidecar).collect();
    let inits = pod.spec.init_containers.iter().filter(|c| !c.is_sidecar());
    let others = pod.spec.containers.iter().chain(inits).chain(&pod.spec.ephemeral_containers);
    // Sidecars serve the others to their end, and share the deadline.
    for group in [others.collect(), sidecars] {
        for container in group {
            let record = seen.record(&container.name);
            if record.run().is_none() {
                continue;
            }
            running = true;
            let later =
                record.stopping.as_ref().is_none_or(|stopping| stopping.by_ms > by_ms + LAST_GRACE_MS);
            if later && (record.stopping.is_none() || seen.stop_by_ms().is_some()) {
                return Some(Step::Stop(container.name.clone(), by_ms));
            }
            if let Some(step) = stop_one(container, record, now_ms, &mut wake) {
                return Some(step);
            }
        }
        if running {
            return Some(wake.step());
        }
    }
    None
}

fn stop_one(container: &Container, record: &Record, now_ms: i64, wake: &mut Wake) -> Option<Step> {
    let (Some(_), Some(stopping)) = (record.run(), &record.stopping) else { return None };
    let name = || container.name.clone();
    let hook_owed = container.lifecycle.pre_stop.is_some() && !stopping.hook_over;
    if now_ms < stopping.by_ms {
        if hook_owed && !stopping.hook_begun {
            return Some(Step::PreStop(name()));
        }
        if !hook_owed && !stopping.asked {
            return Some(Step::Ask(name()));
        }
        wake.at(stopping.by_ms);
        return None;
    }
    // The hook took it all: TERM now, and a last moment to heed it.
    if stopping.hook_begun && !stopping.asked {
        return Some(Step::Ask(name()));
    }
    let kill_ms = match stopping.killed_ms {
        None if stopping.hook_begun && !stopping.hook_over => stopping.by_ms.saturating_add(LAST_GRACE_MS),
        None => stopping.by_ms,
        Some(killed_ms) => killed_ms.saturating_add(KILL_AGAIN_MS),
    };
    if now_ms >= kill_ms {
        return Some(Step::Kill(name()));
    }
    wake.at(kill_ms);
    None
}

fn start_one(
    pod: &Pod,
    container: &Container,
    record: &Record,
    role: Role,
    now_ms: i64,
    wake: &mut Wake,
) -> Option<Step> {
    match &record.state {
        State::Running(_) => return None,
        State::Ended(ended) if !restarts(pod.spec.restart_policy, container, role, ended.exit.code) => {
            return None;
        }
        _ => {}
    }
    if record.pulling_ms.is_some() {
        return None;
    }
    if due(record.retry_ms, now_ms) {
        return Some(Step::Start(container.name.clone()));
    }
    wake.at(record.retry_ms);
    None
}

/// The earliest of the times at which there will be something to do.
struct Wake(Option<i64>);

impl Wake {
    fn at(&mut self, ms: i64) {
        // The far future stands for never.
        if ms < i64::MAX {
            self.0 = Some(self.0.map_or(ms, |earlier| earlier.min(ms)));
        }
    }

    fn step(&self) -> Step {
        Step::Wait { until_ms: self.0 }
    }
}
