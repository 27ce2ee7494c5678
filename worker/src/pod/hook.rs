//! The hooks of a container: postStart and preStop. They run beside the driver, which goes on deciding meanwhile.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::document::{Container, Handler};
use super::driver::Driver;
use crate::probe::check::{self, Action};

/// A postStart hook that takes longer counts as failed: Kubernetes would wait for ever.
const POST_START_MAX: Duration = Duration::from_secs(600);

impl Driver {
    /// Runs the preStop hook; the container is asked to end when it is over, or at the deadline.
    pub(super) fn pre_stop(&mut self, name: &str, now_ms: i64) {
        self.stopping(name, |stopping| stopping.hook_begun = true);
        let pod = self.pod.clone();
        let Some(container) = pod.container(name).cloned() else { return };
        let by_ms = self.seen().record(name).stopping.as_ref().map_or(now_ms, |stopping| stopping.by_ms);
        let time = self.host.clock.until(by_ms);
        let (host, inbox, owned) = (self.host.clone(), self.inbox.clone(), name.to_owned());
        let hook = tokio::spawn(async move {
            if let Some(handler) = &container.lifecycle.pre_stop {
                let done = perform(&host, &pod.metadata.uid, &container, handler, time).await;
                if let Err(message) = done {
                    host.note(
                        &pod,
                        Some(&container.name),
                        "FailedPreStopHook",
                        format!("PreStopHook failed: {message}"),
                    );
                }
            }
            inbox.tell(|news| {
                news.hooks_over.insert(container.name.clone());
            });
        });
        self.hooks.insert(owned, AbortOnDropHandle::new(hook));
    }

    /// Runs the postStart hook of a container that was just started.
    pub(super) fn post_start(&mut self, container: &Container, attempt: u32) {
        let Some(handler) = container.lifecycle.post_start.clone() else { return };
        let (host, inbox, pod, container) =
            (self.host.clone(), self.inbox.clone(), self.pod.clone(), container.clone());
        let name = container.name.clone();
        let hook = tokio::spawn(async move {
            let done = perform(&host, &pod.metadata.uid, &container, &handler, POST_START_MAX).await;
            if let Err(message) = done {
                host.note(
                    &pod,
                    Some(&container.name),
                    "FailedPostStartHook",
                    format!("PostStartHook failed: {message}"),
                );
                inbox.tell(|news| {
                    news.hooks_failed.insert(container.name.clone(), attempt);
                });
            }
        });
        self.hooks.insert(name, AbortOnDropHandle::new(hook));
    }
}

async fn perform(
    host: &super::host::Host,
    uid: &str,
    container: &Container,
    handler: &Handler,
    time: Duration,
) -> Result<(), String> {
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds).min(time)).await;
        return Ok(());
    }
    let action = if let Some(exec) = &handler.exec {
        Action::Exec(&exec.command)
    } else if let Some(http) = &handler.http_get {
        Action::Http(http)
    } else if let Some(tcp) = &handler.tcp_socket {
        Action::Tcp(&tcp.port)
    } else {
        return Ok(());
    };
    check::perform(&*host.runtime, uid, container, action, time).await.map_err(|error| error.to_string())
}
