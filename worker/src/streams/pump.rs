//! One direction of a stream.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kontiki_proto::worker::from_stream::What as Up;
use kontiki_proto::worker::to_stream::What as Down;
use kontiki_proto::worker::{FromStream, ToStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::runtime::Terminal;

/// How long more output is waited for once its process has ended. What it wrote is there at once, but for a terminal, in
/// which the kernel moves it behind its back; what another process that it left behind still writes is not waited for.
const AFTERGLOW: Duration = Duration::from_millis(100);

/// Sends on what is read, a chunk at a time, until its end, or until its process has ended and nothing comes any more.
pub(super) async fn up(
    mut from: impl AsyncRead + Unpin,
    chunk: usize,
    what: fn(Bytes) -> Up,
    out: &mpsc::Sender<FromStream>,
    ended: &CancellationToken,
) {
    let mut buffer = BytesMut::new();
    loop {
        // It is taken again once nobody holds what was read into it.
        buffer.reserve(chunk);
        let silent = async {
            ended.cancelled().await;
            tokio::time::sleep(AFTERGLOW).await;
        };
        let mut limited = (&mut buffer).limit(chunk);
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut limited) => read,
            () = silent => return,
        };
        match read {
            Ok(0) => return,
            Ok(count) => {
                let data = if count >= chunk / 2 {
                    buffer.split().freeze()
                } else {
                    // A copy: so little must not hold all of the buffer.
                    let copied = Bytes::copy_from_slice(&buffer);
                    buffer.clear();
                    copied
                };
                if out.send(FromStream { what: Some(what(data)) }).await.is_err() {
                    return;
                }
            }
            Err(error) => return debug!(%error, "an output cannot be read any more"),
        }
    }
}

/// Writes what comes, until the other side is gone. An input that nobody reads any more swallows what comes.
pub(super) async fn down(
    from: &mut Streaming<ToStream>,
    into: Option<impl AsyncWrite + Unpin>,
    terminal: Option<Terminal>,
) {
    let mut into = into;
    loop {
        let what = match from.message().await {
            Ok(Some(ToStream { what })) => what,
            Ok(None) => return,
            Err(status) => return gone(&status),
        };
        match (what, &mut into) {
            (Some(Down::Stdin(data)), Some(input)) => {
                if let Err(error) = input.write_all(&data).await {
                    debug!(%error, "an input cannot be written any more");
                    into = None;
                }
            }
            (Some(Down::Eof(_)), Some(input)) => {
                input.shutdown().await.ok();
                into = None;
            }
            (Some(Down::Resize(size)), _) => {
                let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
                if let Some(terminal) = &terminal {
                    terminal.resize(side(size.columns), side(size.rows)).ok();
                }
            }
            // No input was asked for, or a newer controller says what is not known here.
            (Some(Down::Stdin(_) | Down::Eof(_)) | None, _) => {}
        }
    }
}

fn gone(status: &Status) {
    debug!(cause = status.message(), "the controller of a stream is gone");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_read_comes_in_chunks_and_little_holds_no_buffer() {
        const CHUNK: usize = 1000;
        let sent: Vec<u8> = (0..10 * CHUNK + 7).map(|n| (n / 3) as u8).collect();
        let ((out, mut rest), read) = (mpsc::channel(2), sent.clone());
        let reading = async move {
            up(&*read, CHUNK, Up::Stdout, &out, &CancellationToken::new()).await;
        };
        let taking = async {
            let mut pieces = Vec::new();
            while let Some(FromStream { what: Some(Up::Stdout(piece)) }) = rest.recv().await {
                pieces.push(piece);
            }
            pieces
        };
        let (_, pieces) = tokio::join!(reading, taking);
        assert_eq!(pieces.concat(), sent);
        assert!(pieces.iter().all(|piece| piece.len() <= CHUNK));
        let last = pieces.last().unwrap();
        assert!(last.len() == 7 && last.is_unique(), "{} bytes", last.len());
    }
}
