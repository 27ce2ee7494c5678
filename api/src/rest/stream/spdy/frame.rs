//! Frames, from bytes and to bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Chain};

/// The longest control frame. Those of Kubernetes have a few names in them.
const CONTROL_MAX: usize = 64 << 10;
/// Data that is given at once: what waits for a reader is counted in pieces, so that none may be long.
const DATA_MAX: usize = 32 << 10;
const VERSION: u16 = 3;
const HEADER: usize = 8;
const CONTROL: u32 = 1 << 31;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// One frame, or a part of one that carries data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Opens a stream.
    Open {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    /// Accepts one.
    Reply {
        stream: u32,
        block: Bytes,
    },
    /// More names and values. Only what they do to the compression matters here.
    Headers {
        block: Bytes,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    /// No more streams.
    GoAway,
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
}

/// A frame as it is sent: its head, and the data behind it, which is not copied for that.
pub(super) type Parts = Chain<Bytes, Bytes>;

/// Why bytes are no frames. Nothing after them can be read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a frame of version {0}")]
    Version(u16),
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    #[error("a frame of kind {0} that is too short")]
    TooShort(u16),
}

/// Bytes on their way to become frames. It holds no more than one control frame and what was pushed last.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// What is still to come of a frame with data.
    data: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that has arrived. Data is given as it comes, in pieces of no more than [`DATA_MAX`], its end with the
    /// last of it.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        loop {
            if let Some(rest) = self.data.take() {
                return Ok(self.more(rest));
            }
            let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
            let (mut first, mut second) = (&header[..4], &header[4..]);
            let (word, second) = (first.get_u32(), second.get_u32());
            let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
            if word & CONTROL == 0 {
                self.buffer.advance(HEADER);
                self.data = Some(Rest { stream: word, fin: flags & FIN != 0, left: length });
                continue;
            }
            let (version, kind) = ((word >> 16) as u16 & 0x7fff, (word & 0xffff) as u16);
            if version != VERSION {
                return Err(Malformed::Version(version));
            }
            if length > CONTROL_MAX {
                return Err(Malformed::TooLong(length));
            }
            if self.buffer.len() < HEADER + length {
                return Ok(None);
            }
            self.buffer.advance(HEADER);
            let body = self.buffer.split_to(length).freeze();
            if let Some(frame) = control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn more(&mut self, mut rest: Rest) -> Option<Frame> {
        let count = rest.left.min(self.buffer.len()).min(DATA_MAX);
        if count == 0 && rest.left > 0 {
            self.data = Some(rest);
            return None;
        }
        let bytes = self.buffer.split_to(count).freeze();
        rest.left -= count;
        let (stream, fin) = (rest.stream, rest.fin && rest.left == 0);
        if rest.left > 0 {
            self.data = Some(rest);
        }
        Some(Frame::Data { stream, fin, bytes })
    }
}

/// A control frame; nothing, if it is of a kind that means nothing here (settings, windows).
fn control(kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, Malformed> {
    let needs = |length: usize| match body.len() < length {
        true => Err(Malformed::TooShort(kind)),
        false => Ok(()),
    };
    match kind {
        SYN_STREAM => {
            needs(10)?;
            let stream = body.get_u32() & !CONTROL;
            // The stream that it belongs to, its priority and its slot.
            body.advance(6);
            Ok(Some(Frame::Open { stream, fin: flags & FIN != 0, block: body }))
        }
        SYN_REPLY | HEADERS => {
            needs(4)?;
            body.advance(4);
            Ok(Some(Frame::Headers { block: body }))
        }
        RST_STREAM => {
            needs(8)?;
            Ok(Some(Frame::Reset { stream: body.get_u32() & !CONTROL, status: body.get_u32() }))
        }
        PING => {
            needs(4)?;
            Ok(Some(Frame::Ping(body.get_u32())))
        }
        GOAWAY => Ok(Some(Frame::GoAway)),
        _ => Ok(None),
    }
}

impl Frame {
    /// As it is sent, like [`Frame::to_bytes`].
    pub(super) fn into_parts(self) -> Parts {
        match self {
            Frame::Data { stream, fin, bytes } => {
                let mut head = BytesMut::with_capacity(HEADER);
                put_data_head(&mut head, stream, fin, bytes.len());
                head.freeze().chain(bytes)
            }
            other => other.to_bytes().chain(Bytes::new()),
        }
    }

    /// As it is sent. A block or data that is longer than a frame can be is cut: who sends them sees to it.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        let mut control = |kind: u16, flags: u8, body: &[&[u8]]| {
            let length: usize = body.iter().map(|part| part.len()).sum();
            out.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
            out.put_u32(u32::from(flags) << 24 | (length as u32 & 0x00ff_ffff));
            body.iter().for_each(|part| out.put_slice(part));
        };
        match self {
            Frame::Open { stream, fin, block } => {
                control(SYN_STREAM, u8::from(*fin), &[&stream.to_be_bytes(), &[0; 6], block]);
            }
            Frame::Reply { stream, block } => control(SYN_REPLY, 0, &[&stream.to_be_bytes(), block]),
            Frame::Headers { block } => control(HEADERS, 0, &[&[0; 4], block]),
            Frame::Reset { stream, status } => {
                control(RST_STREAM, 0, &[&stream.to_be_bytes(), &status.to_be_bytes()]);
            }
            Frame::Ping(id) => control(PING, 0, &[&id.to_be_bytes()]),
            Frame::GoAway => control(GOAWAY, 0, &[&[0; 8]]),
            Frame::Data { stream, fin, bytes } => {
                put_data_head(&mut out, *stream, *fin, bytes.len());
                out.put_slice(bytes);
            }
        }
        out.freeze()
    }
}

