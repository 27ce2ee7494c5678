//! Starting a container: its environment, its mounts; and what is said when one of them is missing.

use std::path::{Path, PathBuf};

use super::backoff::CRASH;
use super::document::{Container, Pod};
use super::driver::{Driver, logs};
use super::env::{Sources, expand};
use super::observed::{Run, State};
use super::{names, oom, quantity, security};
use tracing::Instrument;

use crate::agent::aside::aside;
use crate::runtime::{ContainerSpec, Exit, ImageDefaults, ImageRef, RuntimeError};
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
        if let Some(message) = self.host.links.left_out(&pod) {
            self.host.note(&pod, Some(name), "ServiceLinksLeftOut", message);
        }
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
                record.pass_unprobed(container);
                self.expect_at(name);
                self.host.note(&pod, Some(name), "Created", format!("Created container: {name}"));
                self.host.note(&pod, Some(name), "Started", format!("Started container {name}"));
                self.post_start(container, attempt);
            }
            Err(error) => self.start_failed(container, image, attempt, &error),
        }
    }

    /// What waits for this container to run need not wait longer.
    fn expect_at(&mut self, target: &str) {
        let pod = self.pod.clone();
        let of_it = pod.spec.ephemeral_containers.iter().filter(|it| it.target_container_name == target);
        for container in of_it {
            let record = self.kept.observed.record_mut(&container.name);
            if matches!(record.state, State::Waiting { .. }) {
                record.retry_ms = 0;
            }
        }
    }

    /// The container whose processes a container is to see beside its own; nothing where it sees them anyway. An error is the message of
    /// `CreateContainerConfigError`, in the kubelet's words.
    fn process_target(&self, container: &Container) -> Result<Option<String>, String> {
        let (name, spec) = (&container.target_container_name, &self.pod.spec);
        let plain = self.pod.is_host_class() || !self.host.runtime.isolates();
        if name.is_empty() || plain || spec.host_pid || spec.share_process_namespace {
            return Ok(None);
        }
        match self.seen().record(name).run() {
            Some(_) => Ok(Some(name.clone())),
            None => Err(format!("unable to find target container {name}")),
        }
    }

    /// A plain process of the machine has none of a container's bounds: whoever asked for some is told.
    fn tell_without_effect(&self, container: &Container) {
        let names = security::without_effect(&self.pod, container);
        if !names.is_empty() {
            let message = format!(
                "The container runs as a plain process of the machine, for which these settings are without effect: {}",
                names.join(", ")
            );
            self.host.note(&self.pod, Some(&container.name), "SecurityContextWithoutEffect", message);
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
        let access = self.access();
        let sources = Sources {
            pod: &self.pod,
            dependencies: &self.dependencies,
            machine: &self.host.machine,
            access: &access,
        };
        let mut env = vec![("HOSTNAME".to_owned(), names::host_name(&self.pod, &self.host.names)?)];
        env.extend(sources.environment(container)?);
        if let Some(refusal) = security::refusal(&self.pod, container) {
            return Err(refusal);
        }
        let value =
            |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let words =
            |words: &[String]| -> Vec<String> { words.iter().map(|word| expand(word, value)).collect() };
        let (command, args) = (words(&container.command), words(&container.args));
        let (user, group) = user(&self.pod, container, &self.host.runtime.image_defaults(&image))?;
        let (pod, owned, known) = (self.pod.clone(), container.clone(), env.clone());
        let dependencies = self.dependencies.clone();
        let volumes = self.host.layout.places(&self.pod.metadata.uid);
        let path = log_path.clone();
        let prepared = aside(&self.host.clock, move || {
            prepare_log(&path, attempt)?;
            volume::mounts(&pod, &owned, &known, &dependencies, &volumes)
        });
        let mounts =
            prepared.await.map_err(|error| format!("the mounts could not be prepared: {error}"))??;
        let security = &container.security_context;
        let limits = &container.resources.limits;
        let requests = &container.resources.requests;
        let cpu = |from: &std::collections::BTreeMap<_, _>| {
            from.get("cpu").and_then(quantity::milli).and_then(|milli| u64::try_from(milli).ok())
        };
        let mut spec = ContainerSpec {
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
            oom_score_adj: Some(oom::score_adj(&self.pod, container, self.host.machine.memory_bytes)),
            user,
            group,
            privileged: security.privileged,
            read_only_root: security.read_only_root_filesystem,
            add_capabilities: security.capabilities.add.clone(),
            drop_capabilities: security.capabilities.drop.clone(),
            no_new_privileges: security.allow_privilege_escalation == Some(false),
            log_path,
            termination_message_path: container.termination_message_path.clone(),
            termination_message_from_log: container.termination_message_policy == "FallbackToLogsOnError",
            stdin: container.stdin,
            stdin_once: container.stdin_once,
            tty: container.tty,
            groups: security::groups(&self.pod),
            only_these_groups: security::only_these_groups(&self.pod),
            process_target: self.process_target(container)?,
            ..ContainerSpec::default()
        };
        if self.pod.is_host_class() || !self.host.runtime.isolates() {
            self.tell_without_effect(container);
        } else {
            let (profiles, by_default) = (self.host.layout.seccomp(), self.host.seccomp_default);
            spec.seccomp = security::profile_of(&self.pod, container, &profiles, by_default)?;
            if !self.host.runtime.makes_filters() {
                spec.syscall_filters = security::filters(&spec)?;
            }
        }
        Ok(spec)
    }
}

