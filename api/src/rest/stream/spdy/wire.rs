//! What a SPDY connection goes through.

use std::{future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::debug;

use super::{
    frame::Parts,
    session::{Session, Writer},
    tunnel::{self, Opener, Said},
};

/// Frames that may wait to be sent.
const FRAMES_MAX: usize = 4;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Bytes that are read at a time.
const CHUNK: usize = 32 << 10;

/// What a client says through a WebSocket.
struct Incoming<R> {
    read: R,
    opener: Opener,
    /// What it wants back that it has asked for last.
    asked: watch::Sender<Bytes>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The next bytes, and how it goes on.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            match self.opener.next() {
                Ok(Some(Said::Bytes(bytes))) => return Some((bytes, self)),
                Ok(Some(Said::Ping(bytes))) => drop(self.asked.send_replace(bytes)),
                Ok(Some(Said::Close)) => return None,
                Err(malformed) => {
                    debug!(%malformed, "a WebSocket is broken off");
                    return None;
                }
                Ok(None) => {
                    self.opener.buffer.reserve(CHUNK);
                    let count = self.read.read_buf(&mut self.opener.buffer).await.ok()?;
                    if count == 0 {
                        return None;
                    }
                }
            }
        }
    }
}

/// What the client wants back; never, once it says nothing more.
async fn asked_for(pings: &mut Option<watch::Receiver<Bytes>>) -> Bytes {
    if let Some(asked) = pings {
        if asked.changed().await.is_ok() {
            return asked.borrow_and_update().clone();
        }
        *pings = None;
    }
    std::future::pending().await
}

/// Both directions of a connection.
pub(in crate::rest::stream) struct Wire {
    input: BoxStream<'static, Bytes>,
    writer: Writer,
    /// Sends what is written; over when nobody writes any more, or when the client is gone.
    sending: BoxFuture<'static, ()>,
}

impl Wire {
    /// Through a WebSocket, whose bytes these are.
    pub(in crate::rest::stream) fn of_websocket(
        connection: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> Wire {
        let (read, mut write) = tokio::io::split(connection);
        let (writer, mut frames) = mpsc::channel::<Parts>(FRAMES_MAX);
        // The last ping is the one that counts.
        let (asked, pings) = watch::channel(Bytes::new());
        let sending = async move {
            let mut pings = Some(pings);
            loop {
                let sent = tokio::select! {
                    frame = frames.recv() => match frame {
                        Some(frame) => write.write_all_buf(&mut tunnel::message(frame)).await,
                        None => break,
                    },
                    ping = asked_for(&mut pings) => write.write_all_buf(&mut tunnel::pong(&ping)).await,
                };
                if sent.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            if write.write_all(&tunnel::close()).await.is_ok() {
                write.shutdown().await.ok();
            }
        };
        let incoming = Incoming { read, opener: Opener::default(), asked };
        Wire::new(stream::unfold(incoming, Incoming::next), writer, sending)
    }

    /// Through a connection of its own.
    pub(in crate::rest::stream) fn of_connection(
        connection: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> Wire {
        let (read, mut write) = tokio::io::split(connection);
        let (writer, mut frames) = mpsc::channel::<Parts>(FRAMES_MAX);
        let sending = async move {
            while let Some(mut frame) = frames.recv().await {
                if write.write_all_buf(&mut frame).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
            write.shutdown().await.ok();
        };
        let input = stream::unfold((read, vec![0; CHUNK]), async |(mut read, mut buffer)| {
            let count = read.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            Some((Bytes::copy_from_slice(&buffer[..count]), (read, buffer)))
        });
        Wire::new(input, writer, sending)
    }

    fn new(
        input: impl Stream<Item = Bytes> + Send + 'static,
        writer: mpsc::Sender<Parts>,
        sending: impl Future<Output = ()> + Send + 'static,
    ) -> Wire {
        // Its end is heard twice: by the session, and by who waits for the last words.
        Wire { input: input.fuse().boxed(), writer: Writer(writer), sending: sending.boxed() }
    }

    /// Serves the connection until either side has enough. What the client still says then is read, or its system would
    /// throw away the last words before it has read them.
    pub(in crate::rest::stream) async fn serve<F: Future<Output = Session>>(
        self,
        serve: impl FnOnce(Session) -> F,
    ) {
        let mut sending = pin!(self.sending);
        let served = serve(Session::new(self.input, self.writer));
        tokio::select! {
            session = served => {
                let mut input = session.into_input();
                let hearing = async { while input.next().await.is_some() {} };
                let farewell = async { tokio::join!(sending, hearing) };
                timeout(FAREWELL, farewell).await.ok();
            }
            () = &mut sending => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rest::stream::spdy::Event;

    /// A frame as clients send it, masked with zeros.
    fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[0x80 | kind, 0x80 | bytes.len() as u8, 0, 0, 0, 0], bytes].concat()
    }

    #[tokio::test]
    async fn a_connection_goes_through_a_websocket_however_its_messages_are_cut() {
        const BINARY: u8 = 2;
        let (near, mut far) = tokio::io::duplex(4096);
        let served = tokio::spawn(Wire::of_websocket(near).serve(async |mut session: Session| {
            while let Some(event) = session.next().await {
                let Event::Data { stream, bytes, .. } = event else { panic!("{event:?}") };
                session.writer().data(stream, &bytes).await.unwrap();
            }
            session
        }));
        // A frame of SPDY in two messages, the second of which is cut as well, with a ping in between.
        let data = b"\0\0\0\x03\0\0\0\x05hello";
        let (first, second) = data.split_at(6);
        far.write_all(&framed(BINARY, first)).await.unwrap();
        far.write_all(&framed(9, b"?")).await.unwrap();
        let second = framed(BINARY, second);
        far.write_all(&second[..8]).await.unwrap();
        let mut pong = [0; 3];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, b'?']);
        far.write_all(&second[8..]).await.unwrap();
        // What has come is handed on at once, so that it comes back in pieces.
        let mut words = Vec::new();
        while words.len() < 5 {
            let mut head = [0; 2 + 8];
            far.read_exact(&mut head).await.unwrap();
            assert_eq!((head[0], head[5]), (0x82, 3), "a message, with data of the stream");
            let mut rest = vec![0; usize::from(head[1]) - 8];
            far.read_exact(&mut rest).await.unwrap();
            words.extend_from_slice(&rest);
        }
        assert_eq!(words, b"hello");
        // Good-bye, from both.
        far.write_all(&framed(8, &[])).await.unwrap();
        let mut last = Vec::new();
        far.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, [0x88, 0]);
        drop(far);
        served.await.unwrap();
    }
}
