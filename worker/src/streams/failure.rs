//! Why a stream does not come about, in the words that Kubernetes has for it.

use kontiki_proto::worker::StreamFailed;
use kontiki_proto::worker::stream_failed::Cause;
use tonic::{Code, Status};

use crate::runtime::RuntimeError;

/// What the controller is told of an error of the runtime.
pub(super) fn of(error: &RuntimeError) -> StreamFailed {
    match error {
        RuntimeError::PodUnknown(_) => failed(Cause::NotFound, "pod does not exist".to_owned()),
        RuntimeError::ContainerUnknown { container, .. } => {
            failed(Cause::NotFound, format!("container not found ({container:?})"))
        }
        RuntimeError::Invalid(cause) => failed(Cause::Refused, cause.clone()),
        RuntimeError::Connect { port, cause, .. } => failed(
            Cause::Internal,
            format!(
                "failed to connect to localhost:{port} inside the pod: dial tcp4 127.0.0.1:{port}: connect: {cause}"
            ),
        ),
        other => failed(Cause::Internal, other.to_string()),
    }
}

/// What the controller is told that asks for a log.
pub(super) fn of_status(status: &Status) -> StreamFailed {
    let cause = match status.code() {
        Code::NotFound => Cause::NotFound,
        Code::FailedPrecondition | Code::InvalidArgument => Cause::Refused,
        _ => Cause::Internal,
    };
    failed(cause, status.message().to_owned())
}

/// One that is not the runtime's.
pub(super) fn failed(cause: Cause, message: String) -> StreamFailed {
    StreamFailed { cause: cause.into(), message }
}
