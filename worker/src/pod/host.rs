//! What every pod on this worker shares.

use std::sync::Arc;

use super::document::Pod;
use super::env::Machine;
use super::event;
use super::names::ClusterNames;
use crate::agent::admission::Admission;
use crate::agent::api::ApiAddress;
use crate::agent::clock::Clock;
use crate::agent::layout::Layout;
use crate::agent::links::Links;
use crate::agent::outbox::Outbox;
use crate::agent::tokens::Tokens;
use crate::runtime::Runtime;

/// What every pod on this worker shares.
pub struct Host {
    /// Starts and stops containers.
    pub runtime: Arc<dyn Runtime>,
    /// Takes what the leader is to hear.
    pub outbox: Arc<Outbox>,
    /// Tells the time.
    pub clock: Clock,
    /// The worker itself.
    pub machine: Machine,
    /// Where files lie.
    pub layout: Layout,
    /// How names of the cluster are found.
    pub names: ClusterNames,
    /// Containers that do not say which system calls they may make are confined by the runtime's own profile.
    pub seccomp_default: bool,
    /// Gets tokens of pods' accounts.
    pub tokens: Arc<Tokens>,
    /// Where the API is.
    pub api: Arc<ApiAddress>,
    /// The Services that pods are told of.
    pub links: Links,
    /// Nothing that runs here outlives this process.
    pub transient: bool,
    /// Whether pods are taken that come now.
    pub admission: Arc<Admission>,
}

impl Host {
    /// A file of the machine; one that is simulated has none.
    pub(super) fn machine_file(&self, path: &str) -> String {
        match self.clock {
            Clock::Wall => std::fs::read_to_string(path).unwrap_or_default(),
            Clock::Simulated { .. } => String::new(),
        }
    }

    /// Tells an event about a pod or one of its containers.
    pub fn note(&self, pod: &Pod, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.outbox.event(event::note(pod, container, reason, message.into(), self.clock.now_ms()));
    }
}
