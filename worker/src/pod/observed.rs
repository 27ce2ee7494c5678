//! What has been seen of a pod on this worker: the other half of every decision, and what survives an agent restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backoff::{CRASH, IMAGE};
use super::document::{Container, Pod, RestartPolicy, Role};
use crate::runtime::{AdoptedPod, ContainerPhase, Exit, ImageRef};

/// All that is known of a pod here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// The sandbox runs.
    pub sandbox: bool,
    /// Why its shim, which lives, cannot be spoken to, if so: everything stays as it is until the pod is to end.
    pub estranged: Option<String>,
    /// Something of an earlier sandbox may be left, and is to be removed before a new one starts.
    pub leftovers: bool,
    /// The sandbox could not be started: not again before this.
    pub sandbox_retry_ms: i64,
    /// The files of its volumes are in place.
    pub volumes: bool,
    /// They are to have tokens that are not there yet.
    #[serde(skip)]
    pub awaits_tokens: bool,
    /// Why they are not, and when to try again.
    pub mount_failure: Option<MountFailure>,
    /// The containers, init containers among them, by name.
    pub containers: BTreeMap<String, Record>,
    /// When this worker took it up.
    pub start_ms: Option<i64>,
    /// The conditions that the worker decides, with the time of their last change.
    pub conditions: BTreeMap<String, Condition>,
    /// It was deleted: its containers must be gone by then.
    pub delete_by_ms: Option<i64>,
    /// It is ended by the worker itself.
    pub ending: Option<Ending>,
    /// It had ended before this worker heard of it: there is nothing to do and nothing to say.
    pub over_before: bool,
}

/// Why volumes are not in place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountFailure {
    /// In Kubernetes' words.
    pub message: String,
    /// When to try again.
    pub retry_ms: i64,
    /// The last pause.
    pub delay_ms: i64,
}

/// A condition and since when it is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// True or False.
    pub status: bool,
    /// When it became so.
    pub since_ms: i64,
}

/// The worker ends a pod for a reason of its own; it counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
    /// Its containers must be gone by then.
    pub by_ms: i64,
    /// When its worker gave it up for the sake of others, if it did.
    #[serde(default)]
    pub disrupted_ms: Option<i64>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// How often it was started: the attempt of the next start.
    pub starts: u32,
    /// What it does now.
    pub state: State,
    /// How the run before the current one ended.
    pub last: Option<Ended>,
    /// The pause before the next restart, doubling with every crash.
    pub crash_delay_ms: i64,
    /// Not to be started again before this.
    pub retry_ms: i64,
    /// The pause before the image is asked for again.
    pub image_delay_ms: i64,
    /// When the image is pulled again.
    pub image_retry_ms: i64,
    /// Why it could not be had; empty if that is not known.
    pub image_error: String,
    /// The image is being pulled: since when. A new agent begins anew.
    #[serde(skip)]
    pub pulling_ms: Option<i64>,
    /// The image that was pulled for the next start.
    #[serde(skip)]
    pub pulled: Option<ImageRef>,
    /// Its startup probe, if any, has succeeded.
    pub started: bool,
    /// Its readiness probe, if any, succeeds.
    pub ready: bool,
    /// It is being stopped.
    pub stopping: Option<Stopping>,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// It was not started yet, or could not be.
    Waiting {
        /// The word for it; empty while it only waits for its turn.
        reason: String,
        /// What there is to say.
        message: String,
    },
    /// It runs.
    Running(Run),
    /// It ended.
    Ended(Ended),
}

impl Default for State {
    fn default() -> Self {
        State::Waiting { reason: String::new(), message: String::new() }
    }
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which start this is.
    pub attempt: u32,
    /// `kontiki://<id>`.
    pub container_id: String,
    /// What it runs.
    pub image: ImageRef,
    /// When it was started.
    pub started_ms: i64,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The run.
    pub run: Run,
    /// How it ended.
    pub exit: Exit,
    /// The word for it, such as `Completed`.
    pub reason: String,
}

/// How far the stopping of a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// It is killed then.
    pub by_ms: i64,
    /// The preStop hook was begun.
    pub hook_begun: bool,
    /// The preStop hook is over, or there is none.
    pub hook_over: bool,
    /// TERM was sent.
    pub asked: bool,
    /// When KILL was sent last.
    pub killed_ms: Option<i64>,
}

