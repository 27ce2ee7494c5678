//! Whether a worker is told to stop because its machine goes down: then its pods are to be ended, while they run on where only the
//! worker is started again.

use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use kontiki_worker::agent::{Departure, ShutdownGrace};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What systemd says of itself while it stops everything.
const STOPPING: &[u8] = b"stopping";
/// How long its answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);

/// The time that pods get when the machine goes down; none if they get none.
pub(super) fn grace(all: Duration, critical: Duration) -> anyhow::Result<Option<ShutdownGrace>> {
    if critical > all {
        bail!(
            "--shutdown-grace-period-critical-pods is a part of --shutdown-grace-period, and cannot be longer: {critical:?} of {all:?}"
        );
    }
    Ok((!all.is_zero()).then_some(ShutdownGrace { all, critical }))
}

/// Listens for the machine's end: SIGPWR says so, and `stopped` where systemd says that it stops the machine. Answers the token by which
/// the worker is to be stopped otherwise.
pub(super) fn listen(
    stopped: CancellationToken,
    grace: ShutdownGrace,
) -> anyhow::Result<(CancellationToken, Departure)> {
    let shutdown = CancellationToken::new();
    let departure = Departure { going_down: CancellationToken::new(), grace };
    let mut power = signal(SignalKind::from_raw(rustix::process::Signal::POWER.as_raw()))?;
    let (ends, goes_down) = (shutdown.clone(), departure.going_down.clone());
    tokio::spawn(async move {
        tokio::select! {
            _ = power.recv() => goes_down.cancel(),
            () = stopped.cancelled() => match machine_stops().await {
                true => goes_down.cancel(),
                false => ends.cancel(),
            },
        }
        // Whoever asks again while pods are being ended ends the process: see `shutdown_signals`.
    });
    Ok((shutdown, departure))
}

/// Whether systemd is stopping the machine. Without systemd nobody says so.
async fn machine_stops() -> bool {
    let ask = || Command::new("systemctl").arg("is-system-running").output();
    let answer = tokio::time::timeout(ANSWER, tokio::task::spawn_blocking(ask)).await;
    matches!(answer, Ok(Ok(Ok(output))) if output.stdout.trim_ascii() == STOPPING)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIME: ShutdownGrace =
        ShutdownGrace { all: Duration::from_secs(30), critical: Duration::from_secs(10) };

    #[test]
    fn critical_pods_have_a_part_of_the_time() {
        assert_eq!(grace(Duration::ZERO, Duration::ZERO).unwrap(), None);
        assert_eq!(grace(TIME.all, TIME.critical).unwrap(), Some(TIME));
        let refused = grace(TIME.critical, TIME.all).unwrap_err().to_string();
        assert!(refused.contains("--shutdown-grace-period-critical-pods is a part"), "{refused}");
    }

    #[tokio::test]
    async fn a_failing_power_supply_is_the_machines_end_and_another_stop_is_not() {
        let stopped = CancellationToken::new();
        let (shutdown, departure) = listen(stopped.clone(), TIME).unwrap();
        stopped.cancel();
        shutdown.cancelled().await;
        assert!(!departure.going_down.is_cancelled(), "this machine runs on");

        let (shutdown, departure) = listen(CancellationToken::new(), TIME).unwrap();
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::POWER).unwrap();
        departure.going_down.cancelled().await;
        assert!(!shutdown.is_cancelled(), "it ends itself when its pods have");
    }
}
