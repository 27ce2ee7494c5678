//! Exec and attach over a WebSocket.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade, close_code};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, interval_at, timeout},
};

use super::{
    channels::{FORMS, Form, Malformed, PLAIN, STATUS, STDERR, STDOUT},
    outcome,
};
use crate::{
    rest::{places::Place, reply::Reply},
    status::Status,
    streams::{FromClient, FromPod, PodStream, StdStreams},
};

/// How often a client is asked whether it is still there, and how long it may be silent.
pub(super) const PING: Duration = Duration::from_secs(20);
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// A stream on which nothing was sent for so many pings is closed: four hours, as the kubelet does.
const IDLE_PINGS: u32 = 720;
/// How long a client may take to show that it listens, by an answer to a ping or by saying something. One that does neither is sent to all
/// the same.
const LISTENS: Duration = Duration::from_secs(1);
/// How often it is asked before anything is sent. client-go (as of 1.33) begins to read before it has made its streams, throws away what
/// comes for one that is not there yet, and calls that a success without output; each round gives it time.
const GREETINGS: usize = 3;
/// How long a client may take to say good-bye. What it still sends is read, or its system would throw away what it has not read yet.
const FAREWELL: Duration = Duration::from_secs(5);

/// A stream, or why there is none, to be told in it.
pub(super) type Opened = Result<PodStream, String>;

/// Finds the form that both sides speak.
pub(super) fn agree(upgrade: WebSocketUpgrade) -> Result<(WebSocketUpgrade, Form), Status> {
    let named = upgrade.requested_protocols().next().is_some();
    let upgrade = upgrade.protocols(FORMS.map(|form| form.name));
    let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok());
    match chosen.and_then(|name| FORMS.into_iter().find(|form| form.name == name)) {
        Some(form) => Ok((upgrade, form)),
        None if named => {
            let ours = FORMS.map(|form| form.name).join(", ");
            Err(Status::bad_request(format!(
                "unable to upgrade: none of the subprotocols is spoken here: choose one of {ours}"
            )))
        }
        None => Ok((upgrade, PLAIN)),
    }
}

/// Answers that the protocol changes, and serves the stream from then on.
pub(super) fn serve(
    upgrade: WebSocketUpgrade,
    form: Form,
    opened: Opened,
    streams: StdStreams,
    place: Place,
) -> Reply {
    Reply::switching(upgrade.on_upgrade(move |socket| async move {
        let _place = place;
        let (sink, client) = socket.split();
        let out = Out { sink, form };
        match opened {
            Ok(stream) => carry(out, client, stream, streams).await,
            Err(cause) => out.end(client, &outcome::of_failure(&cause)).await,
        }
    }))
}

async fn carry<E>(
    mut out: Out<impl Sink<Message> + Unpin>,
    mut client: impl Stream<Item = Result<Message, E>> + Unpin,
    stream: PodStream,
    StdStreams { stdin, .. }: StdStreams,
) {
    // Held to the end: the worker takes a closed input for a client that is gone.
    let PodStream { input, mut output } = stream;
    let active = AtomicBool::new(true);
    let form = out.form;
    let heard = Notify::new();
    let talk = async {
        if out.greet(&heard).await.is_err() {
            return Said::Over(None);
        }
        out.send_all(&mut output, &active).await
    };
    let said = tokio::select! {
        said = talk => said,
        malformed = listen(&mut client, form, stdin, &input, &active, &heard) => Said::Over(malformed),
    };
    match said {
        Said::Ended(status) => out.end(client, &status).await,
        Said::Over(Some(malformed)) => out.break_off(client, malformed).await,
        Said::Over(None) => {}
    }
}

/// How the sending ended.
enum Said {
    /// The process is over.
    Ended(Value),
    /// The client is gone, or has said what means nothing.
    Over(Option<Malformed>),
}

