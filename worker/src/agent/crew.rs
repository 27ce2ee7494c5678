//! The crew: the one task that owns the set of pods. It starts a driver for each, hands on what concerns it, and takes
//! it off the list when it is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kontiki_hooks::{Defect, Mark, planted, reached};
use kontiki_proto::worker::{Assignments, PodAssignment, PodDigest, PodReport, VolumeRemoval};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::aside::aside;
use super::config::{AgentConfig, AgentError};
use super::disk;
use super::layout::Layout;
use super::links::Links;
use super::node;
use super::outbox::Outbox;
use super::sweep::sweep;
use crate::pod::document::Pod;
use crate::pod::driver::{Driver, Runs};
use crate::pod::host::Host;
use crate::pod::inbox::Inbox;
use crate::pod::kept::{Assignment, Kept, Version};
use crate::pod::order::is_overtaken;
use crate::pod::tenant::{Eviction, Tenant};
use crate::runtime::{AdoptedPod, Runtime, RuntimeEvent};
use crate::volume;

/// Commands that may wait; whoever has more to say waits.
const COMMANDS_MAX: usize = 64;
/// A driver that fails so often is not started again before the leader or a restart asks for its pod.
const FAILURES_MAX: u32 = 3;
/// How long it waits before it tries again to remove a folder that could not be.
const REMOVE_AGAIN: Duration = Duration::from_secs(30);

/// What the crew is asked.
pub enum Command {
    /// What the leader wants.
    Assign(Assignments),
    /// Which pods there are, and in which revision.
    Digests(oneshot::Sender<Vec<PodDigest>>),
    /// What a reader of logs needs to know about a pod.
    Subject(String, oneshot::Sender<Option<Subject>>),
    /// No controller was reached for longer than the lease.
    LeaseLost,
    /// The pods as who looks for room sees them.
    Tenants(oneshot::Sender<Vec<Tenant>>),
    /// The worker takes back the room of a pod.
    Evict(String, Eviction),
}

/// A pod as a reader of logs sees it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its containers, as they change.
    pub runs: watch::Receiver<Runs>,
}

struct Member {
    inbox: Arc<Inbox>,
    version: Version,
    subject: Subject,
    tenant: watch::Receiver<Tenant>,
    failures: u32,
    removed: bool,
}

/// The set of pods.
pub struct Crew {
    host: Arc<Host>,
    members: BTreeMap<String, Member>,
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
    /// The folders of volumes that are being removed, each by the uid of its volume: no more than the leader names.
    removals: JoinSet<String>,
    removing: BTreeSet<String>,
    sender: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<RuntimeEvent>,
}

impl Crew {
    /// Finds the pods of an earlier life of this worker, as they are now.
    pub async fn gather(config: &AgentConfig, runtime: Arc<dyn Runtime>) -> Result<Crew, AgentError> {
        let layout = Layout::with_memory(&config.data_dir, config.memory.as_deref());
        for folder in [layout.kept(), layout.links()].into_iter().chain(layout.kept_secrets()) {
            disk::private_folder(&folder).map_err(AgentError::disk(folder))?;
        }
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        // First listen, then look: what happens in between is told twice rather than never.
        let events = runtime.events();
        let adopted = runtime.adopt().await.map_err(AgentError::Adopt)?;
        let links = Links::load(&layout).map_err(AgentError::disk(layout.links()))?;
        let host = Arc::new(Host {
            runtime,
            outbox: Arc::new(Outbox::default()),
            clock: config.clock,
            machine: node::machine(config),
            layout,
            names: config.names.clone(),
            seccomp_default: config.seccomp_default,
            tokens: Arc::default(),
            api: Arc::default(),
            links,
            transient: config.transient,
            admission: Arc::default(),
        });
        // Until a session tells which one leads.
        if let Some(address) = config.controllers.first() {
            host.api.found(address);
        }
        let (members, tasks, names) = (BTreeMap::new(), JoinSet::new(), HashMap::new());
        let (removals, removing) = (JoinSet::new(), BTreeSet::new());
        let mut crew = Crew { host, members, tasks, names, removals, removing, sender, commands, events };
        let mut kept =
            Kept::load_all(&crew.host.layout).map_err(AgentError::disk(crew.host.layout.kept()))?;
        let mut known: BTreeSet<String> = kept.iter().map(|kept| kept.assignment.uid.clone()).collect();
        for found in adopted.iter().filter(|found| !known.contains(&found.sandbox.uid)) {
            match Kept::from_json(&found.sandbox.blob) {
                Ok(from_shim) => kept.push(from_shim),
                Err(error) if found.estranged.is_some() => {
                    warn!(pod = %found.sandbox.uid, %error, "a pod that this build knows nothing of is left alone");
                }
                Err(error) => {
                    warn!(pod = %found.sandbox.uid, %error, "a pod that nobody can account for is removed");
                    crew.host.runtime.remove_pod(&found.sandbox.uid).await.map_err(AgentError::Adopt)?;
                }
            }
        }
        known.extend(kept.iter().map(|kept| kept.assignment.uid.clone()));
        let left_alone = adopted.iter().filter(|found| found.estranged.is_some());
        known.extend(left_alone.map(|found| found.sandbox.uid.clone()));
        known.extend(Kept::uids(&crew.host.layout).map_err(AgentError::disk(crew.host.layout.kept()))?);
        sweep(&crew.host.layout, &known);
        for kept in kept {
            let found = adopted.iter().find(|found| found.sandbox.uid == kept.assignment.uid);
            crew.take_up(kept, found);
        }
        for namespace in crew.host.links.namespaces() {
            crew.forget_unused(&namespace);
        }
        Ok(crew)
    }

