//! A connection: what the client opens and says, and the way back.

use std::{collections::VecDeque, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::coop::consume_budget,
    time::timeout,
};
use tracing::debug;

use super::{
    frame::{Decoder, Frame, Parts},
    headers::{Deflate, Inflate},
};
use crate::streams::FromClient;

/// How often a silent client is asked whether it is still there; after three times it is not.
const PING: Duration = Duration::from_secs(20);
const PINGS_MAX: u32 = 3;
/// Data of one frame: with the frame's header and that of the WebSocket's message around it 64 KiB, which are four full records of TLS.
/// Clients do most of their work by the frame and by the record.
const CHUNK: usize = (64 << 10) - 12;
/// Bytes of a client that are taken in together, if they are there; the last of them may be more.
const TOGETHER: usize = 32 << 10;
/// The stream is not wanted any more.
const CANCEL: u32 = 5;

/// What a client does.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rest::stream) enum Event {
    /// It opened a stream.
    Opened {
        /// Its number.
        stream: u32,
        /// What it is for.
        headers: Vec<(String, String)>,
    },
    /// It sent something, perhaps nothing but the end.
    Data {
        /// On which stream.
        stream: u32,
        /// What.
        bytes: Bytes,
        /// Nothing follows.
        fin: bool,
    },
    /// It wants no more of a stream.
    Reset {
        /// Of which.
        stream: u32,
    },
}

/// What the client says.
pub(in crate::rest::stream) struct Session {
    input: BoxStream<'static, Bytes>,
    decoder: Decoder,
    inflate: Inflate,
    deflate: Deflate,
    out: Writer,
    /// Those of the last frame.
    events: VecDeque<Event>,
}

impl Session {
    pub(super) fn new(input: BoxStream<'static, Bytes>, out: Writer) -> Self {
        let (decoder, events) = (Decoder::default(), VecDeque::new());
        Self { input, decoder, inflate: Inflate::new(), deflate: Deflate::new(), out, events }
    }

    /// What still comes, when nothing is to be answered any more.
    pub(super) fn into_input(self) -> BoxStream<'static, Bytes> {
        self.input
    }

    /// The way back.
    pub(in crate::rest::stream) fn writer(&self) -> Writer {
        self.out.clone()
    }

    /// What happens next; nothing, when the client is gone or says what means nothing.
    pub(in crate::rest::stream) async fn next(&mut self) -> Option<Event> {
        let mut pings = 0;
        loop {
            if let Err(cause) = self.take_some().await {
                debug!(cause, "a SPDY connection is broken off");
                return None;
            }
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match timeout(PING, self.input.next()).await {
                Ok(bytes) => {
                    self.take_in(&bytes?);
                    pings = 0;
                }
                Err(_) if pings == PINGS_MAX => return None,
                Err(_) => {
                    pings += 1;
                    // Even numbers are the server's.
                    self.out.send(Frame::Ping(pings * 2)).await?;
                }
            }
        }
    }

    /// Takes bytes in, and those that are there already with them: what a client says at once would be handed on in many small pieces
    /// otherwise, as the records of TLS cut it.
    fn take_in(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        let mut count = bytes.len();
        while count < TOGETHER
            && let Some(Some(more)) = self.input.next().now_or_never()
        {
            self.decoder.push(&more);
            count += more.len();
        }
    }

    /// Takes frames that have arrived until one of them is an event. No more is unpacked than is asked for: few bytes may
    /// unpack to many.
    async fn take_some(&mut self) -> Result<(), String> {
        let gone = || "the client is gone".to_owned();
        while self.events.is_empty()
            && let Some(frame) = self.decoder.next().map_err(|malformed| malformed.to_string())?
        {
            // A read may hold very many frames, of kinds that wait for nothing.
            consume_budget().await;
            match frame {
                Frame::Open { stream, fin, block } => {
                    let headers = self.inflate.read(&block).map_err(|malformed| malformed.to_string())?;
                    let reply = Frame::Reply { stream, block: self.deflate.write(&[]) };
                    self.out.send(reply).await.ok_or_else(gone)?;
                    self.events.push_back(Event::Opened { stream, headers });
                    if fin {
                        self.events.push_back(Event::Data { stream, bytes: Bytes::new(), fin });
                    }
                }
                Frame::Headers { block } | Frame::Reply { block, .. } => {
                    self.inflate.read(&block).map_err(|malformed| malformed.to_string())?;
                }
                Frame::Reset { stream, .. } => self.events.push_back(Event::Reset { stream }),
                Frame::Ping(id) if id % 2 == 1 => self.out.send(Frame::Ping(id)).await.ok_or_else(gone)?,
                Frame::Data { stream, fin, bytes } => {
                    // A copy: what waits for a reader must not hold all that has arrived with it.
                    let bytes = Bytes::copy_from_slice(&bytes);
                    self.events.push_back(Event::Data { stream, bytes, fin });
                }
                // The answer to a ping of ours; or that no more streams will come.
                Frame::Ping(_) | Frame::GoAway => {}
            }
        }
        Ok(())
    }
}

