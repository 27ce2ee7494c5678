//! A socket under TLS. Rustls asks for four kilobytes at a time, a quarter of a record: a stream of bytes would cost as many calls of
//! the system as that makes. Once a peer has filled several such reads in a row, more is taken from the socket at once and handed on
//! from memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What is taken at once. It is held only while more comes: a connection that waits holds nothing.
const GULP: usize = 64 << 10;
/// Reads in a row that were filled. Requests and their answers are mostly shorter, and come no faster by a copy more.
const FILLED: u8 = 8;
/// A read that brings less than this was no gulp: what comes after it is read as at first.
const LITTLE: usize = 4 << 10;

/// Reads much at once from a peer that sends much; writes as the stream does.
#[derive(Debug)]
pub(crate) struct Gulp<S> {
    stream: S,
    /// Read from the stream, and not yet handed on.
    taken: BytesMut,
    /// How many reads in a row were filled.
    filled: u8,
}

impl<S> Gulp<S> {
    pub(crate) fn new(stream: S) -> Gulp<S> {
        Gulp { stream, taken: BytesMut::new(), filled: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gulp<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken.is_empty() && this.filled < FILLED {
            let (room, before) = (into.remaining(), into.filled().len());
            ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
            let count = into.filled().len() - before;
            this.filled = if count == room { this.filled + 1 } else { 0 };
            return Poll::Ready(Ok(()));
        }
        if this.taken.is_empty() {
            this.taken.reserve(GULP);
            let read = poll_read_buf(Pin::new(&mut this.stream), context, &mut this.taken);
            if !matches!(read, Poll::Pending | Poll::Ready(Ok(LITTLE..))) {
                this.filled = 0;
            }
            if this.taken.is_empty() {
                this.taken = BytesMut::new();
            }
            ready!(read)?;
        }
        let count = into.remaining().min(this.taken.len());
        into.put_slice(&this.taken[..count]);
        this.taken.advance(count);
        if this.taken.is_empty() && this.filled < FILLED {
            this.taken = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gulp<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A peer that has sent this, or sends no more now; the reads of it are counted.
    struct Counted<S>(S, Arc<AtomicUsize>);

    impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    #[tokio::test]
    async fn what_is_much_is_read_in_few_gulps_and_arrives_as_it_was() {
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
        let reads = Arc::new(AtomicUsize::new(0));
        let mut gulp = Gulp::new(Counted(sent.as_slice(), reads.clone()));
        let (mut piece, mut got) = (vec![0; LITTLE], Vec::new());
        loop {
            let count = gulp.read(&mut piece).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&piece[..count]);
        }
        assert_eq!(got, sent);
        let least = sent.len().div_ceil(GULP);
        let made = reads.load(Ordering::Relaxed);
        assert!((least..least + usize::from(FILLED) + 3).contains(&made), "{made} reads");
    }

    #[tokio::test]
    async fn a_connection_that_waits_holds_nothing() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut gulp = Gulp::new(near);
        let mut piece = vec![0; LITTLE];
        far.write_all(&vec![1; 1 << 20]).await.unwrap();
        for _ in 0..(1 << 20) / LITTLE {
            gulp.read_exact(&mut piece).await.unwrap();
        }
        assert_eq!(gulp.filled, FILLED, "it is read in gulps by now");
        assert!(has_to_wait(&mut gulp, &mut piece).await);
        assert_eq!(gulp.taken.capacity(), 0);
        // What is little from now on is read as at first.
        far.write_all(b"word").await.unwrap();
        assert_eq!(gulp.read(&mut piece).await.unwrap(), 4);
        assert_eq!((gulp.filled, gulp.taken.capacity()), (0, 0));
    }

    /// Whether a read has to wait.
    async fn has_to_wait(from: &mut (impl AsyncRead + Unpin), piece: &mut [u8]) -> bool {
        std::future::poll_fn(|context| {
            let mut into = ReadBuf::new(piece);
            Poll::Ready(Pin::new(&mut *from).poll_read(context, &mut into).is_pending())
        })
        .await
    }
}
