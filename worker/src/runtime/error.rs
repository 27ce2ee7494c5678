//! Why a runtime could not do what it was asked, in the words that Kubernetes shows.

/// Why a runtime could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum RuntimeError {
    /// No image of that name is held by this worker.
    #[error("image \"{0}\" is not on this worker: load it with `kontiki image load`")]
    ImageMissing(String),
    /// The image is held but cannot be used.
    #[error("image \"{image}\": {cause}")]
    ImageBroken {
        /// The image.
        image: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The command does not exist, or cannot be executed. The container counts as exited with code 128.
    #[error("{0}")]
    StartFailed(String),
    /// The container could not be made (mounts, cgroups, namespaces).
    #[error("{0}")]
    CreateFailed(String),
    /// A spec that no runtime can honour.
    #[error("{0}")]
    Invalid(String),
    /// The pod was not started, or was removed.
    #[error("pod {0} is not running on this worker: start it first")]
    PodUnknown(String),
    /// The pod has no running container of that name.
    #[error("container \"{container}\" of pod {pod_uid} is not running")]
    ContainerUnknown {
        /// The pod.
        pod_uid: String,
        /// The container's name.
        container: String,
    },
    /// A port of the pod's network did not answer.
    #[error("dial 127.0.0.1:{port} in pod {pod_uid}: {cause}")]
    Connect {
        /// The pod.
        pod_uid: String,
        /// The port.
        port: u16,
        /// Such as `connection refused`.
        cause: String,
    },
    /// The shim could not be started, reached, or understood. Worth another try.
    #[error("shim of pod {pod_uid}: {cause}")]
    Shim {
        /// The pod.
        pod_uid: String,
        /// What failed.
        cause: String,
    },
    /// The shim lives but cannot be spoken to, as one of another build. Never said by a shim.
    #[error("shim of pod {pod_uid} lives but cannot be spoken to: {cause}")]
    Estranged {
        /// The pod.
        pod_uid: String,
        /// Why not.
        cause: String,
    },
    /// The daemon that runs containers was not heard, or not understood. Worth another try. Never said by a shim.
    #[error("the container runtime: {cause}")]
    Daemon {
        /// What failed.
        cause: String,
    },
}

impl RuntimeError {
    /// The word for a container status: `waiting.reason`, or `terminated.reason` for [`Self::StartFailed`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ImageMissing(_) => "ErrImageNeverPull",
            Self::ImageBroken { .. } => "ErrImagePull",
            Self::StartFailed(_) => Self::START_ERROR,
            Self::CreateFailed(_) => "CreateContainerError",
            Self::Invalid(_) => "CreateContainerConfigError",
            Self::PodUnknown(_)
            | Self::ContainerUnknown { .. }
            | Self::Connect { .. }
            | Self::Shim { .. }
            | Self::Estranged { .. }
            | Self::Daemon { .. } => "RunContainerError",
        }
    }

    /// The word for a container that was created but never ran.
    pub const START_ERROR: &str = "StartError";
    /// The exit code of a container that was created but never ran, as container runtimes report it.
    pub const START_ERROR_CODE: i32 = 128;
}
