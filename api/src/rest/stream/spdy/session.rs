//! A connection: what the client opens and says, and the way back.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use tokio::{sync::mpsc, time::timeout};
use tracing::debug;

use super::{
    frame::{Decoder, Frame},
    headers::{Deflate, Inflate},
};

/// How often a silent client is asked whether it is still there; after three times it is not.
const PING: Duration = Duration::from_secs(20);
const PINGS_MAX: u32 = 3;
/// Data of one frame.
const CHUNK: usize = 32 << 10;
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
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match timeout(PING, self.input.next()).await {
                Ok(bytes) => {
                    self.decoder.push(&bytes?);
                    pings = 0;
                }
                Err(_) if pings == PINGS_MAX => return None,
                Err(_) => {
                    pings += 1;
                    // Even numbers are the server's.
                    self.out.send(&Frame::Ping(pings * 2)).await?;
                }
            }
            if let Err(cause) = self.take_all().await {
                debug!(cause, "a SPDY connection is broken off");
                return None;
            }
        }
    }

    async fn take_all(&mut self) -> Result<(), String> {
        let gone = || "the client is gone".to_owned();
        while let Some(frame) = self.decoder.next().map_err(|malformed| malformed.to_string())? {
            match frame {
                Frame::Open { stream, fin, block } => {
                    let headers = self.inflate.read(&block).map_err(|malformed| malformed.to_string())?;
                    let reply = Frame::Reply { stream, block: self.deflate.write(&[]) };
                    self.out.send(&reply).await.ok_or_else(gone)?;
                    self.events.push_back(Event::Opened { stream, headers });
                    if fin {
                        self.events.push_back(Event::Data { stream, bytes: Bytes::new(), fin });
                    }
                }
                Frame::Headers { block } | Frame::Reply { block, .. } => {
                    self.inflate.read(&block).map_err(|malformed| malformed.to_string())?;
                }
                Frame::Reset { stream, .. } => self.events.push_back(Event::Reset { stream }),
                Frame::Ping(id) if id % 2 == 1 => self.out.send(&Frame::Ping(id)).await.ok_or_else(gone)?,
                Frame::Data { stream, fin, bytes } => {
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
pub(in crate::rest::stream) struct Writer(pub(super) mpsc::Sender<Bytes>);

impl Writer {
    async fn send(&self, frame: &Frame) -> Option<()> {
        self.0.send(frame.to_bytes()).await.ok()
    }

    /// Sends data.
    pub(in crate::rest::stream) async fn data(&self, stream: u32, bytes: &Bytes) -> Option<()> {
        for at in (0..bytes.len()).step_by(CHUNK) {
            let bytes = bytes.slice(at..(at + CHUNK).min(bytes.len()));
            self.send(&Frame::Data { stream, fin: false, bytes }).await?;
        }
        Some(())
    }

    /// Says that nothing follows on a stream.
    pub(in crate::rest::stream) async fn finish(&self, stream: u32) -> Option<()> {
        self.send(&Frame::Data { stream, fin: true, bytes: Bytes::new() }).await
    }

    /// Wants no more of a stream.
    pub(in crate::rest::stream) async fn reset(&self, stream: u32) -> Option<()> {
        self.send(&Frame::Reset { stream, status: CANCEL }).await
    }
}
