//! What a SPDY connection goes through.

use std::{future::Future, pin::pin, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, Stream, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

use super::session::{Session, Writer};

/// Frames that may wait to be sent.
const FRAMES_MAX: usize = 8;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Bytes that are read at a time.
const CHUNK: usize = 32 << 10;

/// Both directions of a connection.
pub(in crate::rest::stream) struct Wire {
    input: BoxStream<'static, Bytes>,
    writer: Writer,
    /// Sends what is written; over when nobody writes any more, or when the client is gone.
    sending: BoxFuture<'static, ()>,
}

impl Wire {
    /// Through a WebSocket: its messages are pieces of the connection, cut anyhow.
    pub(in crate::rest::stream) fn of_websocket(socket: WebSocket) -> Wire {
        let (mut sink, client) = socket.split();
        let (writer, mut frames) = mpsc::channel::<Bytes>(FRAMES_MAX);
        let sending = async move {
            while let Some(frame) = frames.recv().await {
                if sink.send(Message::Binary(frame)).await.is_err() {
                    return;
                }
            }
            sink.send(Message::Close(None)).await.ok();
        };
        let input = client.take_while(|message| {
            let goes_on = !matches!(message, Err(_) | Ok(Message::Close(_)));
            async move { goes_on }
        });
        let input = input.filter_map(async |message| match message {
            Ok(Message::Binary(bytes)) => Some(bytes),
            Ok(Message::Text(text)) => Some(text.into()),
            _ => None,
        });
        Wire::new(input, writer, sending)
    }

    /// Through a connection of its own.
    pub(in crate::rest::stream) fn of_connection(
        connection: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> Wire {
        let (read, mut write) = tokio::io::split(connection);
        let (writer, mut frames) = mpsc::channel::<Bytes>(FRAMES_MAX);
        let sending = async move {
            while let Some(frame) = frames.recv().await {
                if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
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
        writer: mpsc::Sender<Bytes>,
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