impl Record {
    /// Its current run.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// How it ended, if it does not run now.
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            State::Waiting { .. } => self.last.as_ref(),
            State::Running(_) => None,
        }
    }

    /// It ended well and has nothing more to do.
    pub fn completed(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.exit.code == 0)
    }

    /// How often Kubernetes says that it was restarted.
    pub fn restart_count(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    /// It waits, and says why.
    pub fn wait(&mut self, reason: &str, message: impl Into<String>) {
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        self.state = State::Waiting { reason: reason.to_owned(), message: message.into() };
    }

    /// Its image could not be pulled. The pauses between tries double.
    pub fn pull_failed(&mut self, error: String, now_ms: i64) {
        self.image_delay_ms = IMAGE.next(self.image_delay_ms);
        self.image_retry_ms = now_ms.saturating_add(self.image_delay_ms);
        self.image_error = error;
    }

    /// It was started.
    pub fn begin(&mut self, run: Run) {
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        if self.last.is_some() {
            self.crash_delay_ms = CRASH.next(self.crash_delay_ms);
        }
        self.starts = run.attempt.saturating_add(1);
        (self.image_delay_ms, self.image_retry_ms) = (0, 0);
        (self.image_error, self.pulling_ms, self.pulled) = (String::new(), None, None);
        (self.started, self.ready) = (false, false);
        self.stopping = None;
        self.state = State::Running(run);
    }

    /// Of a run that has just begun: what has no probe to succeed first.
    pub fn pass_unprobed(&mut self, container: &Container) {
        self.started = container.startup_probe.is_none();
        self.ready = self.started && container.readiness_probe.is_none();
    }

    /// Its run ended. The next one may begin after the pause that its crashes have earned.
    pub fn end(&mut self, exit: Exit, reason: Option<&str>) {
        let State::Running(run) = &self.state else { return };
        if exit.finished_at_ms.saturating_sub(run.started_ms) >= CRASH.reset_after_ms {
            self.crash_delay_ms = 0;
        }
        self.retry_ms = exit.finished_at_ms.saturating_add(self.crash_delay_ms);
        let reason = reason.unwrap_or_else(|| exit.reason()).to_owned();
        (self.started, self.ready) = (false, false);
        self.stopping = None;
        self.state = State::Ended(Ended { run: run.clone(), exit, reason });
    }
}

/// How a pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All containers ended well.
    Succeeded,
    /// One did not, and is not restarted.
    Failed,
}

impl Observed {
    /// A container's record; one that was never seen is still to be started.
    pub fn record(&self, name: &str) -> &Record {
        static FRESH: Record = Record {
            starts: 0,
            state: State::Waiting { reason: String::new(), message: String::new() },
            last: None,
            crash_delay_ms: 0,
            retry_ms: 0,
            image_delay_ms: 0,
            image_retry_ms: 0,
            image_error: String::new(),
            pulling_ms: None,
            pulled: None,
            started: false,
            ready: false,
            stopping: None,
        };
        self.containers.get(name).unwrap_or(&FRESH)
    }

