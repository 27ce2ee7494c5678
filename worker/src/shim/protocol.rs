//! What agent and shim say to each other: calls, answers and news, each the body of a [`frame`].
//!
//! A shim outlives the agent that started it and may meet one of another build. So each side speaks two versions, its
//! own and the one before, and a shim answers in the version in which it was asked. Bodies of version 2 are JSON, to
//! which fields and calls are added without a new version (docs/adr/0010):
//! - a field that is added has a default; a side that does not know it leaves it out or passes over it;
//! - a call, an answer or an error that is not known is answered with an error, or taken for one;
//! - what an old shim must not pass over in silence comes as a call of its own, which it refuses.
//!
//! Version 1 is bincode of types that stand still: whoever changes one keeps a copy of it for that version. It goes
//! when version 3 comes.

pub(crate) mod frame;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
pub(crate) mod v1;

#[cfg(test)]
pub(crate) use tests::golden_v1;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::Launch;
use super::state::PodState;
use crate::runtime::{ExecOutput, Exit, RuntimeError, Started, StdStreams, octets};
use frame::{FRAME_MAX, Frame, FrameError};

/// The version that this build speaks by itself.
pub(crate) const VERSION: u16 = 2;
/// The version before, which it understands too.
pub(crate) const PREVIOUS: u16 = 1;
/// The longest blob.
pub(crate) const BLOB_MAX: usize = 4 << 20;

/// What an agent asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) call: Call,
}

/// The calls. Version 1 knows them by their order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Subscribes to exits and asks for everything.
    Hello,
    StartContainer(Box<Launch>),
    Signal {
        container: String,
        signal: i32,
    },
    Exec {
        container: String,
        command: Vec<String>,
        timeout_ms: u64,
    },
    /// An unconnected TCP socket of the pod's network, sent beside the answer.
    Socket,
    StoreBlob(#[serde(with = "octets")] Vec<u8>),
    /// This exit need not be told again.
    Acknowledge {
        container: String,
        attempt: u32,
    },
    /// Kill everything, clean up, end.
    Shutdown,
    /// Streams of a process. The descriptors come beside the answer, [`Answer::Opened`]; on the same connection
    /// [`Answer::Ended`] follows. It carries nothing else. Not in version 1.
    Open(Box<Opening>),
    /// The same as `StartContainer`, of a container with bounds that nobody may pass over.
    StartConfined(Box<Launch>),
    /// The same, of a container that is to see the processes of another one, `spec.process_target`.
    StartBeside(Box<Launch>),
    /// The same as all of these, of an image in layers: who knows it knows them, too.
    StartLayered(Box<Launch>),
}

/// Whose streams are to be opened, and which.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) container: String,
    /// What to run; the container's own process if nothing.
    #[serde(default)]
    pub(crate) command: Option<Vec<String>>,
    pub(crate) streams: StdStreams,
}

/// Which descriptors come, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Opened {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) terminal: bool,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Answer { id: u64, answer: Result<Answer, RuntimeError> },
    Exited { container: String, attempt: u32, exit: Exit },
}

/// The answers. Version 1 knows them by their order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome(Box<PodState>),
    Started {
        started: Started,
        warnings: Vec<String>,
    },
    Output(ExecOutput),
    Done,
    Opened(Opened),
    /// The process whose streams were opened ended.
    Ended {
        code: i32,
    },
}

/// Why the body of a frame is not understood. The next frame may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misread {
    #[error(
        "the other side speaks version {0} of the shim's protocol, and this build {PREVIOUS} to {VERSION}"
    )]
    Version(u16),
    #[error("{cause}")]
    Body {
        /// The request's number, if that at least could be read.
        id: Option<u64>,
        cause: String,
    },
}

impl Request {
    /// The frame that carries it, as bytes.
    pub(crate) fn encode(&self, version: u16) -> Result<Vec<u8>, FrameError> {
        encode(version, self)
    }

    /// Reads one of either version.
    pub(crate) fn decode(frame: &Frame) -> Result<Self, Misread> {
        #[derive(Deserialize)]
        struct Numbered {
            id: u64,
        }
        decode(frame).map_err(|misread| match (misread, serde_json::from_slice(&frame.body)) {
            (Misread::Body { cause, .. }, Ok(Numbered { id })) => Misread::Body { id: Some(id), cause },
            (misread, _) => misread,
        })
    }
}

impl Message {
    /// The frame that carries it, as bytes.
    pub(crate) fn encode(&self, version: u16) -> Result<Vec<u8>, FrameError> {
        encode(version, self)
    }

    /// Reads one of either version. An answer that is not understood is an error to whoever asked; news that is not
    /// understood is none.
    pub(crate) fn decode(frame: &Frame) -> Result<Option<Self>, Misread> {
        #[derive(Deserialize)]
        enum Numbered {
            Answer { id: u64 },
        }
        let cause = match decode(frame) {
            Ok(message) => return Ok(Some(message)),
            Err(Misread::Body { cause, .. }) if frame.version == VERSION => cause,
            Err(misread) => return Err(misread),
        };
        if let Ok(Numbered::Answer { id }) = serde_json::from_slice(&frame.body) {
            let said = String::from_utf8_lossy(&frame.body[..frame.body.len().min(QUOTE_MAX)]);
            let cause = format!("its answer is not understood: {cause}: {said}");
            let error = RuntimeError::Shim { pod_uid: String::new(), cause };
            return Ok(Some(Self::Answer { id, answer: Err(error) }));
        }
        match serde_json::from_slice::<IgnoredAny>(&frame.body) {
            Ok(_) => Ok(None),
            Err(_) => Err(Misread::Body { id: None, cause }),
        }
    }
}

/// What an error quotes of an answer that is not understood.
const QUOTE_MAX: usize = 256;

fn encode(version: u16, body: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = match version {
        PREVIOUS => bincode::serde::encode_to_vec(body, bincode::config::standard())
            .map_err(|source| FrameError::Body(source.to_string())),
        _ => serde_json::to_vec(body).map_err(|source| FrameError::Body(source.to_string())),
    };
    Frame { version, body: body? }.to_bytes()
}

fn decode<T: DeserializeOwned>(Frame { version, body }: &Frame) -> Result<T, Misread> {
    let misread = |cause: String| Misread::Body { id: None, cause };
    match *version {
        VERSION => serde_json::from_slice(body).map_err(|source| misread(source.to_string())),
        PREVIOUS => {
            let config = bincode::config::standard().with_limit::<{ FRAME_MAX * 4 }>();
            let (value, used) = bincode::serde::decode_from_slice(body, config)
                .map_err(|source| misread(source.to_string()))?;
            match body.len() - used {
                0 => Ok(value),
                more => Err(misread(format!("{more} bytes too many"))),
            }
        }
        other => Err(Misread::Version(other)),
    }
}
