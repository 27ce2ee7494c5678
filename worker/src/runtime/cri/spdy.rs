//! A client's side of SPDY/3.1, as far as streaming servers of daemons speak it: a few streams in one connection, each for one
//! descriptor of a process. The server's side of the same is in the API (`api/src/rest/stream/spdy`).
//!
//! Names of streams are sent uncompressed in a compressed form, which needs no compressor; nothing of what the server says in that
//! form matters here.
//! After <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest control frame. Those of daemons are empty.
const CONTROL_MAX: usize = 64 << 10;
/// Data of one frame, and what is given at once of a longer one.
pub(super) const DATA_MAX: usize = 32 << 10;
const HEADER: usize = 8;
const CONTROL: u32 = 1 << 31;
const VERSION: u32 = 3 << 16;
const FIN: u8 = 1;

const SYN_STREAM: u32 = 1;
const RST_STREAM: u32 = 3;
const PING: u32 = 6;
const GOAWAY: u32 = 7;

/// A compression that begins with the words that both sides know (their checksum), and compresses nothing.
const BEGINNING: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
/// What comes before it is complete.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// What comes from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something on a stream, or that nothing follows.
    Data { stream: u32, fin: bool, bytes: Bytes },
    /// It wants no more of a stream.
    Reset { stream: u32 },
    /// It asks whether we are there.
    Ping(u32),
    /// It is about to hang up.
    GoAway,
}

/// Bytes on their way to be understood. It holds no more than one control frame and what was pushed last.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    data: Option<Rest>,
}

/// What is still to come of a frame with data.
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

    /// What has arrived next. Data is given as it comes, its end with the last of it. An error is the end of all.
    pub(super) fn next(&mut self) -> Result<Option<Said>, String> {
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
            if length > CONTROL_MAX {
                return Err(format!("a control frame of {length} bytes"));
            }
            if self.buffer.len() < HEADER + length {
                return Ok(None);
            }
            self.buffer.advance(HEADER);
            let mut body = self.buffer.split_to(length);
            let number = body.try_get_u32().unwrap_or_default();
            match word & 0xffff {
                RST_STREAM => return Ok(Some(Said::Reset { stream: number })),
                PING => return Ok(Some(Said::Ping(number))),
                GOAWAY => return Ok(Some(Said::GoAway)),
                // Replies, settings, window sizes: nobody here goes by them.
                _ => {}
            }
        }
    }

    fn more(&mut self, mut rest: Rest) -> Option<Said> {
        let count = rest.left.min(self.buffer.len()).min(DATA_MAX);
        let stream = rest.stream;
        if count == 0 && rest.left > 0 {
            self.data = Some(rest);
            return None;
        }
        let bytes = self.buffer.split_to(count).freeze();
        rest.left -= count;
        let fin = rest.fin && rest.left == 0;
        if rest.left > 0 {
            self.data = Some(rest);
        }
        Some(Said::Data { stream, fin, bytes })
    }
}

/// Writes frames, in their order.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    begun: bool,
}

impl Encoder {
    /// Opens a stream of this type.
    pub(super) fn open(&mut self, stream: u32, kind: &str) -> Bytes {
        let mut pairs = BytesMut::new();
        pairs.put_u32(1);
        for text in ["streamtype", kind] {
            put_text(&mut pairs, text);
        }
        let mut block = BytesMut::new();
        if !std::mem::replace(&mut self.begun, true) {
            block.put_slice(&BEGINNING);
        }
        let length = u16::try_from(pairs.len()).unwrap_or(u16::MAX);
        block.put_u8(0);
        block.put_u16_le(length);
        block.put_u16_le(!length);
        block.put_slice(&pairs);
        block.put_slice(&FLUSH);
        let mut frame = control(SYN_STREAM, 10 + block.len());
        frame.put_u32(stream);
        // With no other stream, at the highest priority.
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&block);
        frame.freeze()
    }
}

/// Data, or the end of it.
pub(super) fn data(stream: u32, fin: bool, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + bytes.len());
    frame.put_u32(stream);
    let length = u32::try_from(bytes.len()).unwrap_or_default() & 0x00ff_ffff;
    frame.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | length);
    frame.put_slice(bytes);
    frame.freeze()
}

/// The answer to a ping.
pub(super) fn pong(id: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(id);
    frame.freeze()
}

fn control(kind: u32, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEADER + length);
    frame.put_u32(CONTROL | VERSION | kind);
    frame.put_u32(u32::try_from(length).unwrap_or_default() & 0x00ff_ffff);
    frame
}

fn put_text(into: &mut BytesMut, text: &str) {
    into.put_u32(u32::try_from(text.len()).unwrap_or_default());
    into.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_stream_is_opened_in_words_that_any_server_can_unpack() {
        let mut encoder = Encoder::default();
        let frame = encoder.open(1, "error");
        assert_eq!(frame[..8], [0x80, 3, 0, 1, 0, 0, 0, 53]);
        assert_eq!(frame[8..18], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        let block = &frame[18..];
        assert_eq!(block[..6], BEGINNING);
        // One stored piece, and an empty one.
        assert_eq!(block[6..11], [0, 27, 0, 255 - 27, 255]);
        assert_eq!(block[11..38], *b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05error");
        assert!(block.ends_with(&FLUSH));
        let next = encoder.open(3, "stdin");
        assert_eq!(next[18], 0, "the compression begins once");
    }

    #[test]
    fn what_comes_is_understood_however_it_is_cut() {
        let mut bytes = Vec::new();
        // A reply to the first stream, of which nothing matters.
        bytes.extend([0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4]);
        bytes.extend(data(1, false, b"hello"));
        bytes.extend(data(1, true, b""));
        bytes.extend(pong(2));
        bytes.extend([0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 1]);
        bytes.extend([0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0]);
        for size in [1, 3, 1000] {
            let (mut decoder, mut said) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(one) = decoder.next().unwrap() {
                    said.push(one);
                }
            }
            let text: Vec<u8> = said
                .iter()
                .filter_map(|it| match it {
                    Said::Data { stream: 1, bytes, .. } => Some(bytes.to_vec()),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(text, b"hello");
            let ends = said.iter().filter(|it| matches!(it, Said::Data { fin: true, .. })).count();
            assert_eq!((ends, said.last()), (1, Some(&Said::GoAway)));
            assert!(said.contains(&Said::Ping(2)) && said.contains(&Said::Reset { stream: 5 }));
        }
    }

    #[test]
    fn a_long_control_frame_is_refused_before_it_has_come() {
        let mut decoder = Decoder::default();
        decoder.push(&[0x80, 3, 0, 2, 0, 0xff, 0xff, 0xff]);
        assert!(decoder.next().is_err());
    }
}
