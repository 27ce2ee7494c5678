//! For the package `kontiki-fuzz` only: ways to readers of what others send that have no other public one. Each takes any bytes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::extract::ws::Message;
use bytes::Bytes;
use futures_util::{Sink, Stream, StreamExt, stream};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    cel::{Kind, Program, Val},
    rest::stream::fuzzing as streams,
    streams::{FromClient, FromPod, PodStream, StdStreams, StreamError},
};

pub use streams::{Frames, blocks, frames, message};

/// What an expression in CEL comes to.
#[derive(Debug)]
pub struct Evaluated {
    /// Its value, or why it is not read or fails, in words.
    pub value: Result<String, String>,
    /// Of which type the value is.
    pub kind: Option<&'static str>,
    /// Of which type it should be by the expression, if that can be told.
    pub told: Option<&'static str>,
    /// What is left of the budget.
    pub left: u64,
}

/// Evaluates an expression in CEL.
pub fn cel(rule: &str, this: &Value, old: Option<&Value>, budget: u64) -> Evaluated {
    let mut done = Evaluated { value: Err(String::new()), kind: None, told: None, left: budget };
    let program = match Program::compile(rule) {
        Ok(program) => program,
        Err(error) => return Evaluated { value: Err(format!("{error:?}")), ..done },
    };
    // A rule of a policy is held against its type; one of a schema may be of any.
    if let Ok(typed) = Program::compile_among(rule, &["self", "oldSelf"], &[])
        && typed.kind != Kind::Any
    {
        done.told = Some(typed.kind.name());
    }
    let value = program.run(Val::of(this, None), old.map(|old| Val::of(old, None)), &mut done.left);
    done.kind = value.as_ref().ok().map(Val::kind);
    done.value = value.map(|value| format!("{value:?}"));
    done
}

/// Serves port-forward on a connection. Of port 1 the dial fails; others say everything again.
pub async fn forward(connection: impl AsyncRead + AsyncWrite + Send + 'static) {
    streams::forward(connection, port).await;
}

/// Serves a command over SPDY, which says all of its input again.
pub async fn remote(
    connection: impl AsyncRead + AsyncWrite + Send + 'static,
    version: usize,
    wanted: StdStreams,
) {
    streams::remote(connection, version, wanted, Ok(echo())).await;
}

/// Serves ports over channels of a WebSocket whose client sends these messages.
pub async fn ports(form: usize, messages: Vec<Vec<u8>>) {
    let said = messages.into_iter().map(|message| Ok(Message::Binary(message.into())));
    streams::ports(Socket(stream::iter(said.collect::<Vec<_>>())), form, port).await;
}

fn port(number: u16) -> Result<PodStream, StreamError> {
    if number == 1 { Err(StreamError::Failed("connection refused".into())) } else { Ok(echo()) }
}

/// What says everything again, and ends with its input.
fn echo() -> PodStream {
    let (input, said) = tokio::sync::mpsc::channel(1);
    let output = stream::unfold(Some(said), async |said| {
        let mut said = said?;
        match said.recv().await {
            Some(FromClient::Data(bytes)) => Some((FromPod::Stdout(bytes), Some(said))),
            Some(FromClient::Resize { columns, rows }) => {
                Some((FromPod::Stderr(format!("{columns}x{rows}").into()), Some(said)))
            }
            Some(FromClient::Eof) | None => Some((FromPod::Exited(0), None)),
        }
    });
    PodStream { input, output: output.boxed() }
}

/// A WebSocket whose client does not listen.
struct Socket(stream::Iter<std::vec::IntoIter<Result<Message, Bytes>>>);

impl Stream for Socket {
    type Item = Result<Message, Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl Sink<Message> for Socket {
    type Error = Bytes;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Bytes>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Bytes> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Bytes>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Bytes>> {
        Poll::Ready(Ok(()))
    }
}
