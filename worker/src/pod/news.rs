//! How news change what is wanted and seen.

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};
use tracing::error;

use super::access::PodTokens;
use super::document::{Pod, RestartPolicy};
use super::driver::Driver;
use super::inbox::News;
use super::kept::Assignment;
use super::observed::{Ending, MountFailure, State, restarts};
use super::tenant::Eviction;
use crate::probe;
use crate::volume::MountError;

impl Driver {
    /// Takes what is in the inbox.
    pub(super) fn absorb(&mut self) {
        let mut news = self.inbox.take();
        let now_ms = self.host.clock.now_ms();
        if let Some(assignment) = news.assignment.take() {
            self.assign(assignment, now_ms);
        }
        self.removed |= news.remove;
        self.kept.removed = self.removed;
        for (container, (attempt, exit)) in &news.exits {
            let record = self.kept.observed.record_mut(container);
            if record.run().is_some_and(|run| run.attempt == *attempt) {
                record.end(exit.clone(), None);
                self.hooks.remove(container);
                self.tell_backoff(container);
            }
        }
        if news.lost && self.seen().sandbox {
            self.hooks.clear();
            self.kept.observed.lose(&self.pod, now_ms);
            self.host.note(
                &self.pod,
                None,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
        }
        if news.lease_lost && self.pod.is_exclusive() && self.seen().outcome(&self.pod).is_none() {
            let reason = "NodeLost".to_owned();
            let message = "the worker lost every controller for longer than its lease".to_owned();
            self.kept.observed.ending = Some(Ending { reason, message, by_ms: now_ms, disrupted_ms: None });
        }
        if let Some(eviction) = news.evicted.take().filter(|_| self.seen().outcome(&self.pod).is_none()) {
            let Eviction { reason, message, grace, disrupts } = eviction;
            self.host.note(&self.pod, None, &reason, message.clone());
            let by_ms = now_ms.saturating_add(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
            let disrupted_ms = disrupts.then_some(now_ms);
            self.kept.observed.ending = Some(Ending { reason, message, by_ms, disrupted_ms });
        }
        if let Some(tokens) = news.tokens.take() {
            self.heed_tokens(tokens, now_ms);
        }
        self.heed_hooks(&news, now_ms);
        for (container, (image, pulled)) in std::mem::take(&mut news.pulls) {
            self.heed_pull(&container, &image, pulled, now_ms);
        }
        for ((container, kind), (attempt, good)) in news.probes {
            self.heed_probe(&container, kind, attempt, good, now_ms);
        }
    }

    fn assign(&mut self, assignment: Assignment, now_ms: i64) {
        let pod = match Pod::parse(assignment.pod.get().as_bytes()) {
            Ok(pod) => pod,
            Err(error) => return error!(pod = %assignment.name, %error, "an assignment cannot be read"),
        };
        self.end_pulls_of_other_images(&pod);
        self.pod = Arc::new(pod);
        self.dependencies = assignment.dependencies();
        self.kept.assignment = assignment;
        let seen = &mut self.kept.observed;
        // Files that have not changed are not written again.
        (seen.volumes, seen.mount_failure) = (false, None);
        for record in seen.containers.values_mut() {
            if matches!(&record.state, State::Waiting { reason, .. } if reason == "CreateContainerConfigError")
            {
                record.retry_ms = 0;
            }
        }
        self.heed_deletion(now_ms);
    }

    /// A deletion sets the time by which the pod must be gone. Its grace counts from when it was heard of here, so that
    /// clocks that differ take nothing from it; hearing of it again changes nothing, unless it became shorter.
    pub(super) fn heed_deletion(&mut self, now_ms: i64) {
        if self.pod.metadata.deletion_timestamp.is_none() {
            if planted(Defect::OlderAssignmentObeyed) {
                self.kept.observed.delete_by_ms = None;
            }
            return;
        }
        let by_ms = now_ms.saturating_add(self.pod.grace_seconds().saturating_mul(1000));
        let seen = &mut self.kept.observed;
        seen.delete_by_ms = Some(seen.delete_by_ms.map_or(by_ms, |earlier| earlier.min(by_ms)));
    }

    /// New tokens take the place of older ones in all volumes. Without any, a pod that has not begun waits, and one that runs goes on.
    fn heed_tokens(&mut self, tokens: Result<PodTokens, MountError>, now_ms: i64) {
        let seen = &mut self.kept.observed;
        match tokens {
            Ok(tokens) => {
                self.tokens = tokens;
                (seen.volumes, seen.awaits_tokens, seen.mount_failure) = (false, false, None);
            }
            Err(error) => {
                let message = error.to_string();
                if seen.awaits_tokens {
                    let message = message.clone();
                    seen.mount_failure = Some(MountFailure { message, retry_ms: now_ms, delay_ms: 0 });
                }
                self.host.note(&self.pod, None, "FailedMount", message);
            }
        }
    }

    fn heed_hooks(&mut self, news: &News, now_ms: i64) {
        for container in &news.hooks_over {
            self.stopping(container, |stopping| stopping.hook_over = true);
        }
        for (container, attempt) in &news.hooks_failed {
            if self.seen().record(container).run().is_some_and(|run| run.attempt == *attempt) {
                let by_ms = self.stop_by(now_ms, None);
                self.stop(container, by_ms, Some("FailedPostStartHook".to_owned()));
            }
        }
    }

    fn heed_probe(&mut self, container: &str, kind: probe::Kind, attempt: u32, good: bool, now_ms: i64) {
        let pod = self.pod.clone();
        let Some(spec) = pod.container(container) else { return };
        let record = self.kept.observed.record_mut(container);
        if record.run().is_none_or(|run| run.attempt != attempt) {
            return;
        }
        match (kind, good) {
            (probe::Kind::Readiness, good) => record.ready = good,
            (probe::Kind::Startup, true) => {
                record.started = true;
                record.ready = spec.readiness_probe.is_none();
            }
            (probe::Kind::Liveness, true) => {}
            (probe::Kind::Startup | probe::Kind::Liveness, false) if record.stopping.is_none() => {
                let probe = kind.of(spec);
                let by_ms =
                    self.stop_by(now_ms, probe.and_then(|probe| probe.termination_grace_period_seconds));
                let then = match self.pod.spec.restart_policy {
                    RestartPolicy::Never => "",
                    _ => ", will be restarted",
                };
                let why = format!("Container {container} failed {} probe{then}", kind.word());
                self.stop(container, by_ms, Some(why));
            }
            (probe::Kind::Startup | probe::Kind::Liveness, false) => {}
        }
    }

    fn stop_by(&self, now_ms: i64, grace_seconds: Option<i64>) -> i64 {
        let seconds = grace_seconds.unwrap_or_else(|| self.pod.grace_seconds());
        now_ms.saturating_add(seconds.saturating_mul(1000))
    }

    fn tell_backoff(&self, container: &str) {
        let record = self.seen().record(container);
        let (Some(ended), Some(spec)) = (record.ended(), self.pod.container(container)) else { return };
        let role = self.pod.role(container);
        let again = restarts(self.pod.spec.restart_policy, spec, role, ended.exit.code);
        if again && record.crash_delay_ms > 0 && self.seen().stop_by_ms().is_none() {
            let metadata = &self.pod.metadata;
            let message = format!(
                "Back-off restarting failed container {container} in pod {}_{}({})",
                metadata.name, metadata.namespace, metadata.uid
            );
            self.host.note(&self.pod, Some(container), "BackOff", message);
        }
    }
}
