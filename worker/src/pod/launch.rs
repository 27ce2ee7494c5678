//! Starting a container: its environment, its mounts; and what is said when one of them is missing.

use std::path::{Path, PathBuf};

use super::backoff::CRASH;
use super::document::{Container, Pod};
use super::driver::{Driver, logs};
use super::env::{Sources, expand};
use super::observed::Run;
use super::quantity;
use tracing::Instrument;

use crate::agent::aside::aside;
use crate::runtime::{ContainerSpec, Exit, ImageRef, RuntimeError};
use crate::volume;

/// A configuration that is wrong is looked at again when the leader sends a new one; this is for the rest.
const CONFIG_RETRY_MS: i64 = 60_000;

impl Driver {
    /// Starts a container, or records why it cannot be.
    pub(super) async fn start_container(&mut self, name: &str) {
        let pod = self.pod.clone();
        let Some(container) = pod.container(name) else { return };
        let Some((image, pulled)) = self.image(container) else { return };
        let attempt = self.seen().record(name).starts;
        let log_path = logs(&self.host.layout, &pod).join(name).join(format!("{attempt}.log"));
        let spec = match self.spec(container, image.clone(), attempt, log_path).await {
            Ok(spec) => spec,
            Err(message) => return self.refuse(container, message),
        };
        if !pulled {
            let message = format!("Container image \"{}\" already present on machine", container.image);
            self.host.note(&pod, Some(name), "Pulled", message);
        }
        let uid = &pod.metadata.uid;
        let span = tracing::info_span!("container.start", pod = pod.metadata.name, container = name);
        let span = kontiki_proto::trace::follow(span, Some(&self.kept.assignment.traceparent));
        match self.host.runtime.start_container(uid, spec).instrument(span).await {
            Ok(started) => {
                let (container_id, started_ms) = (started.container_id, started.started_at_ms);
                let record = self.kept.observed.record_mut(name);
                record.begin(Run { attempt, container_id, image, started_ms });
                record.started = container.startup_probe.is_none();
                record.ready = record.started && container.readiness_probe.is_none();
                self.host.note(&pod, Some(name), "Created", format!("Created container: {name}"));
                self.host.note(&pod, Some(name), "Started", format!("Started container {name}"));
                self.post_start(container, attempt);
            }
            Err(error) => self.start_failed(container, image, attempt, &error),
        }
    }

    fn refuse(&mut self, container: &Container, message: String) {
        let now_ms = self.host.clock.now_ms();
        let record = self.kept.observed.record_mut(&container.name);
        record.retry_ms = now_ms.saturating_add(CONFIG_RETRY_MS);
        record.wait("CreateContainerConfigError", message.clone());
        self.host.note(&self.pod, Some(&container.name), "Failed", format!("Error: {message}"));
    }

    fn start_failed(&mut self, container: &Container, image: ImageRef, attempt: u32, error: &RuntimeError) {
        let now_ms = self.host.clock.now_ms();
        let seen = &mut self.kept.observed;
        let message = error.to_string();
        match error {
            RuntimeError::StartFailed(_) => {
                // It counts as a run that ended at once, so that the restart policy and its pauses apply.
                let record = seen.record_mut(&container.name);
                record.begin(Run { attempt, container_id: String::new(), image, started_ms: now_ms });
                let code = RuntimeError::START_ERROR_CODE;
                let exit = Exit {
                    code,
                    signal: None,
                    oom_killed: false,
                    started_at_ms: now_ms,
                    finished_at_ms: now_ms,
                    message: message.clone(),
                };
                record.end(exit, Some(error.reason()));
            }
            RuntimeError::PodUnknown(_) => seen.lose(&self.pod, now_ms),
            _ => {
                let record = seen.record_mut(&container.name);
                record.crash_delay_ms = CRASH.next(record.crash_delay_ms);
                record.retry_ms = now_ms.saturating_add(record.crash_delay_ms);
                record.wait(error.reason(), message.clone());
            }
        }
        self.host.note(&self.pod, Some(&container.name), "Failed", format!("Error: {message}"));
    }

    /// What the runtime is to start. An error is the message of `CreateContainerConfigError`.
    async fn spec(
        &self,
        container: &Container,
        image: ImageRef,
        attempt: u32,
        log_path: PathBuf,
    ) -> Result<ContainerSpec, String> {
        let sources =
            Sources { pod: &self.pod, dependencies: &self.dependencies, machine: &self.host.machine };
        let mut env = vec![("HOSTNAME".to_owned(), self.pod.hostname().to_owned())];
        env.extend(sources.environment(container)?);
        let value =
            |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let words =
            |words: &[String]| -> Vec<String> { words.iter().map(|word| expand(word, value)).collect() };
        let (command, args) = (words(&container.command), words(&container.args));
        let user = user(&self.pod, container)?;
        let (pod, owned, known) = (self.pod.clone(), container.clone(), env.clone());
        let volumes = self.host.layout.volumes(&self.pod.metadata.uid);
        let path = log_path.clone();
        let prepared = aside(&self.host.clock, move || {
            prepare_log(&path, attempt)?;
            volume::mounts(&pod, &owned, &known, &volumes)
        });
        let mounts =
            prepared.await.map_err(|error| format!("the mounts could not be prepared: {error}"))??;
        let security = &container.security_context;
        let limits = &container.resources.limits;
        let requests = &container.resources.requests;
        let cpu = |from: &std::collections::BTreeMap<_, _>| {
            from.get("cpu").and_then(quantity::milli).and_then(|milli| u64::try_from(milli).ok())
        };
        Ok(ContainerSpec {
            name: container.name.clone(),
            attempt,
            image,
            command,
            args,
            env,
            working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
            mounts,
            cpu_milli_limit: cpu(limits),
            cpu_milli_request: cpu(requests).or_else(|| cpu(limits)),
            memory_limit_bytes: limits.get("memory").and_then(quantity::units),
            user,
            privileged: security.privileged,
            read_only_root: security.read_only_root_filesystem,
            add_capabilities: security.capabilities.add.clone(),
            drop_capabilities: security.capabilities.drop.clone(),
            no_new_privileges: security.allow_privilege_escalation == Some(false),
            log_path,
            termination_message_path: container.termination_message_path.clone(),
            termination_message_from_log: container.termination_message_policy == "FallbackToLogsOnError",
            ..ContainerSpec::default()
        })
    }
}

fn user(pod: &Pod, container: &Container) -> Result<Option<(u32, u32)>, String> {
    let (own, pods) = (&container.security_context, &pod.spec.security_context);
    let user = own.run_as_user.or(pods.run_as_user);
    let group = own.run_as_group.or(pods.run_as_group).unwrap_or(0);
    if own.run_as_non_root.or(pods.run_as_non_root) == Some(true) && user == Some(0) {
        return Err(format!(
            "container's runAsUser breaks non-root policy (pod: \"{}_{}({})\", container: {})",
            pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, container.name
        ));
    }
    Ok(user.map(|user| (user, group)))
}

/// Makes the folder of a container's logs, and drops those that nobody can ask for any more: only the current one and
/// the one before are served.
fn prepare_log(path: &Path, attempt: u32) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if let Some(old) = attempt.checked_sub(2) {
        std::fs::remove_file(folder.join(format!("{old}.log"))).ok();
    }
    Ok(())
}