/// The user and the group that the pod asks for. An error says that the image's user may be root where root is not
/// wanted, in the kubelet's words.
fn user(
    pod: &Pod,
    container: &Container,
    image: &ImageDefaults,
) -> Result<(Option<u32>, Option<u32>), String> {
    let (own, pods) = (&container.security_context, &pod.spec.security_context);
    let user = own.run_as_user.or(pods.run_as_user);
    let group = own.run_as_group.or(pods.run_as_group);
    if own.run_as_non_root.or(pods.run_as_non_root) != Some(true) {
        return Ok((user, group));
    }
    let name = image.user.split(':').next().unwrap_or_default();
    let problem = match (user, name.parse::<u32>()) {
        (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
        (None, Ok(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
        (None, Err(_)) if name.is_empty() => {
            "container has runAsNonRoot and image will run as root".to_owned()
        }
        (None, Err(_)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        ),
        (Some(_), _) | (None, Ok(_)) => return Ok((user, group)),
    };
    let metadata = &pod.metadata;
    let pod = format!("{}_{}({})", metadata.name, metadata.namespace, metadata.uid);
    Err(format!("{problem} (pod: \"{pod}\", container: {})", container.name))
}

/// Makes the folder of a container's logs, and drops those that nobody can ask for any more, with their older halves:
/// only the current one and the one before are served.
fn prepare_log(path: &Path, attempt: u32) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let of = entry.file_name().to_str().and_then(|name| name.split('.').next()?.parse::<u32>().ok());
        if of.is_some_and(|of| of.saturating_add(1) < attempt) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_current_log_and_the_one_before_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("web");
        let path = |name: &str| folder.join(name);
        prepare_log(&path("0.log"), 0).unwrap();
        // Of attempts 2 and 3 an earlier build left what it had rotated.
        for name in ["2.log.1", "3.log.1", "8.log", "8.log.1", "9.log", "9.log.1", "10.log", "notes"] {
            std::fs::write(path(name), "").unwrap();
        }
        prepare_log(&path("10.log"), 10).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["10.log", "9.log", "9.log.1", "notes"]);
    }

    #[test]
    fn who_must_not_be_root_is_not_root_for_all_that_can_be_known() {
        let verdict = |pods: &str, own: &str, image: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"p","namespace":"ns","uid":"u"}},
                "spec":{{"securityContext":{{{pods}}},"containers":[{{"name":"c","securityContext":{{{own}}}}}]}}}}"#
            );
            let pod = Pod::parse(json.as_bytes()).unwrap();
            let image = ImageDefaults { user: image.to_owned(), ..ImageDefaults::default() };
            user(&pod, &pod.spec.containers[0], &image)
        };
        const NON_ROOT: &str = r#""runAsNonRoot":true"#;
        for image in ["", "0", "0:1000", ":1000"] {
            assert_eq!(
                verdict(NON_ROOT, "", image).unwrap_err(),
                "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)",
                "{image}"
            );
        }
        assert_eq!(
            verdict("", NON_ROOT, "web:web").unwrap_err(),
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root \
             (pod: \"p_ns(u)\", container: c)"
        );
        let explicit = verdict(NON_ROOT, r#""runAsUser":0"#, "1000").unwrap_err();
        assert!(explicit.starts_with("container's runAsUser breaks non-root policy"), "{explicit}");
        assert_eq!(verdict(NON_ROOT, "", "1000:1000"), Ok((None, None)));
        assert_eq!(verdict(NON_ROOT, r#""runAsUser":7"#, "root"), Ok((Some(7), None)));
        assert_eq!(verdict(NON_ROOT, r#""runAsNonRoot":false"#, ""), Ok((None, None)));
        assert_eq!(verdict(r#""runAsUser":7,"runAsGroup":8"#, "", "0"), Ok((Some(7), Some(8))));
    }
}