/// Hands on what the client says, until it is gone.
async fn listen<E>(
    client: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    form: Form,
    stdin: bool,
    input: &mpsc::Sender<FromClient>,
    active: &AtomicBool,
    heard: &Notify,
) -> Option<Malformed> {
    loop {
        // A client that answers pings is not silent.
        let Ok(Some(Ok(message))) = timeout(SILENCE, client.next()).await else { return None };
        heard.notify_one();
        let message = match message {
            Message::Binary(bytes) => bytes,
            // Some clients send everything as text.
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        let said = match form.read(message) {
            Ok(Some(said)) => said,
            Ok(None) => continue,
            Err(malformed) => return Some(malformed),
        };
        active.store(true, Ordering::Relaxed);
        if stdin || matches!(said, FromClient::Resize { .. }) {
            // If nobody takes it any more the process is over, which the other direction tells.
            input.send(said).await.ok();
        }
    }
}

/// The way to the client.
struct Out<S> {
    sink: S,
    form: Form,
}

impl<S: Sink<Message> + Unpin> Out<S> {
    /// Waits until the client listens.
    async fn greet(&mut self, heard: &Notify) -> Result<(), S::Error> {
        let greetings = async {
            for _ in 0..GREETINGS {
                self.sink.send(Message::Ping(Bytes::new())).await?;
                heard.notified().await;
            }
            Ok(())
        };
        timeout(LISTENS, greetings).await.unwrap_or(Ok(()))
    }

    async fn send_all(
        &mut self,
        output: &mut (impl StreamExt<Item = FromPod> + Unpin),
        active: &AtomicBool,
    ) -> Said {
        let mut pings = interval_at(Instant::now() + PING, PING);
        let mut idle = 0;
        loop {
            let sent = tokio::select! {
                said = output.next() => {
                    active.store(true, Ordering::Relaxed);
                    match said {
                        Some(FromPod::Stdout(bytes)) => self.send(STDOUT, &bytes).await,
                        Some(FromPod::Stderr(bytes)) => self.send(STDERR, &bytes).await,
                        Some(FromPod::Exited(code)) => return Said::Ended(outcome::of_exit(code)),
                        Some(FromPod::Failed(cause)) => return Said::Ended(outcome::of_failure(&cause)),
                        None => return Said::Ended(outcome::of_failure("the worker broke the stream off")),
                    }
                }
                _ = pings.tick() => {
                    idle = if active.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
                    if idle > IDLE_PINGS {
                        return Said::Ended(outcome::of_failure("nothing was sent for four hours"));
                    }
                    self.sink.send(Message::Ping(Bytes::new())).await
                }
            };
            if sent.is_err() {
                return Said::Over(None);
            }
        }
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), S::Error> {
        self.sink.send(self.form.message(channel, bytes)).await
    }

    /// Tells the end, and waits until the client has heard it.
    async fn end<E>(mut self, client: impl Stream<Item = Result<Message, E>> + Unpin, status: &Value) {
        let words = match self.form.status {
            true => Some(status.to_string()),
            false => outcome::in_words(status),
        };
        if let Some(words) = words
            && self.send(STATUS, words.as_bytes()).await.is_err()
        {
            return;
        }
        close(self.sink, client, close_code::NORMAL, "").await;
    }

    async fn break_off<E>(self, client: impl Stream<Item = Result<Message, E>> + Unpin, why: Malformed) {
        close(self.sink, client, close_code::PROTOCOL, &why.to_string()).await;
    }
}

/// Says good-bye, and waits until the client has heard it.
pub(super) async fn close<E>(
    mut sink: impl Sink<Message> + Unpin,
    mut client: impl Stream<Item = Result<Message, E>> + Unpin,
    code: u16,
    reason: &str,
) {
    let frame = CloseFrame { code, reason: reason.into() };
    let farewell = async {
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = client.next().await {}
        }
    };
    timeout(FAREWELL, farewell).await.ok();
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::stream::{self, BoxStream};

    use super::*;

    /// A WebSocket without a network; what its client says; what its client hears.
    pub(in crate::rest::stream) struct Socket {
        said: BoxStream<'static, Result<Message, ()>>,
        out: mpsc::UnboundedSender<Message>,
    }

    pub(in crate::rest::stream) fn socket() -> (Socket, mpsc::Sender<Message>, BoxStream<'static, Message>) {
        let (say, said) = mpsc::channel(16);
        let (out, heard) = mpsc::unbounded_channel();
        let said = stream::unfold(said, async |mut said: mpsc::Receiver<Message>| {
            said.recv().await.map(|message| (Ok(message), said))
        });
        let heard = stream::unfold(heard, async |mut heard: mpsc::UnboundedReceiver<Message>| {
            heard.recv().await.map(|message| (message, heard))
        });
        (Socket { said: said.boxed(), out }, say, heard.boxed())
    }

    impl Stream for Socket {
        type Item = Result<Message, ()>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.said.poll_next_unpin(context)
        }
    }

    impl Sink<Message> for Socket {
        type Error = ();

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), ()> {
            self.out.send(message).map_err(|_| ())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What a client hears of a process that has said something and is over already.
    async fn of_a_quick_process() -> (mpsc::Sender<Message>, BoxStream<'static, Message>) {
        let (socket, say, heard) = socket();
        let (sink, client) = socket.split();
        let (input, _) = mpsc::channel(1);
        let output = stream::iter([FromPod::Stdout(Bytes::from_static(b"out")), FromPod::Exited(0)]).boxed();
        let streams = StdStreams { stdin: false, stdout: true, ..StdStreams::default() };
        let out = Out { sink, form: FORMS[0] };
        tokio::spawn(carry(out, client, PodStream { input, output }, streams));
        (say, heard)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_the_client_has_answered_as_often_as_it_is_asked() {
        let (say, mut heard) = of_a_quick_process().await;
        for _ in 0..GREETINGS {
            assert!(matches!(heard.next().await, Some(Message::Ping(_))));
            assert!(timeout(LISTENS / 10, heard.next()).await.is_err(), "it waits for the answer");
            say.send(Message::Pong(Bytes::new())).await.unwrap();
        }
        let began = Instant::now();
        assert_eq!(heard.next().await, Some(Message::Binary(Bytes::from_static(b"\x01out"))));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_sent_to_all_the_same() {
        let (_say, mut heard) = of_a_quick_process().await;
        assert!(matches!(heard.next().await, Some(Message::Ping(_))));
        assert_eq!(heard.next().await, Some(Message::Binary(Bytes::from_static(b"\x01out"))));
    }
}
