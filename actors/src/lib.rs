//! The pure crate: what the cluster is and how it reacts.
//!
//! ```text
//!   Input --decide--> [ turn: actors in kinds/, placement in scheduling/ ] --> changes, outcome     (leader only)
//!   Entry = inputs + changes --fold--> State (objects, indexes, wake-ups), events for watchers      (every controller)
//! ```
//!
//! No I/O, no clock, no randomness of its own: time and ids come in with the input. No tokio, actix, tonic or rocksdb:
//! the manifest enforces it. Kubernetes' wire formats, defaulting and validation are not here but in `api/`.

pub(crate) mod addresses;
pub mod candidates;
pub mod change;
pub mod codec;
pub mod entry;
pub mod flow;
pub mod input;
pub mod kind;
pub mod kinds;
pub mod level;
pub(crate) mod limits;
pub(crate) mod node_ports;
pub mod object;
pub mod pod_security;
pub mod quantity;
pub(crate) mod quota;
pub mod rbac;
pub mod scheduling;
pub(crate) mod service_accounts;
pub mod state;
pub mod turn;

pub use change::{Change, Event};
pub use entry::{Entry, Turned};
pub use input::{Input, Outcome, Rejection, Request, RequestId};
pub use kind::{KINDS, Kind, KindInfo, UnknownKind};
pub use level::LEVEL;
pub use object::{DefinitionDigest, Document, Object, ObjectKey, Uid};
pub use state::{Foreseen, State};
pub use turn::{Context, Decision, decide};
