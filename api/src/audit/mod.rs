//! Audit: who asked for what, when, and what came of it, as events of audit.k8s.io/v1.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>
//!
//! ```text
//!   request -> policy.rs: is it told, and how much of it -> record.rs: what is found out while it is served
//!           -> Sink: one JSON line for each stage
//! ```
//!
//! A request is never refused or held up because it cannot be told: see [`Sink`]. Without audit nothing of this costs anything.

mod event;
mod policy;
mod record;

use std::sync::Arc;

pub use policy::{Level, Policy, Stage, Unusable};
pub(crate) use record::{Asked, Record};

/// Where events go.
pub trait Sink: Send + Sync + 'static {
    /// Takes a line of JSON, with its end. Does not wait: what there is no room for is dropped and counted.
    fn take(&self, line: Vec<u8>);

    /// How many lines were written, and how many dropped.
    fn counts(&self) -> (u64, u64);
}

/// What is audited, and where it goes.
#[derive(Clone)]
pub struct Audit {
    /// What.
    pub policy: Arc<Policy>,
    /// Where.
    pub sink: Arc<dyn Sink>,
}

impl Audit {
    /// How it stands, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let (written, dropped) = self.sink.counts();
        format!(
            "# HELP kontiki_audit_events audit events that were written.\n# TYPE kontiki_audit_events counter\n\
             kontiki_audit_events_total {written}\n\
             # HELP kontiki_audit_dropped audit events that were lost: too many at once, or the disk took none.\n\
             # TYPE kontiki_audit_dropped counter\nkontiki_audit_dropped_total {dropped}\n"
        )
    }
}
