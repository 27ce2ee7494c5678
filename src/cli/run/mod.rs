//! One process of a real cluster: settings from flags, environment and a file; an identity, kept or newly joined; then
//! the role itself runs until it is told to stop.

mod authentication;
pub(crate) mod controller;
mod departure;
pub(crate) mod enrolment;
mod joining;
pub(crate) mod settings;
pub(crate) mod simulate;
pub(crate) mod span;
pub(crate) mod worker;

use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where a process keeps its certificate and key, in its data directory.
pub(crate) fn identity_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("identity")
}

/// Where a controller keeps the cluster's CA, in its data directory.
pub(crate) fn ca_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("ca")
}

/// Whether a process has an identity already.
pub(crate) fn has_identity(data_dir: &Path) -> bool {
    identity_dir(data_dir).join("identity.pem").exists()
}

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process at once.
pub(super) fn shutdown_signals() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                tracing::warn!("told to stop a second time: ending at once");
                std::process::exit(130);
            }
            tracing::info!("told to stop");
            told.cancel();
        }
    });
    Ok(token)
}
