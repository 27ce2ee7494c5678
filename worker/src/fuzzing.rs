//! For the package `kontiki-fuzz` only: ways to readers of what others send that have no other public one. Each takes any bytes.

use crate::image::Reference;
use crate::shim::protocol::frame::{Decoder, Frame};
use crate::shim::protocol::{Message, Request};

/// Reads what an agent and what a shim says, as it arrives in these pieces. Tells each in words, and why nothing more was read.
pub fn shim<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut read = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    read.push(format!("{:?} {:?}", Request::decode(&frame), Message::decode(&frame)))
                }
                Ok(None) => break,
                Err(error) => {
                    read.push(error.to_string());
                    return read;
                }
            }
        }
    }
    read
}

/// What is read of a body in either encoding, written and read again: both readings, in words, of the agent's side and of the shim's.
pub fn shim_again(version: u16, body: &[u8]) -> Vec<(String, String)> {
    let frame = Frame { version, body: body.to_vec() };
    let again = |bytes: Vec<u8>| {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.next().ok().flatten()
    };
    let mut read = Vec::new();
    if let Ok(request) = Request::decode(&frame)
        && let Ok(bytes) = request.encode(version)
    {
        let again = again(bytes).map(|frame| Request::decode(&frame));
        read.push((format!("{:?}", Some(Ok::<_, ()>(&request))), format!("{again:?}")));
    }
    if let Ok(Some(message)) = Message::decode(&frame)
        && let Ok(bytes) = message.encode(version)
    {
        let again = again(bytes).map(|frame| Message::decode(&frame));
        read.push((format!("{:?}", Some(Ok::<_, ()>(Some(&message)))), format!("{again:?}")));
    }
    read
}

/// Takes an image's name apart and puts it together.
pub fn reference(name: &str) -> Option<String> {
    Some(Reference::parse(name).ok()?.to_string())
}
