//! What is only read, over a WebSocket: a log, as messages of bytes, or of base64 for clients that read text only. What a client says
//! means nothing but that it is there.

use axum::extract::ws::{Message, WebSocketUpgrade, close_code};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, interval_at, timeout};

use super::websocket::{PING, SILENCE, close};
use crate::{
    backend::LogsStream,
    rest::{
        places::Place,
        reply::{Answered, Reply},
    },
    status::Status,
};

/// The subprotocols; who names none is sent bytes.
const BINARY: &str = "binary.k8s.io";
const TEXT: &str = "base64.binary.k8s.io";

/// Answers that the protocol changes, and sends the log from then on.
pub(crate) fn serve(upgrade: WebSocketUpgrade, log: LogsStream, place: Place) -> Answered {
    let named = upgrade.requested_protocols().next().is_some();
    let upgrade = upgrade.protocols([BINARY, TEXT]);
    let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok());
    let text = match chosen {
        Some(name) => name == TEXT,
        None if named => {
            let message = format!(
                "unable to upgrade: none of the subprotocols is spoken here: choose {BINARY} or {TEXT}"
            );
            return Err(Status::bad_request(message));
        }
        None => false,
    };
    Ok(Reply::switching(upgrade.on_upgrade(move |socket| async move {
        let _place = place;
        send(socket, text, log).await;
    })))
}

async fn send<S, E>(socket: S, text: bool, mut log: LogsStream)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
{
    let (mut sink, mut client) = socket.split();
    let message = |bytes: Bytes| match text {
        true => Message::Text(BASE64.encode(&bytes).into()),
        false => Message::Binary(bytes),
    };
    let sending = async {
        // As Kubernetes does: it tells that the log is open before there is anything in it.
        sink.send(message(Bytes::new())).await.ok()?;
        let mut pings = interval_at(Instant::now() + PING, PING);
        loop {
            let next = tokio::select! {
                chunk = log.next() => match chunk {
                    Some(Ok(bytes)) => message(bytes),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a log broke off");
                        return Some(close_code::ERROR);
                    }
                    None => return Some(close_code::NORMAL),
                },
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            sink.send(next).await.ok()?;
        }
    };
    let gone = async {
        loop {
            match timeout(SILENCE, client.next()).await {
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return None,
                Ok(Some(Ok(_))) => {}
            }
        }
    };
    let code = tokio::select! { code = sending => code, gone = gone => gone };
    if let Some(code) = code {
        close(sink, client, code, "").await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::{FutureExt, stream};

    use super::super::websocket::tests::socket;
    use super::*;

    async fn sent(text: bool, log: &'static [&'static [u8]]) -> Vec<Message> {
        let (near, _said, heard) = socket();
        let log = stream::iter(log.iter().map(|chunk| Ok(Bytes::from_static(chunk)))).boxed();
        send(near, text, log).await;
        heard.collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_comes_in_messages_and_then_the_end() {
        let bytes = |bytes: &'static [u8]| Message::Binary(bytes.into());
        let got = sent(false, &[b"one\n", b"two \xff\n"]).await;
        assert_eq!(got[..3], [bytes(b""), bytes(b"one\n"), bytes(b"two \xff\n")]);
        assert!(
            matches!(&got[3], Message::Close(Some(frame)) if frame.code == close_code::NORMAL),
            "{got:?}"
        );
        let got = sent(true, &[b"one\n"]).await;
        assert_eq!(got[..2], [Message::Text("".into()), Message::Text("b25lCg==".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_not_waited_for() {
        let (near, said, _heard) = socket();
        said.send(Message::Text("hello?".into())).await.unwrap();
        said.send(Message::Close(None)).await.unwrap();
        send(near, false, stream::pending().boxed()).await;
        // Nor is who says nothing, not even to pings.
        let (near, said, heard) = socket();
        send(near, false, stream::pending().boxed()).await;
        drop(said);
        let pings = heard.filter(|message| std::future::ready(matches!(message, Message::Ping(_))));
        assert!(pings.count().now_or_never().unwrap() >= 2);
    }
}
