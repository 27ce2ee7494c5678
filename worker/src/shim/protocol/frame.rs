//! The frame: a body's length and the version of its encoding, in six bytes that no version changes, so that any two
//! builds can at least tell each other what they speak.

/// The longest body; the agent's blob is the biggest thing in it.
pub(crate) const FRAME_MAX: usize = 8 << 20;
const HEADER: usize = 6;

/// Why a frame cannot be read or written. Nothing after it can be read either.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("frame cannot be read: {0}")]
    Body(String),
}

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    /// How its body is encoded.
    pub(crate) version: u16,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// As it is sent.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, FrameError> {
        let length = u32::try_from(self.body.len()).ok().filter(|_| self.body.len() <= FRAME_MAX);
        let length = length.ok_or(FrameError::TooLong(self.body.len()))?;
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }
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
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let version = u16::from_le_bytes([header[4], header[5]]);
        if length > FRAME_MAX {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let body = self.buffer[HEADER..HEADER + length].to_vec();
        self.buffer.drain(..HEADER + length);
        if self.buffer.is_empty() {
            self.buffer = Vec::new(); // A big frame must not stay as capacity.
        }
        Ok(Some(Frame { version, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let bytes = Frame { version: 9, body: vec![1, 2, 3] }.to_bytes().expect("is short");
        let mut decoder = Decoder::default();
        for byte in &bytes[..bytes.len() - 1] {
            decoder.push(&[*byte]);
            assert!(decoder.next().expect("no error").is_none());
        }
        decoder.push(&bytes[bytes.len() - 1..]);
        let frame = decoder.next().expect("can be read").expect("is whole");
        assert_eq!((frame.version, frame.body.as_slice()), (9, &[1, 2, 3][..]));
    }

    #[test]
    fn a_length_that_nobody_means_ends_the_connection() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 1, 0]);
        assert!(matches!(decoder.next(), Err(FrameError::TooLong(_))));
    }
}
