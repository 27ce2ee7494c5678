//! Work on files that may take a while, aside from the agent's tasks. A simulation has one thread and does it at once.

use super::clock::Clock;

/// Does the work; the error is a panic in it.
pub(crate) async fn aside<T: Send + 'static>(
    clock: &Clock,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    match clock {
        Clock::Wall => tokio::task::spawn_blocking(work).await,
        Clock::Simulated { .. } => {
            // Others get their turn, as they do while work is done aside.
            tokio::task::yield_now().await;
            Ok(work())
        }
    }
}