    /// What all pods share.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// For asking the crew.
    pub fn handle(&self) -> mpsc::Sender<Command> {
        self.sender.clone()
    }

    /// Keeps the pods going until `shutdown`; then their drivers end, and their containers go on.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut runtime_lives = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(command) = self.commands.recv() => self.obey(command),
                event = self.events.recv(), if runtime_lives => match event {
                    Some(event) => self.hand_on(event),
                    None => {
                        error!("the runtime tells no more events: restart this worker");
                        runtime_lives = false;
                    }
                },
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                Some(removed) = self.removals.join_next() => match removed {
                    Ok(uid) => {
                        self.removing.remove(&uid);
                    }
                    Err(failure) => error!(%failure, "the removal of a volume's folder failed"),
                },
            }
        }
        self.removals.shutdown().await;
        self.tasks.shutdown().await;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Assign(assignments) => self.assign(assignments),
            Command::Digests(answer) => {
                let members = self.members.iter().filter(|(_, member)| !member.removed);
                let digest = |(uid, member): (&String, &Member)| PodDigest {
                    uid: uid.clone(),
                    revision: member.version.revision,
                    digest: member.version.digest.clone(),
                };
                answer.send(members.map(digest).collect()).ok();
            }
            Command::Subject(uid, answer) => {
                answer.send(self.members.get(&uid).map(|member| member.subject.clone())).ok();
            }
            Command::Tenants(answer) => {
                let members = self.members.values().filter(|member| !member.removed);
                answer.send(members.map(|member| member.tenant.borrow().clone()).collect()).ok();
            }
            Command::Evict(uid, eviction) => {
                if let Some(member) = self.members.get(&uid) {
                    member.inbox.tell(|news| news.evicted = Some(eviction));
                }
            }
            Command::LeaseLost => {
                reached(Mark::LeaseLost);
                for member in self.members.values() {
                    member.inbox.tell(|news| news.lease_lost = true);
                }
            }
        }
    }

    fn assign(&mut self, assignments: Assignments) {
        let Assignments { complete, put, keep, remove, remove_volumes, links } = assignments;
        for of_namespace in links {
            self.host.links.set(of_namespace);
        }
        if complete && planted(Defect::ResyncRestarts) {
            self.kill_all(&keep);
        }
        if complete && !planted(Defect::ResyncKeepsDeleted) {
            let named: BTreeSet<&String> = keep.iter().chain(put.iter().map(|pod| &pod.uid)).collect();
            let rest: Vec<String> = self.members.keys().filter(|uid| !named.contains(uid)).cloned().collect();
            for uid in rest {
                reached(Mark::DeletedWhileAway);
                info!(pod = %uid, "the leader does not know this pod any more");
                self.remove(&uid);
            }
        }
        for uid in remove {
            self.remove(&uid);
        }
        for pod in put {
            self.put(pod);
        }
        for volume in remove_volumes {
            self.remove_volume(volume);
        }
    }

    /// Removes the folder of a volume, and says so once it is gone. Nobody is told who asks while that goes on; who asks later hears it
    /// again.
    fn remove_volume(&mut self, VolumeRemoval { uid, name }: VolumeRemoval) {
        if !self.removing.insert(uid.clone()) {
            return;
        }
        let host = self.host.clone();
        self.removals.spawn(async move {
            loop {
                let (folders, named) = (host.layout.lasting(), name.clone());
                let removed = aside(&host.clock, move || volume::claim::remove(&folders, &named)).await;
                match removed.unwrap_or_else(|failure| Err(failure.to_string())) {
                    Ok(()) => break,
                    Err(error) => warn!(volume = name, error, "the folder of a volume cannot be removed"),
                }
                tokio::time::sleep(REMOVE_AGAIN).await;
            }
            info!(volume = name, "the folder of a volume is gone");
            host.outbox.report(PodReport { uid: uid.clone(), name, gone: true, ..PodReport::default() });
            uid
        });
    }

    /// A planted defect.
    fn kill_all(&self, uids: &[String]) {
        for (uid, member) in self.members.iter().filter(|(uid, _)| uids.contains(uid)) {
            for container in member.subject.runs.borrow().keys().cloned().collect::<Vec<_>>() {
                let (runtime, uid) = (self.host.runtime.clone(), uid.clone());
                tokio::spawn(async move { runtime.signal(&uid, &container, 9).await });
            }
        }
    }

    fn remove(&mut self, uid: &str) {
        if let Some(member) = self.members.get_mut(uid) {
            member.removed = true;
            member.inbox.tell(|news| news.remove = true);
        }
    }

    fn put(&mut self, pod: PodAssignment) {
        let (uid, name, revision) = (pod.uid.clone(), pod.name.clone(), pod.revision);
        if self.members.get(&uid).is_some_and(|member| is_overtaken(revision, member.version.revision)) {
            return;
        }
        let (assignment, pod) = match Assignment::receive(pod) {
            Ok(received) => received,
            Err(error) => return error!(pod = %name, %uid, %error, "an assignment is refused"),
        };
        match self.members.get_mut(&uid) {
            Some(member) if assignment.is_news_after(&member.version) => {
                member.version = assignment.version();
                member.inbox.tell(|news| news.assignment = Some(assignment));
            }
            Some(_) => {}
            None => self.start(Kept::new(assignment), pod, 0),
        }
    }

    fn take_up(&mut self, mut kept: Kept, found: Option<&AdoptedPod>) {
        let assignment = &kept.assignment;
        match Pod::parse(assignment.pod.get().as_bytes()) {
            Ok(pod) => {
                kept.observed.adopt(&pod, found, self.host.clock.now_ms());
                self.start(kept, pod, 0);
            }
            // It was read once, so this is a defect of this build; the leader sends the pod again.
            Err(error) => error!(pod = %assignment.name, %error, "a pod's document cannot be read"),
        }
    }

    fn start(&mut self, kept: Kept, pod: Pod, failures: u32) {
        let inbox = Arc::new(Inbox::default());
        let (sender, runs) = watch::channel(Runs::new());
        let assignment = &kept.assignment;
        let (uid, version) = (assignment.uid.clone(), assignment.version());
        let subject =
            Subject { namespace: assignment.namespace.clone(), name: assignment.name.clone(), runs };
        let removed = kept.removed;
        let (driver, tenant) = Driver::new(self.host.clone(), inbox.clone(), kept, pod, sender);
        let task = self.tasks.spawn(driver.run());
        self.names.insert(task.id(), uid.clone());
        self.members.insert(uid, Member { inbox, version, subject, tenant, failures, removed });
    }

    /// Nothing is remembered of the Services of a namespace that has no pods here.
    fn forget_unused(&self, namespace: &str) {
        if !self.members.values().any(|member| member.subject.namespace == namespace) {
            self.host.links.forget(namespace);
        }
    }

    fn hand_on(&self, event: RuntimeEvent) {
        let (RuntimeEvent::Exited { pod_uid, .. } | RuntimeEvent::PodLost { pod_uid }) = &event;
        let Some(member) = self.members.get(pod_uid) else { return };
        member.inbox.tell(|news| match event {
            RuntimeEvent::Exited { container, attempt, exit, .. } => {
                // Told at least once: an old exit must not hide a newer one.
                if news.exits.get(&container).is_none_or(|(known, _)| *known <= attempt) {
                    news.exits.insert(container, (attempt, exit));
                }
            }
            RuntimeEvent::PodLost { .. } => news.lost = true,
        });
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, failure) = match ended {
            Ok((id, ())) => (id, None),
            Err(failure) => (failure.id(), Some(failure)),
        };
        let Some(uid) = self.names.remove(&id) else { return };
        let Some(member) = self.members.remove(&uid) else { return };
        self.forget_unused(&member.subject.namespace);
        let Some(failure) = failure else { return };
        error!(pod = %uid, %failure, "a pod's driver failed");
        if member.failures >= FAILURES_MAX {
            return;
        }
        // What it knew is on disk.
        let Ok(kept) = Kept::load(&self.host.layout, &uid) else { return };
        if let Ok(pod) = Pod::parse(kept.assignment.pod.get().as_bytes()) {
            self.start(kept, pod, member.failures + 1);
            if member.removed {
                self.remove(&uid);
            }
        }
    }
}
