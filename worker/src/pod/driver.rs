//! The driver: one task per pod, which asks for the next step and does it, one at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::PodReport;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::access::{self, Access, PodTokens};
use super::backoff::SETUP;
use super::dependency::Dependencies;
use super::document::Pod;
use super::env::Sources;
use super::host::Host;
use super::inbox::Inbox;
use super::kept::{Kept, Pages};
use super::observed::{Ending, MountFailure, Observed, State, Stopping};
use super::probes::Probes;
use super::step::{Step, next};
use super::tenant::Tenant;
use super::{names, security, status, stop_signal, storage};
use crate::agent::admission::Refusal;
use crate::agent::aside::aside;
use crate::agent::layout::Layout;
use crate::runtime::{PodSandbox, Processes, RuntimeClass, RuntimeError};
use crate::volume;

/// After something failed that should not have, before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What readers of logs need to know of each container.
pub type Runs = BTreeMap<String, LogState>;

/// A container as a reader of its log sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The attempt whose log is the current one; none before the first start.
    pub attempt: Option<u32>,
    /// The attempt whose log is the previous one.
    pub previous: Option<u32>,
    /// It runs.
    pub running: bool,
    /// Why it was never started.
    pub waiting: String,
}

/// The driver of one pod.
pub struct Driver {
    pub(super) host: Arc<Host>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) kept: Kept,
    pub(super) pod: Arc<Pod>,
    pub(super) dependencies: Dependencies,
    pub(super) removed: bool,
    pub(super) hooks: BTreeMap<String, AbortOnDropHandle<()>>,
    pub(super) pulls: BTreeMap<String, AbortOnDropHandle<()>>,
    probes: Probes,
    storage: storage::Watch,
    keeper: access::Keeper,
    pub(super) tokens: PodTokens,
    runs: watch::Sender<Runs>,
    tenant: watch::Sender<Tenant>,
    stored: Pages,
    reported: Vec<u8>,
    gone: bool,
}

impl Driver {
    /// Takes up a pod: a new one, or one that was found again, with what is already seen of it.
    pub fn new(
        host: Arc<Host>,
        inbox: Arc<Inbox>,
        kept: Kept,
        pod: Pod,
        runs: watch::Sender<Runs>,
    ) -> (Driver, watch::Receiver<Tenant>) {
        let dependencies = kept.assignment.dependencies();
        let pod = Arc::new(pod);
        let (tenant, tenancy) = watch::channel(Tenant::of(&pod, &kept.observed));
        let removed = kept.removed;
        let mut driver = Driver {
            host,
            inbox,
            kept,
            pod,
            dependencies,
            removed,
            hooks: BTreeMap::new(),
            pulls: BTreeMap::new(),
            probes: Probes::default(),
            storage: storage::Watch::default(),
            keeper: access::Keeper::default(),
            tokens: PodTokens::default(),
            runs,
            tenant,
            stored: Pages::default(),
            reported: Vec::new(),
            gone: false,
        };
        driver.begin();
        (driver, tenancy)
    }

    fn begin(&mut self) {
        let now_ms = self.host.clock.now_ms();
        let status = &self.pod.status;
        let over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        let known = status.start_time.as_ref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let awaits_tokens = access::wants_tokens(&self.host, &self.pod);
        let mut refused = None;
        let seen = &mut self.kept.observed;
        // Those of an earlier life of this worker are where the pod reads them.
        seen.awaits_tokens = awaits_tokens;
        if seen.start_ms.is_none() {
            let new = known.is_none() && !over && !seen.sandbox && !seen.leftovers;
            refused = self.host.admission.refusal(&self.pod).filter(|_| new);
            seen.start_ms = Some(known.map_or(now_ms, |time| time.as_millisecond()));
            // It ended in an earlier life of this worker: it does not run twice.
            seen.over_before = over;
        }
        if let Some(Refusal { reason, message }) = refused {
            self.host.note(&self.pod, None, reason, message.clone());
            let (reason, message) = (reason.to_owned(), format!("Pod was rejected: {message}"));
            self.kept.observed.ending = Some(Ending { reason, message, by_ms: now_ms, disrupted_ms: None });
        }
        self.heed_deletion(now_ms);
        if let Some(cause) = self.seen().estranged.clone() {
            self.tell_estranged(&cause);
        }
    }

    /// It is left alone, and its owner is told what can be done.
    fn tell_estranged(&self, cause: &str) {
        let message = format!(
            "The pod runs on as it is, but this worker cannot manage it: its shim cannot be spoken to: {cause}. \
             Delete the pod to have it ended and replaced, or run the worker with the build that started the pod."
        );
        warn!(pod = %self.pod.metadata.name, namespace = %self.pod.metadata.namespace, message);
        self.host.note(&self.pod, None, "PodNotManaged", message);
    }