    /// A container's record, to be changed.
    pub fn record_mut(&mut self, name: &str) -> &mut Record {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Whether any container runs.
    pub fn anything_runs(&self) -> bool {
        self.containers.values().any(|record| record.run().is_some())
    }

    /// When everything must have stopped, if it must.
    pub fn stop_by_ms(&self) -> Option<i64> {
        let ending = self.ending.as_ref().map(|ending| ending.by_ms);
        self.delete_by_ms.into_iter().chain(ending).min()
    }

    /// How the pod has ended, if it has: no container is going to be started again.
    pub fn outcome(&self, pod: &Pod) -> Option<Outcome> {
        if self.ending.is_some() {
            return Some(Outcome::Failed);
        }
        let policy = pod.spec.restart_policy;
        let mut inits = pod.spec.init_containers.iter().filter(|container| !container.is_sidecar());
        if policy == RestartPolicy::Never
            && inits.any(
                |init| matches!(&self.record(&init.name).state, State::Ended(ended) if ended.exit.code != 0),
            )
        {
            return Some(Outcome::Failed);
        }
        let mut worst = Outcome::Succeeded;
        for container in &pod.spec.containers {
            let record = self.record(&container.name);
            let State::Ended(ended) = &record.state else { return None };
            if restarts(policy, container, Role::Main, ended.exit.code) {
                return None;
            }
            if ended.exit.code != 0 {
                worst = Outcome::Failed;
            }
        }
        Some(worst)
    }

    /// Takes up what the runtime still knows of it after an agent restart.
    pub fn adopt(&mut self, pod: &Pod, adopted: Option<&AdoptedPod>, now_ms: i64) {
        for state in adopted.iter().flat_map(|adopted| &adopted.containers) {
            let record = self.record_mut(&state.name);
            let run = Run {
                attempt: state.attempt,
                container_id: state.started.container_id.clone(),
                image: state.image.clone(),
                started_ms: state.started.started_at_ms,
            };
            if state.attempt >= record.starts {
                record.begin(run);
                if let Some(container) = pod.container(&state.name) {
                    record.pass_unprobed(container);
                }
            }
            let current = record.run().is_some_and(|run| run.attempt == state.attempt);
            if let (true, ContainerPhase::Exited(exit)) = (current, &state.phase) {
                record.end(exit.clone(), None);
            }
        }
        self.estranged = adopted.and_then(|adopted| adopted.estranged.clone());
        let alive = adopted.is_some_and(|adopted| adopted.alive);
        if alive {
            self.sandbox = true;
        } else {
            self.lose(pod, now_ms);
            // Its start may not have been noted yet, and the shim be on its way.
            self.leftovers |= adopted.is_some();
        }
        for record in self.containers.values_mut() {
            // What was begun before the restart is begun again: a hook runs twice rather than never, and the deadline holds.
            if let Some(stopping) = &mut record.stopping {
                *stopping = Stopping { by_ms: stopping.by_ms, ..Stopping::default() };
            }
            if self.estranged.is_some() {
                // What is not told to have ended may well run.
                continue;
            }
            // A run of which the runtime knows nothing is over.
            let name_of_run = record.run().map(|run| run.attempt);
            let known = adopted.is_some_and(|adopted| {
                adopted
                    .containers
                    .iter()
                    .any(|state| Some(state.attempt) == name_of_run && state.phase == ContainerPhase::Running)
            });
            if name_of_run.is_some() && !known {
                record.end(
                    killed(record.run().map_or(now_ms, |run| run.started_ms), now_ms),
                    Some("ContainerStatusUnknown"),
                );
            }
        }
    }

    /// The sandbox died, and with it all that ran.
    pub fn lose(&mut self, pod: &Pod, now_ms: i64) {
        self.leftovers |= self.sandbox;
        self.sandbox = false;
        self.estranged = None;
        self.volumes = false;
        for record in self.containers.values_mut() {
            if let Some(run) = record.run() {
                let exit = killed(run.started_ms, now_ms);
                record.end(exit, Some("Error"));
                // The machine or its operator did that, not the container: it starts again without a pause.
                record.crash_delay_ms = 0;
                record.retry_ms = now_ms;
            }
        }
        if self.outcome(pod).is_none() {
            // Their work was lost with the sandbox's volumes: they run again before the others do.
            for container in &pod.spec.init_containers {
                let record = self.record_mut(&container.name);
                if record.completed() {
                    record.wait("", "");
                    record.crash_delay_ms = 0;
                    record.retry_ms = 0;
                }
            }
        }
    }
}

/// Whether a container that ended with `code` is started again.
pub fn restarts(policy: RestartPolicy, container: &Container, role: Role, code: i32) -> bool {
    match policy {
        _ if role == Role::Ephemeral => false,
        _ if role == Role::Init && container.is_sidecar() => true,
        RestartPolicy::Always => role != Role::Init || code != 0,
        RestartPolicy::OnFailure => code != 0,
        RestartPolicy::Never => false,
    }
}

fn killed(started_at_ms: i64, finished_at_ms: i64) -> Exit {
    let message = "the container could not be found when its pod's sandbox was lost".to_owned();
    Exit { code: 137, signal: Some(9), oom_killed: false, started_at_ms, finished_at_ms, message }
}
