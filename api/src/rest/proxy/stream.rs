//! A stream to a port of a pod as something that is read and written.

use std::{
    io::{Error, ErrorKind, Result},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc::{OwnedPermit, Sender, error::SendError},
};

use crate::streams::{FromClient, FromPod, PodStream};

/// Bytes of one message to a pod.
const PIECE: usize = 64 << 10;

/// A connection to a port. Who does not read it holds up the port, and nothing is collected; dropping it closes the port's side.
pub(super) struct Connection {
    output: BoxStream<'static, FromPod>,
    unread: Bytes,
    ended: bool,
    input: Input,
}

enum Input {
    Free(Sender<FromClient>),
    /// For room.
    Waiting(BoxFuture<'static, std::result::Result<OwnedPermit<FromClient>, SendError<()>>>),
    /// The port takes no more: why is told by the other direction.
    Closed,
}

impl Connection {
    pub(super) fn new(PodStream { input, output }: PodStream) -> Connection {
        Connection { output, unread: Bytes::new(), ended: false, input: Input::Free(input) }
    }

    /// Says something as soon as there is room for it; `false` if nobody hears it any more.
    fn poll_say(&mut self, cx: &mut Context<'_>, what: impl FnOnce() -> FromClient) -> Poll<bool> {
        loop {
            self.input = match std::mem::replace(&mut self.input, Input::Closed) {
                Input::Free(sender) => Input::Waiting(sender.reserve_owned().boxed()),
                Input::Waiting(mut room) => match room.poll_unpin(cx) {
                    Poll::Pending => {
                        self.input = Input::Waiting(room);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(permit)) => {
                        self.input = Input::Free(permit.send(what()));
                        return Poll::Ready(true);
                    }
                    Poll::Ready(Err(_)) => Input::Closed,
                },
                Input::Closed => return Poll::Ready(false),
            };
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while self.unread.is_empty() && !self.ended {
            match ready!(self.output.poll_next_unpin(cx)) {
                Some(FromPod::Stdout(bytes) | FromPod::Stderr(bytes)) => self.unread = bytes,
                Some(FromPod::Exited(_)) => self.ended = true,
                // What came so far is not all: it must not pass for an end.
                Some(FromPod::Failed(cause)) => return Poll::Ready(Err(Error::other(cause))),
                None => {
                    let cause = "the worker broke the connection off";
                    return Poll::Ready(Err(Error::new(ErrorKind::UnexpectedEof, cause)));
                }
            }
        }
        let count = self.unread.len().min(into.remaining());
        into.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        ready!(self.poll_say(cx, || FromClient::Data(Bytes::copy_from_slice(piece))));
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if ready!(self.poll_say(cx, || FromClient::Eof)) {
            self.input = Input::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::stream;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::mpsc,
    };

    use super::*;

    fn that_says(said: Vec<FromPod>) -> (Connection, mpsc::Receiver<FromClient>) {
        let (input, heard) = mpsc::channel(1);
        (Connection::new(PodStream { input, output: stream::iter(said).boxed() }), heard)
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_stream_that_broke() {
        let data = || FromPod::Stdout(Bytes::from_static(b"some"));
        for (last, whole) in [
            (Some(FromPod::Exited(0)), true),
            (Some(FromPod::Failed("the node is gone".into())), false),
            (None, false),
        ] {
            let (mut connection, _heard) = that_says([data()].into_iter().chain(last.clone()).collect());
            let mut read = Vec::new();
            let ended = connection.read_to_end(&mut read).await;
            assert_eq!((read.as_slice(), ended.is_ok()), (&b"some"[..], whole), "{last:?}");
        }
    }

    #[tokio::test]
    async fn what_is_written_waits_for_room_and_ends() {
        let (mut connection, mut heard) = that_says(vec![]);
        let long = vec![7; 3 * PIECE + 1];
        let sent = long.clone();
        let writing = tokio::spawn(async move {
            connection.write_all(&sent).await.unwrap();
            connection.shutdown().await.unwrap();
            connection
        });
        let mut got = Vec::new();
        while let FromClient::Data(bytes) = heard.recv().await.unwrap() {
            assert!(bytes.len() <= PIECE);
            got.extend_from_slice(&bytes);
        }
        assert!(got == long, "{} of {}", got.len(), long.len());
        let mut connection = writing.await.unwrap();
        drop(heard);
        // What nobody hears is no error: the other direction tells what happened.
        connection.write_all(b"more").await.unwrap();
    }
}
