//! The connection to a daemon, and what its refusals mean.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kontiki_proto::cri::image_service_client::ImageServiceClient;
use kontiki_proto::cri::runtime_service_client::RuntimeServiceClient;
use kontiki_proto::cri::{StatusRequest, StatusResponse, VersionRequest, VersionResponse};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::super::RuntimeError;

/// What a call may take, as with the kubelet (`--runtime-request-timeout`).
pub(super) const CALL: Duration = Duration::from_secs(120);
/// What connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// An answer is no larger than this. Commands may say 16 MiB on each of their outputs before a daemon cuts them.
const ANSWER_MAX: usize = 40 << 20;
/// How an address of a daemon begins in settings.
const SCHEME: &str = "cri://";

/// The socket that `cri:///run/containerd/containerd.sock` names. An error says what is wrong with it.
pub fn socket(address: &str) -> Result<PathBuf, String> {
    let path = address.strip_prefix(SCHEME).map(Path::new).filter(|path| path.is_absolute());
    path.map(Path::to_owned).ok_or_else(|| {
        format!("\"{address}\" must be {SCHEME} and an absolute path, such as {SCHEME}/run/containerd/containerd.sock")
    })
}

/// A daemon. Clones share one connection, which is made when it is needed, and again when it broke.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Daemon {
    /// Behind this socket.
    pub(super) fn at(socket: &Path) -> Result<Self, String> {
        let told = |cause: String| format!("the socket {}: {cause}", socket.display());
        let path = socket.to_str().ok_or_else(|| told("its path is no text".to_owned()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}")).map_err(|it| told(it.to_string()))?;
        let channel = endpoint.connect_timeout(CONNECT).connect_lazy();
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        })
    }

    pub(super) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    pub(super) fn images(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }

    /// Who it is.
    pub(super) async fn version(&self) -> Result<VersionResponse, Status> {
        let request = VersionRequest { version: "v1".to_owned() };
        Ok(self.runtime().version(ask(request, CONNECT)).await?.into_inner())
    }

    /// How it is, with all that it tells of its configuration.
    pub(super) async fn status(&self) -> Result<StatusResponse, Status> {
        Ok(self.runtime().status(ask(StatusRequest { verbose: true }, CALL)).await?.into_inner())
    }
}

/// A call that may take so long.
pub(super) fn ask<T>(message: T, time: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

/// Whether the daemon itself was not heard: nothing is known of what was asked for.
pub(super) fn is_unheard(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled) || status.source().is_some()
}

/// What was asked about is not there.
pub(super) fn is_gone(status: &Status) -> bool {
    status.code() == Code::NotFound
}

/// An error of a daemon that was not heard, or one that `refused` makes of its words.
pub(super) fn error(status: &Status, refused: impl FnOnce(String) -> RuntimeError) -> RuntimeError {
    if is_unheard(status) { unheard(status) } else { refused(status.message().to_owned()) }
}

/// The error of a daemon that was not heard.
pub(super) fn unheard(status: &Status) -> RuntimeError {
    RuntimeError::Daemon { cause: causes(status) }
}

/// A refusal in the form in which Kubernetes shows it where it shows it whole.
pub(super) fn in_full(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), causes(status))
}

/// What a status says; tonic's own are only told in full by what is behind them.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_path() {
        assert_eq!(socket("cri:///run/x.sock").unwrap(), Path::new("/run/x.sock"));
        for wrong in ["cri://run/x.sock", "/run/x.sock", "unix:///run/x.sock", "cri://", ""] {
            assert!(socket(wrong).unwrap_err().contains("cri:///run/containerd"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_not_one_that_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let status = Daemon::at(&dir.path().join("none.sock")).unwrap().version().await.unwrap_err();
        assert!(is_unheard(&status), "{status:?}");
        let told = error(&status, RuntimeError::CreateFailed).to_string();
        assert!(told.contains("No such file"), "{told}");
        let refused = Status::unknown("no command specified");
        assert_eq!(error(&refused, RuntimeError::CreateFailed).to_string(), "no command specified");
        assert_eq!(in_full(&refused), "rpc error: code = Unknown desc = no command specified");
    }
}
