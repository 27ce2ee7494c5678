//! A connection inside of a WebSocket (RFC 6455): its bytes are the messages of the client, put one behind the other. Where a message or a
//! frame of one begins means nothing, so none is put together before it is handed on, and none is copied to be sent.

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Chain};

/// What of a frame comes before its data, at most.
const HEAD_MAX: usize = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest frame of those that are no data.
const CONTROL_MAX: u64 = 125;
/// What has come of a frame is handed on in pieces of this length at most.
const PIECE_MAX: usize = 64 << 10;

/// What the client's WebSocket says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Bytes of the connection.
    Bytes(Bytes),
    /// It wants these back.
    Ping(Bytes),
    /// Nothing follows.
    Close,
}

/// Why bytes are no WebSocket's. Nothing after them can be read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a frame that is not masked")]
    Unmasked,
    #[error("a frame with bits of an extension that was not agreed on")]
    Extended,
    #[error("a frame of kind {0}")]
    Kind(u8),
    #[error("a frame of kind {0} that is too long or in parts")]
    Control(u8),
}

/// Bytes on their way out of frames. It holds no more than was pushed last, and one short frame.
#[derive(Debug, Default)]
pub(super) struct Opener {
    pub(super) buffer: BytesMut,
    /// What is still to come of a frame.
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    kind: u8,
    left: u64,
    mask: [u8; 4],
}

impl Opener {
    /// What has arrived next; nothing that is empty.
    pub(super) fn next(&mut self) -> Result<Option<Said>, Malformed> {
        loop {
            let rest = match self.rest.take() {
                Some(rest) => rest,
                None => match self.head()? {
                    Some(rest) => rest,
                    None => return Ok(None),
                },
            };
            let is_data = rest.kind < CLOSE;
            let here = usize::try_from(rest.left).unwrap_or(usize::MAX).min(self.buffer.len()).min(PIECE_MAX);
            if rest.left > 0 && (here == 0 || (!is_data && (here as u64) < rest.left)) {
                self.rest = Some(rest);
                return Ok(None);
            }
            let mut piece = self.buffer.split_to(here);
            unmask(&mut piece, rest.mask);
            let left = rest.left - here as u64;
            if left > 0 {
                let mut mask = rest.mask;
                mask.rotate_left(here % 4);
                self.rest = Some(Rest { left, mask, ..rest });
            }
            match rest.kind {
                CLOSE => return Ok(Some(Said::Close)),
                // A copy: it must not hold all that came with it.
                PING => return Ok(Some(Said::Ping(Bytes::copy_from_slice(&piece)))),
                PONG => {}
                _ if piece.is_empty() => {}
                _ => return Ok(Some(Said::Bytes(piece.freeze()))),
            }
        }
    }

