//! See [`crate::fuzzing`].

use super::{
    frame::{Decoder, Frame},
    headers::{Deflate, Inflate},
};

/// What was read of a client's side of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Frames {
    /// Each frame in words, data of one stream put together.
    pub read: Vec<String>,
    /// Why nothing more was read, if that was so.
    pub refused: Option<String>,
}

/// Reads what arrives in these pieces.
pub fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Frames {
    let (mut decoder, mut inflate) = (Decoder::default(), Inflate::new());
    let (mut read, mut data) = (Vec::new(), None::<(u32, Vec<u8>)>);
    let mut refused = None;
    'all: for piece in pieces {
        decoder.push(piece);
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(malformed) => {
                    refused = Some(malformed.to_string());
                    break 'all;
                }
            };
            if let Frame::Data { stream, fin, bytes } = &frame {
                match &mut data {
                    Some((of, before)) if of == stream => before.extend_from_slice(bytes),
                    _ => {
                        read.extend(data.take().map(|data| format!("{data:?}")));
                        data = Some((*stream, bytes.to_vec()));
                    }
                }
                if *fin {
                    read.extend(data.take().map(|data| format!("{data:?}, its end")));
                }
                continue;
            }
            read.extend(data.take().map(|data| format!("{data:?}")));
            match &frame {
                Frame::Open { block, .. } | Frame::Headers { block } | Frame::Reply { block, .. } => {
                    match inflate.read(block) {
                        Ok(pairs) => read.push(format!("{pairs:?}")),
                        Err(malformed) => {
                            refused = Some(malformed.to_string());
                            break 'all;
                        }
                    }
                }
                frame => read.push(format!("{frame:?}")),
            }
        }
    }
    read.extend(data.map(|data| format!("{data:?}")));
    Frames { read, refused }
}

/// The frames that open streams with these names and values, on a connection on which nothing was said before.
pub fn blocks(streams: &[(u32, &[(&str, &str)])]) -> Vec<u8> {
    let mut deflate = Deflate::new();
    let mut out = Vec::new();
    for (stream, pairs) in streams {
        let open = Frame::Open { stream: *stream, fin: false, block: deflate.write(pairs) };
        out.extend_from_slice(&open.to_bytes());
    }
    out
}