    /// The kept folder is written before anything is started, so that no start is forgotten.
    pub async fn run(mut self) {
        loop {
            self.absorb();
            let now_ms = self.host.clock.now_ms();
            status::settle_conditions(&self.pod, &mut self.kept.observed, now_ms);
            self.probes.tend(&self.host, &self.inbox, &self.pod, &self.kept.observed);
            self.storage.tend(&self.host, &self.inbox, &self.pod, &self.kept.observed);
            self.keeper.tend(&self.host, &self.inbox, &self.pod, &self.kept.observed);
            self.publish();
            let step = if self.removed { self.forget_step() } else { next(&self.pod, self.seen(), now_ms) };
            debug!(pod = %self.pod.metadata.name, ?step, "next");
            match step {
                Step::Wait { until_ms } => self.wait(until_ms).await,
                Step::Gone if self.removed => break,
                Step::Gone if self.gone => self.wait(None).await,
                step => self.perform(step, now_ms).await,
            }
        }
        self.forget();
    }

    pub(super) fn seen(&self) -> &Observed {
        &self.kept.observed
    }

    fn forget_step(&self) -> Step {
        if self.seen().sandbox || self.seen().leftovers { Step::RemoveSandbox } else { Step::Gone }
    }

    async fn wait(&self, until_ms: Option<i64>) {
        let news = self.inbox.changed();
        match until_ms {
            None => news.await,
            Some(ms) => {
                tokio::select! {
                    () = news => {}
                    () = tokio::time::sleep(self.host.clock.until(ms)) => {}
                }
            }
        }
    }

    async fn perform(&mut self, step: Step, now_ms: i64) {
        match step {
            Step::Wait { .. } => {}
            Step::MountVolumes => self.mount_volumes(now_ms).await,
            Step::StartSandbox => self.start_sandbox(now_ms).await,
            Step::Start(container) => self.start_container(&container).await,
            Step::Stop(container, by_ms) => self.stop(&container, by_ms, None),
            Step::PreStop(container) => self.pre_stop(&container, now_ms),
            Step::Ask(container) => {
                self.stopping(&container, |stopping| stopping.asked = true);
                self.signal(&container, self.stop_signal(&container)).await;
            }
            Step::Kill(container) => {
                self.stopping(&container, |stopping| stopping.killed_ms = Some(now_ms));
                self.signal(&container, KILL).await;
            }
            Step::Expire => {
                let by_ms = now_ms.saturating_add(self.pod.grace_seconds().saturating_mul(1000));
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.host.note(&self.pod, None, "DeadlineExceeded", message.clone());
                let reason = "DeadlineExceeded".to_owned();
                self.kept.observed.ending = Some(Ending { reason, message, by_ms, disrupted_ms: None });
            }
            Step::RemoveSandbox => self.remove_sandbox().await,
            Step::Gone => {
                info!(pod = %self.pod.metadata.name, namespace = %self.pod.metadata.namespace, "pod is gone");
                self.gone = true;
            }
        }
    }

