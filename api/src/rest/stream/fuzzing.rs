//! See [`crate::fuzzing`].

use std::sync::Arc;

use axum::extract::ws::Message;
use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    channels::FORMS,
    forward::{self, Dial},
    ports as channels, remote as process,
    spdy::{self, wire::Wire},
    websocket::Opened,
};
use crate::streams::{FromClient, PodStream, StdStreams, StreamError};

pub use spdy::fuzzing::{Frames, blocks, frames};

/// Reads a client's message in one of the forms, counted around.
///
/// # Errors
/// Why it means nothing, in words.
pub fn message(form: usize, bytes: &[u8]) -> Result<Option<FromClient>, String> {
    FORMS[form % FORMS.len()].read(Bytes::copy_from_slice(bytes)).map_err(|malformed| malformed.to_string())
}

/// What a port of the pod is.
pub(crate) type Port = fn(u16) -> Result<PodStream, StreamError>;

fn dial(port: Port) -> Dial {
    Arc::new(move |number| std::future::ready(port(number)).boxed())
}

pub(crate) async fn forward(connection: impl AsyncRead + AsyncWrite + Send + 'static, port: Port) {
    let dial = dial(port);
    Wire::of_connection(connection).serve(|session| forward::serve(session, "web".into(), dial)).await;
}

pub(crate) async fn remote(
    connection: impl AsyncRead + AsyncWrite + Send + 'static,
    version: usize,
    wanted: StdStreams,
    opened: Opened,
) {
    let version = process::Version::of(process::VERSIONS[version % process::VERSIONS.len()]);
    Wire::of_connection(connection).serve(|session| process::serve(session, version, wanted, opened)).await;
}

pub(crate) async fn ports<S, E>(socket: S, form: usize, port: Port)
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
{
    let form = FORMS[form % FORMS.len()];
    channels::serve(socket, form, "web".into(), vec![1, 80, 443], dial(port)).await;
}
