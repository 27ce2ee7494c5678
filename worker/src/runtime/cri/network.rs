//! The way into a pod's network: a thread enters it for the moment that it takes to make a socket there, which is connected from
//! outside. Where that network is, daemons tell in what they say at length of a sandbox.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::Deserialize;
use tokio::net::{TcpSocket, TcpStream};

use super::super::RuntimeError;

/// The network of a pod.
#[derive(Clone, Debug)]
pub(super) enum Network {
    /// That of the machine.
    Machine,
    /// One of its own, held by this.
    Own(Arc<OwnedFd>),
    /// It cannot be found, for this reason.
    Unknown(String),
}

/// What containerd and CRI-O tell of a sandbox in `info`, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    pid: Option<u32>,
    runtime_spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: PathBuf,
}

impl Network {
    /// The one that a daemon tells of.
    pub(super) fn of(host_network: bool, info: Option<&String>) -> Self {
        if host_network {
            return Self::Machine;
        }
        let found = info.ok_or_else(|| "the container runtime does not tell where it is".to_owned());
        match found.and_then(|info| path(info)).and_then(|path| {
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|source| format!("{}: {source}", path.display()))
        }) {
            Ok(handle) => Self::Own(Arc::new(handle)),
            Err(cause) => Self::Unknown(cause),
        }
    }

    /// Connects to a port of its loopback.
    pub(super) async fn dial(
        &self,
        pod_uid: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<TcpStream, RuntimeError> {
        let unreachable = |cause: String| RuntimeError::Daemon {
            cause: format!("the network of pod {pod_uid} cannot be entered: {cause}"),
        };
        let socket = match self {
            Self::Machine => TcpSocket::new_v4().map_err(|source| unreachable(source.to_string()))?,
            Self::Unknown(cause) => return Err(unreachable(cause.clone())),
            Self::Own(network) => {
                let network = Arc::clone(network);
                // A thread of its own, for it stays in that network.
                let made = tokio::task::spawn_blocking(move || {
                    std::thread::spawn(move || socket_in(&network))
                        .join()
                        .map_err(|_| "a thread failed".to_owned())?
                });
                let made = made.await.map_err(|failure| unreachable(failure.to_string()))?;
                TcpSocket::from_std_stream(made.map_err(unreachable)?.into())
            }
        };
        let dialing = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let timed_out = |_| Err(std::io::Error::from(ErrorKind::TimedOut));
        tokio::time::timeout(timeout, dialing).await.unwrap_or_else(timed_out).map_err(|source| {
            let cause = match source.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::TimedOut => "i/o timeout".to_owned(),
                _ => source.to_string(),
            };
            RuntimeError::Connect { pod_uid: pod_uid.to_owned(), port, cause }
        })
    }
}

fn socket_in(network: &OwnedFd) -> Result<OwnedFd, String> {
    nix::sched::setns(network, CloneFlags::CLONE_NEWNET).map_err(|source| source.to_string())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).map_err(|source| source.to_string())
}

/// Where the network is: the place that keeps it, or that of a process in it.
fn path(info: &str) -> Result<PathBuf, String> {
    let info: Info =
        serde_json::from_str(info).map_err(|cause| format!("it is told of in no form: {cause}"))?;
    let namespaces = info.runtime_spec.and_then(|spec| spec.linux).map(|linux| linux.namespaces);
    let kept = namespaces.unwrap_or_default().into_iter().find(|it| it.kind == "network");
    let kept = kept.map(|it| it.path).filter(|path| !path.as_os_str().is_empty());
    let of_process = || info.pid.filter(|pid| *pid > 0).map(|pid| format!("/proc/{pid}/ns/net").into());
    kept.or_else(of_process).ok_or_else(|| "the container runtime does not tell where it is".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_network_is_where_it_is_kept_or_where_its_process_is() {
        let kept = r#"{"pid":7,"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"},
            {"type":"network","path":"/run/netns/cni-1"}]}}}"#;
        assert_eq!(path(kept).unwrap(), PathBuf::from("/run/netns/cni-1"));
        let process = r#"{"pid":7,"runtimeSpec":{"linux":{"namespaces":[{"type":"network"}]}}}"#;
        assert_eq!(path(process).unwrap(), PathBuf::from("/proc/7/ns/net"));
        assert!(path("{}").is_err() && path("no").is_err());
        assert!(matches!(Network::of(false, None), Network::Unknown(_)));
        assert!(matches!(Network::of(true, None), Network::Machine));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_as_that() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let told = Network::Machine.dial("u-1", free, Duration::MAX).await.unwrap_err();
        assert_eq!(told.to_string(), format!("dial 127.0.0.1:{free} in pod u-1: connection refused"));
    }
}
