//! The actors: one file or folder per kind. An actor's `reconcile` looks at its object and at what it depends on, and
//! brings the state nearer to what the object asks for; it acts on the turn only. Not for placement (`scheduling/`)
//! and not for what every kind goes through alike, such as deletion and garbage collection (`turn/`).

pub mod admission_policy;
pub mod autoscaler;
mod claim;
pub mod cluster_role;
mod condition;
pub mod cron_job;
pub mod daemon_set;
pub mod definition;
pub mod deployment;
pub mod disruption_budget;
pub mod endpoints;
pub mod event;
pub mod flow_schema;
mod gather;
mod history;
pub mod job;
pub mod namespace;
pub mod node;
mod order;
pub mod pod;
pub mod replica_set;
pub mod resource_quota;
mod scaled;
pub mod service_cidr;
pub mod stateful_set;
pub mod storage;
