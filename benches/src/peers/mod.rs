//! Who is measured: Kontiki, and others that keep the same promise, each as real processes on loopback with fsync and TLS, with their
//! data on the same disk.

mod consensus;
#[cfg(feature = "etcd")]
mod etcd;
mod kontiki;
mod process;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(crate) use self::{
    consensus::Consensus,
    kontiki::{Crowd, Kontiki},
    process::Process,
};

/// Connections to a store, spread over its members; the first is to the leader. Clients share them.
///
/// A thousand clients that each have a connection of their own would measure TLS handshakes and the kernel. kubectl and the Go client
/// share one HTTP/2 connection per process, and so does gRPC, so this is a few processes with many requests at once.
pub(crate) const CONNECTIONS: usize = 24;
/// The size of a value.
pub(crate) const VALUE: usize = 1024;

/// A replicated store of values, asked over the network.
pub(crate) trait Store: Send + Sync {
    /// Its name and version.
    fn name(&self) -> String;

    /// Its processes.
    fn servers(&self) -> &[i32];

    /// Creates a value of [`VALUE`] bytes under a name that was never used; it is durable on a majority when this resolves.
    fn create(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>>;

    /// Reads a value that is there, as of now: nothing that was acknowledged before the question may be missing in the answer.
    fn read(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>>;
}

/// What Kontiki is measured beside: etcd, unless this program was built without it or it is not wanted.
pub(crate) async fn etcd(wanted: bool) -> anyhow::Result<Option<Arc<dyn Store>>> {
    #[cfg(feature = "etcd")]
    if wanted {
        return Ok(Some(Arc::new(etcd::Etcd::start().await?)));
    }
    #[cfg(not(feature = "etcd"))]
    if wanted {
        anyhow::bail!("built without etcd: use `make bench`, build with --features etcd, or say --alone");
    }
    Ok(None)
}