fn put_data_head(out: &mut BytesMut, stream: u32, fin: bool, length: usize) {
    out.put_u32(stream & !CONTROL);
    out.put_u32(u32::from(fin) << 24 | (length as u32 & 0x00ff_ffff));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let stream = || 0..0x7fff_ffff_u32;
        let frame = prop_oneof![
            (stream(), any::<bool>(), bytes()).prop_map(|(stream, fin, block)| Frame::Open {
                stream,
                fin,
                block
            }),
            (stream(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
            bytes().prop_map(|block| Frame::Headers { block }),
            any::<u32>().prop_map(Frame::Ping),
            Just(Frame::GoAway),
            (stream(), any::<bool>(), bytes()).prop_map(|(stream, fin, bytes)| Frame::Data {
                stream,
                fin,
                bytes
            }),
        ];
        proptest::collection::vec(frame, 0..12)
    }

    /// What was pushed in these pieces, data of one frame put together again.
    fn decoded(pieces: &[&[u8]]) -> Result<Vec<Frame>, Malformed> {
        let (mut decoder, mut frames, mut open) = (Decoder::default(), Vec::<Frame>::new(), false);
        for piece in pieces {
            decoder.push(piece);
            while let Some(frame) = decoder.next()? {
                let whole = decoder.data.is_none();
                match (frame, frames.last_mut()) {
                    (Frame::Data { fin, bytes, .. }, Some(Frame::Data { fin: ends, bytes: before, .. }))
                        if open =>
                    {
                        *before = [before.as_ref(), bytes.as_ref()].concat().into();
                        *ends = fin;
                    }
                    (frame, _) => frames.push(frame),
                }
                open = !whole;
            }
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(frames in frames(), cut in 1..64_usize) {
            let sent: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
            let parts = frames.iter().map(|frame| frame.clone().into_parts());
            prop_assert_eq!(&parts.flat_map(|mut parts| parts.copy_to_bytes(parts.remaining())).collect::<Vec<u8>>(), &sent);
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            prop_assert_eq!(decoded(&pieces).unwrap(), frames);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096), cut in 1..512_usize) {
            let mut decoder = Decoder::default();
            let mut given = 0;
            'all: for piece in bytes.chunks(cut) {
                decoder.push(piece);
                loop {
                    match decoder.next() {
                        Ok(Some(Frame::Data { bytes, .. })) => given += bytes.len(),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(decoder.buffer.len() <= HEADER + CONTROL_MAX + cut);
            }
            prop_assert!(given <= bytes.len());
        }
    }

    #[test]
    fn long_data_is_given_in_pieces() {
        let sent = Frame::Data { stream: 1, fin: true, bytes: vec![7; 2 * DATA_MAX + 1].into() };
        let mut decoder = Decoder::default();
        decoder.push(&sent.to_bytes());
        let mut pieces = Vec::new();
        while let Some(Frame::Data { fin, bytes, .. }) = decoder.next().unwrap() {
            pieces.push((bytes.len(), fin));
        }
        assert_eq!(pieces, [(DATA_MAX, false), (DATA_MAX, false), (1, true)]);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let frame = |word: u32, second: u32| [word.to_be_bytes(), second.to_be_bytes()].concat();
        assert_eq!(decoded(&[&frame(0x8002_0001, 10)]), Err(Malformed::Version(2)));
        assert_eq!(decoded(&[&frame(0x8003_0001, 0x00ff_ffff)]), Err(Malformed::TooLong(0x00ff_ffff)));
        assert_eq!(decoded(&[&frame(0x8003_0006, 0)]), Err(Malformed::TooShort(PING)));
        // Settings and windows mean nothing here.
        assert_eq!(decoded(&[&frame(0x8003_0004, 0), &frame(0x8003_0009, 0)]), Ok(Vec::new()));
    }
}