/// The way back to the client. Each call waits for room and answers nothing when the client is gone.
#[derive(Clone)]
pub(in crate::rest::stream) struct Writer(pub(super) mpsc::Sender<Parts>);

impl Writer {
    async fn send(&self, frame: Frame) -> Option<()> {
        self.0.send(frame.into_parts()).await.ok()
    }

    /// Hands on what the client said, and waits until there is room for it, or nobody takes it any more. Nothing is read
    /// from the client meanwhile, so it is pinged: to write to one that is gone fails in the end.
    pub(in crate::rest::stream) async fn hand_on(
        &self,
        input: &mpsc::Sender<FromClient>,
        said: FromClient,
    ) -> Option<()> {
        let mut handing = pin!(input.send(said));
        while timeout(PING, &mut handing).await.is_err() {
            // Even numbers are the server's. Frames that wait are written to the client as well as a ping, and must not be waited
            // for: perhaps it reads only when this has been handed on.
            if let Err(TrySendError::Closed(_)) = self.0.try_send(Frame::Ping(2).into_parts()) {
                return None;
            }
        }
        Some(())
    }

    /// Sends data.
    pub(in crate::rest::stream) async fn data(&self, stream: u32, bytes: &Bytes) -> Option<()> {
        for at in (0..bytes.len()).step_by(CHUNK) {
            let bytes = bytes.slice(at..(at + CHUNK).min(bytes.len()));
            self.send(Frame::Data { stream, fin: false, bytes }).await?;
        }
        Some(())
    }

    /// Says that nothing follows on a stream.
    pub(in crate::rest::stream) async fn finish(&self, stream: u32) -> Option<()> {
        self.send(Frame::Data { stream, fin: true, bytes: Bytes::new() }).await
    }

    /// Wants no more of a stream.
    pub(in crate::rest::stream) async fn reset(&self, stream: u32) -> Option<()> {
        self.send(Frame::Reset { stream, status: CANCEL }).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::stream;

    use super::*;

    /// A session in which all of this arrives at once, and what is sent back.
    fn arrived(frames: &[Frame]) -> (Session, mpsc::Receiver<Parts>) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        let input = stream::iter([Bytes::from(bytes)]).boxed();
        let (out, sent) = mpsc::channel(1024);
        (Session::new(input, Writer(out)), sent)
    }

    #[tokio::test]
    async fn no_more_is_unpacked_than_is_asked_for() {
        let mut deflate = Deflate::new();
        let opens = (0..500).map(|id| {
            let block = deflate.write(&[("streamtype", "error")]);
            Frame::Open { stream: 2 * id + 1, fin: true, block }
        });
        let (mut session, replies) = arrived(&opens.collect::<Vec<_>>());
        for stream in [1, 3, 5] {
            assert!(matches!(session.next().await, Some(Event::Opened { stream: is, .. }) if is == stream));
            let end = Event::Data { stream, bytes: Bytes::new(), fin: true };
            assert_eq!(session.next().await, Some(end));
        }
        assert_eq!(replies.len(), 3, "those whose streams nobody has asked for are not unpacked yet");
    }

    #[tokio::test]
    async fn what_waits_for_a_reader_does_not_hold_all_that_came_with_it() {
        let word = Frame::Data { stream: 1, fin: false, bytes: Bytes::from_static(b"word") };
        let (mut session, _replies) = arrived(&[word.clone(), word]);
        let Some(Event::Data { bytes, .. }) = session.next().await else { panic!("data was sent") };
        assert!(bytes.is_unique());
    }
}
