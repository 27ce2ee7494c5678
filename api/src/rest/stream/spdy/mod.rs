//! SPDY/3.1, as far as Kubernetes' clients speak it: several streams in one connection, which the client opens. Port-forward
//! has it in a WebSocket, clients of before 1.30 in an upgraded connection. There is no flow control in it: `kubectl` does
//! none, so a stream whose other end does not read holds up the others of its connection, as everywhere.
//!
//! After <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod client;
mod frame;
pub(super) mod fuzzing;
mod headers;
mod session;
mod tunnel;
pub(super) mod wire;

pub(super) use session::{Event, Session, Writer};
