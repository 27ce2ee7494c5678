//! What agent and shim say to each other: frames of length, version and a bincode body.
//!
//! A shim outlives the agent that started it and may meet a newer one, so every frame carries the version, and a
//! side that does not know it says so instead of guessing. Bodies are this crate's own closed types.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Launch;
use super::state::PodState;
use crate::runtime::{ExecOutput, Exit, RuntimeError, Started};

/// The version of the frames and their bodies.
pub(crate) const VERSION: u16 = 1;
/// The longest body; the agent's blob is the biggest thing in it.
pub(crate) const FRAME_MAX: usize = 8 << 20;
/// The longest blob.
pub(crate) const BLOB_MAX: usize = 4 << 20;
const HEADER: usize = 6;

/// What an agent asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) call: Call,
}

/// The calls.
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
    StoreBlob(Vec<u8>),
    /// This exit need not be told again.
    Acknowledge {
        container: String,
        attempt: u32,
    },
    /// Kill everything, clean up, end.
    Shutdown,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Answer { id: u64, answer: Result<Answer, RuntimeError> },
    Exited { container: String, attempt: u32, exit: Exit },
}

/// The answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome(Box<PodState>),
    Started { started: Started, warnings: Vec<String> },
    Output(ExecOutput),
    Done,
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("the other side speaks version {0}, this one {VERSION}: restart the pod to update its shim")]
    Version(u16),
    #[error("frame cannot be read: {0}")]
    Body(String),
}

/// One frame as bytes.
pub(crate) fn encode(body: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let config = bincode::config::standard();
    let body =
        bincode::serde::encode_to_vec(body, config).map_err(|source| FrameError::Body(source.to_string()))?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX);
    let length = length.ok_or(FrameError::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Bytes on their way to become frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > FRAME_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let config = bincode::config::standard().with_limit::<{ FRAME_MAX * 4 }>();
        let (body, used) = bincode::serde::decode_from_slice(&self.buffer[HEADER..HEADER + length], config)
            .map_err(|source| FrameError::Body(source.to_string()))?;
        if used != length {
            return Err(FrameError::Body(format!("{} bytes too many", length - used)));
        }
        self.buffer.drain(..HEADER + length);
        if self.buffer.is_empty() {
            self.buffer = Vec::new(); // A big frame must not stay as capacity.
        }
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let frame = encode(&Request { id: 7, call: Call::StoreBlob(vec![1, 2, 3]) }).expect("encodes");
        let mut decoder = Decoder::default();
        for byte in &frame[..frame.len() - 1] {
            decoder.push(&[*byte]);
            assert!(decoder.next::<Request>().expect("no error").is_none());
        }
        decoder.push(&frame[frame.len() - 1..]);
        let request = decoder.next::<Request>().expect("decodes").expect("is whole");
        assert_eq!(request.id, 7);
        assert!(matches!(request.call, Call::StoreBlob(blob) if blob == [1, 2, 3]));
    }

    #[test]
    fn foreign_frames_are_refused() {
        let mut newer = encode(&Request { id: 1, call: Call::Hello }).expect("encodes");
        newer[4] = 9;
        let mut decoder = Decoder::default();
        decoder.push(&newer);
        assert!(matches!(decoder.next::<Request>(), Err(FrameError::Version(9))));

        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 1, 0]);
        assert!(matches!(decoder.next::<Request>(), Err(FrameError::TooLong(_))));
    }
}