    async fn mount_volumes(&mut self, now_ms: i64) {
        let (pod, dependencies, host) = (self.pod.clone(), self.dependencies.clone(), self.host.clone());
        let access = self.access();
        let first = !self.seen().sandbox;
        let mounted = aside(&self.host.clock, move || {
            let machine = &host.machine;
            let sources = Sources { pod: &pod, dependencies: &dependencies, machine, access: &access };
            volume::mount(sources, &host.layout.places(&pod.metadata.uid), first)
        });
        let failure = match mounted.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(format!("the volumes could not be mounted: {error}")),
        };
        let seen = &mut self.kept.observed;
        let Some(message) = failure else {
            (seen.volumes, seen.mount_failure) = (true, None);
            return;
        };
        let delay_ms = SETUP.next(seen.mount_failure.as_ref().map_or(0, |failure| failure.delay_ms));
        let retry_ms = now_ms.saturating_add(delay_ms);
        seen.mount_failure = Some(MountFailure { message: message.clone(), retry_ms, delay_ms });
        self.host.note(&self.pod, None, "FailedMount", message);
    }

    /// What the pod gets to reach others.
    pub(super) fn access(&self) -> Access {
        let sees = access::sees_volumes(&self.host, &self.pod);
        let mut variables = self.host.links.variables(&self.pod);
        // Others have their loopback only, and processes of the machine find no token. Where the API is reached counts more than what
        // address its Service has.
        if sees && self.pod.spec.host_network {
            variables.extend(self.host.api.variables());
        }
        Access { tokens: sees.then(|| self.tokens.clone()), variables }
    }

    async fn start_sandbox(&mut self, now_ms: i64) {
        let metadata = &self.pod.metadata;
        let host_name = match names::host_name(&self.pod, &self.host.names) {
            Ok(host_name) => host_name,
            Err(cause) => return self.sandbox_failed(&cause, now_ms),
        };
        let handler = match self.handler() {
            Ok(handler) => handler,
            Err(cause) => return self.sandbox_failed(&cause, now_ms),
        };
        let machine_resolver = self.host.machine_file("/etc/resolv.conf");
        let (resolver, left_out) = names::resolver(&self.pod, &machine_resolver, &self.host.names);
        for message in left_out {
            self.host.note(&self.pod, None, "DNSConfigForming", message);
        }
        let sandbox = PodSandbox {
            uid: metadata.uid.clone(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            hostname: host_name,
            handler,
            class: if self.pod.is_host_class() { RuntimeClass::Host } else { RuntimeClass::Container },
            host_network: self.pod.spec.host_network,
            host_ipc: self.pod.spec.host_ipc,
            processes: match (self.pod.spec.host_pid, self.pod.spec.share_process_namespace) {
                (true, _) => Processes::Machine,
                (false, true) => Processes::Pod,
                (false, false) => Processes::Container,
            },
            memory_volumes: volume::in_memory(
                &self.pod,
                &self.host.layout.volumes(&metadata.uid),
                u64::try_from(self.host.machine.memory_bytes).unwrap_or(u64::MAX),
            ),
            hosts: names::hosts(&self.pod, &self.host.machine_file("/etc/hosts"), &self.host.names),
            resolver: Some(resolver),
            privileged: self.pod.all_containers().any(|it| it.security_context.privileged),
            sysctls: security::sysctls(&self.pod),
            blob: self.kept.to_blob(),
        };
        let started = self.host.runtime.start_pod(sandbox).await;
        let seen = &mut self.kept.observed;
        match started {
            Ok(()) => (seen.sandbox, seen.leftovers) = (true, false),
            Err(RuntimeError::Estranged { cause, .. }) => {
                seen.sandbox = true;
                seen.estranged = Some(cause.clone());
                self.tell_estranged(&cause);
            }
            Err(error) => {
                seen.leftovers = true;
                self.sandbox_failed(&error.to_string(), now_ms);
            }
        }
    }

    /// The handler of the pod's RuntimeClass: which of the runtime's ways to run a pod it wants. None for the usual one.
    fn handler(&self) -> Result<String, String> {
        let name = self.pod.spec.runtime_class_name.as_deref().unwrap_or_default();
        if name.is_empty() || self.pod.is_host_class() {
            return Ok(String::new());
        }
        // A weaker one than was asked for will not do.
        let class = self.dependencies.object("RuntimeClass", name);
        let class = class.ok_or_else(|| format!("runtimeclass.node.k8s.io {name:?} not found"))?;
        Ok(class["handler"].as_str().unwrap_or_default().to_owned())
    }

    fn sandbox_failed(&mut self, cause: &str, now_ms: i64) {
        self.kept.observed.sandbox_retry_ms = now_ms.saturating_add(10_000);
        let message = format!("Failed to create pod sandbox: {cause}");
        self.host.note(&self.pod, None, "FailedCreatePodSandBox", message);
    }

    /// Begins to stop a container; the killing itself is for the next steps.
    pub(super) fn stop(&mut self, container: &str, by_ms: i64, why: Option<String>) {
        let message = why.unwrap_or_else(|| format!("Stopping container {container}"));
        let record = self.kept.observed.record_mut(container);
        if record.stopping.is_none() {
            self.host.note(&self.pod, Some(container), "Killing", message);
        }
        let stopping = record.stopping.get_or_insert_with(Stopping::default);
        stopping.by_ms = by_ms;
    }

    pub(super) fn stopping(&mut self, container: &str, change: impl FnOnce(&mut Stopping)) {
        if let Some(stopping) = &mut self.kept.observed.record_mut(container).stopping {
            change(stopping);
        }
    }

    fn stop_signal(&self, container: &str) -> i32 {
        let run = self.seen().record(container).run();
        let defaults = run.map(|run| self.host.runtime.image_defaults(&run.image)).unwrap_or_default();
        stop_signal::number(&defaults.stop_signal)
    }

    async fn signal(&self, container: &str, signal: i32) {
        let uid = &self.pod.metadata.uid;
        if let Err(error) = self.host.runtime.signal(uid, container, signal).await {
            // The deadline, and in the end the removal of the sandbox, see to it.
            warn!(pod = %uid, container, signal, %error, "a signal could not be sent");
        }
    }

    async fn remove_sandbox(&mut self) {
        let uid = self.pod.metadata.uid.clone();
        self.hooks.clear();
        if self.removed || self.seen().stop_by_ms().is_some() {
            self.end_pulls();
        }
        if let Err(error) = self.host.runtime.remove_pod(&uid).await {
            warn!(pod = %uid, %error, "a pod's sandbox could not be removed: trying again");
            let now_ms = self.host.clock.now_ms();
            return self.wait(Some(now_ms + PAUSE.as_millis() as i64)).await;
        }
        // Exits that the removal caused are of interest to no one.
        let now_ms = self.host.clock.now_ms();
        self.absorb();
        let seen = &mut self.kept.observed;
        if seen.anything_runs() {
            seen.lose(&self.pod, now_ms);
        }
        (seen.sandbox, seen.leftovers, seen.volumes) = (false, false, false);
        seen.estranged = None;
        self.remove_folders();
    }

    /// Tells the leader, the disk, the readers of logs and who looks for room what has changed.
    fn publish(&mut self) {
        let seen = &self.kept.observed;
        let layout = &self.host.layout;
        if !self.host.transient {
            let stored = self.kept.pages(layout.kept_secrets().is_some());
            if stored != self.stored {
                match stored.store(layout, &self.pod.metadata.uid) {
                    Ok(()) => self.stored = stored,
                    Err(error) => {
                        warn!(pod = %self.pod.metadata.uid, %error, "a pod's state cannot be written");
                    }
                }
            }
        }
        self.runs.send_if_modified(|runs| {
            let fresh = log_states(&self.pod, seen);
            let changed = *runs != fresh;
            *runs = fresh;
            changed
        });
        self.tenant.send_if_modified(|tenant| {
            let fresh = Tenant::of(&self.pod, seen);
            let changed = !fresh.is(tenant);
            *tenant = fresh;
            changed
        });
        if self.removed || (seen.over_before && !self.gone) {
            return;
        }
        let mut status = status::document(&self.pod, seen, &self.host.machine).to_string().into_bytes();
        status.push(u8::from(self.gone));
        if status != self.reported {
            self.reported.clone_from(&status);
            status.pop();
            let metadata = &self.pod.metadata;
            self.host.outbox.report(PodReport {
                uid: metadata.uid.clone(),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                status: status.into(),
                gone: self.gone,
                traceparent: self.kept.assignment.traceparent.clone(),
            });
        }
    }

    fn forget(&self) {
        let (layout, metadata) = (&self.host.layout, &self.pod.metadata);
        self.host.outbox.forget(&metadata.uid);
        Pages::remove(layout, &metadata.uid);
        self.remove_folders();
        remove_folder(&logs(layout, &self.pod));
    }

    fn remove_folders(&self) {
        let (layout, uid) = (&self.host.layout, &self.pod.metadata.uid);
        remove_folder(&layout.pod(uid));
        if let Some(volumes) = layout.places(uid).memory {
            remove_folder(&volumes);
        }
    }
}

const KILL: i32 = 9;

/// The folder of a pod's logs.
pub(crate) fn logs(layout: &Layout, pod: &Pod) -> std::path::PathBuf {
    layout.logs(&pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid)
}

fn remove_folder(path: &std::path::Path) {
    match crate::remove::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "a pod's folder cannot be removed");
        }
        _ => {}
    }
}

fn log_states(pod: &Pod, seen: &Observed) -> Runs {
    let state = |name: &str| {
        let record = seen.record(name);
        let waiting = match &record.state {
            State::Waiting { reason, .. } if !reason.is_empty() => reason.as_str(),
            _ if !pod.spec.init_containers.is_empty() => "PodInitializing",
            _ => "ContainerCreating",
        };
        LogState {
            attempt: record.starts.checked_sub(1),
            previous: match &record.state {
                // It counts as ended before while it waits for its next restart.
                State::Ended(ended) if record.crash_delay_ms > 0 => Some(ended.run.attempt),
                _ => record.last.as_ref().map(|ended| ended.run.attempt),
            },
            running: record.run().is_some(),
            waiting: waiting.to_owned(),
        }
    };
    pod.all_containers().map(|container| (container.name.clone(), state(&container.name))).collect()
}
