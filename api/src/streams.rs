//! Streams into pods, as the API and the controller that it runs in hand them to each other.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

/// What of a process is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StdStreams {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// What it says of errors.
    pub stderr: bool,
    /// One terminal for all three.
    pub tty: bool,
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamTo {
    /// To a command that is started in a running container.
    Exec {
        /// The container.
        container: String,
        /// The command and its arguments.
        command: Vec<String>,
        /// What of it is wanted.
        streams: StdStreams,
    },
    /// To the process of a running container.
    Attach {
        /// The container.
        container: String,
        /// What of it is wanted.
        streams: StdStreams,
    },
    /// To a TCP port of the pod.
    Port(u16),
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// Input of a process, or what goes to a port.
    Data(Bytes),
    /// There is no more.
    Eof,
    /// The size of the client's terminal, in characters.
    Resize {
        /// Its width.
        columns: u16,
        /// Its height.
        rows: u16,
    },
}

/// What comes out of a pod. Nothing follows the last two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPod {
    /// Output of a process, or what comes from a port.
    Stdout(Bytes),
    /// What a process says of errors.
    Stderr(Bytes),
    /// The process ended with this code; a port has nothing more.
    Exited(i32),
    /// The stream broke.
    Failed(String),
}

/// A stream, open. Dropping it closes it. Each end waits for the other: nothing is collected in between.
pub struct PodStream {
    /// Takes what the client says.
    pub input: mpsc::Sender<FromClient>,
    /// Gives what the client hears.
    pub output: BoxStream<'static, FromPod>,
}

/// Why a stream is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such container now.
    #[error("{0}")]
    NotFound(String),
    /// It is not in a state for that.
    #[error("{0}")]
    Refused(String),
    /// There are as many streams as may be.
    #[error("{0}")]
    Busy(String),
    /// The worker cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The worker tried and failed, as with a command that is not there.
    #[error("{0}")]
    Failed(String),
}