    /// The next frame's beginning, if it is there.
    fn head(&mut self) -> Result<Option<Rest>, Malformed> {
        let [first, second, more @ ..] = &self.buffer[..] else { return Ok(None) };
        let (kind, fin, short) = (first & 0x0f, first & FIN != 0, u64::from(second & !MASKED));
        if first & 0x70 != 0 {
            return Err(Malformed::Extended);
        }
        if second & MASKED == 0 {
            return Err(Malformed::Unmasked);
        }
        if !matches!(kind, 0..=BINARY | CLOSE..=PONG) {
            return Err(Malformed::Kind(kind));
        }
        if kind >= CLOSE && (!fin || short > CONTROL_MAX) {
            return Err(Malformed::Control(kind));
        }
        let mut more: &[u8] = more;
        let left = match short {
            126 => more.try_get_u16().map(u64::from),
            127 => more.try_get_u64(),
            short => Ok(short),
        };
        let Ok(left) = left else { return Ok(None) };
        let Some(mask) = more.first_chunk::<4>().copied() else { return Ok(None) };
        let head = self.buffer.len() - more.len() + mask.len();
        self.buffer.advance(head);
        Ok(Some(Rest { kind, left, mask }))
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let (words, tail) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    tail.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// As one message to the client.
pub(super) fn message(bytes: Chain<Bytes, Bytes>) -> Chain<Bytes, Chain<Bytes, Bytes>> {
    head(BINARY, bytes.remaining()).freeze().chain(bytes)
}

/// The answer to a ping.
pub(super) fn pong(bytes: &[u8]) -> Bytes {
    let mut frame = head(PONG, bytes.len());
    frame.put_slice(bytes);
    frame.freeze()
}

/// Good-bye.
pub(super) fn close() -> Bytes {
    head(CLOSE, 0).freeze()
}

fn head(kind: u8, length: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(HEAD_MAX);
    head.put_u8(FIN | kind);
    match length {
        0..126 => head.put_u8(length as u8),
        126..0x1_0000 => {
            head.put_u8(126);
            head.put_u16(length as u16);
        }
        _ => {
            head.put_u8(127);
            head.put_u64(length as u64);
        }
    }
    head
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A frame as clients send it.
    fn frame(first: u8, bytes: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = head(0, bytes.len()).to_vec();
        frame[0] = first;
        frame[1] |= MASKED;
        frame.extend_from_slice(&mask);
        let at = frame.len();
        frame.extend_from_slice(bytes);
        unmask(&mut frame[at..], mask);
        frame
    }

    /// What was said in these pieces, bytes put together.
    fn opened<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Vec<Said>), Malformed> {
        let (mut opener, mut bytes, mut others) = (Opener::default(), Vec::new(), Vec::new());
        for piece in pieces {
            opener.buffer.extend_from_slice(piece);
            while let Some(said) = opener.next()? {
                match said {
                    Said::Bytes(more) => bytes.extend_from_slice(&more),
                    other => others.push(other),
                }
            }
        }
        Ok((bytes, others))
    }

    proptest! {
        #[test]
        fn the_bytes_of_messages_come_out_however_these_are_cut(
            parts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..700), any::<[u8; 4]>()), 0..8),
            cut in 1..400_usize,
        ) {
            let sent: Vec<u8> = parts.iter().flat_map(|(part, mask)| {
                // Each with a ping in between, as is allowed.
                [frame(BINARY, part, *mask), frame(FIN | PING, b"?", *mask)].concat()
            }).collect();
            let (bytes, others) = opened(sent.chunks(cut)).unwrap();
            prop_assert_eq!(bytes, parts.iter().flat_map(|(part, _)| part.clone()).collect::<Vec<_>>());
            prop_assert_eq!(others, parts.iter().map(|_| Said::Ping(Bytes::from_static(b"?"))).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096), cut in 1..512_usize) {
            let mut opener = Opener::default();
            'all: for piece in bytes.chunks(cut) {
                opener.buffer.extend_from_slice(piece);
                loop {
                    match opener.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(opener.buffer.len() <= CONTROL_MAX as usize + 2 * HEAD_MAX);
            }
        }
    }

    #[test]
    fn long_messages_are_read_as_they_come() {
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n / 3) as u8).collect();
        let framed = frame(FIN | BINARY, &sent, [1, 2, 3, 4]);
        assert_eq!(opened(framed.chunks(70_001)).unwrap().0, sent);
        let mut opener = Opener::default();
        opener.buffer.extend_from_slice(&framed[..100]);
        assert!(matches!(opener.next(), Ok(Some(Said::Bytes(_)))), "the rest is not waited for");
    }

    #[test]
    fn what_is_no_clients_frame_is_refused() {
        let mask = [7; 4];
        let mut plain = frame(FIN | BINARY, b"x", mask);
        plain[1] &= !MASKED;
        for (frame, why) in [
            (plain, Malformed::Unmasked),
            (frame(FIN | 0x40 | BINARY, b"x", mask), Malformed::Extended),
            (frame(FIN | 3, b"x", mask), Malformed::Kind(3)),
            (frame(PING, b"x", mask), Malformed::Control(PING)),
            (frame(FIN | CLOSE, &[0; 126], mask), Malformed::Control(CLOSE)),
        ] {
            assert_eq!(opened([&frame[..]]).unwrap_err(), why);
        }
        let end = frame(FIN | CLOSE, &[3, 232], mask);
        assert_eq!(opened([&end[..]]).unwrap().1, [Said::Close]);
    }

    #[test]
    fn what_is_sent_has_the_shortest_head() {
        for (length, head) in [(5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let bytes = Bytes::from(vec![1; length - 1]);
            let sent = message(Bytes::from_static(b"\0").chain(bytes));
            assert_eq!(sent.remaining(), head + length);
        }
        assert_eq!(pong(b"?"), [FIN | PONG, 1, b'?'][..]);
        assert_eq!(close(), [FIN | CLOSE, 0][..]);
    }
}
