//! The runtime as openraft sees it: tokio, with each task spawned in the scope of the one that spawns it, and random numbers from there.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};
use rand_core::TryRng;

use crate::scope::{self, Scope};

type Tokio = TokioRuntime;

/// tokio, in scopes.
#[derive(Debug)]
pub(crate) struct Runtime(Tokio);

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Random;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    #[inline]
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        scope::spawn(future)
    }

    #[inline]
    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    #[inline]
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    #[inline]
    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    #[inline]
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    #[inline]
    fn is_panic(error: &Self::JoinError) -> bool {
        Tokio::is_panic(error)
    }

    #[inline]
    fn thread_rng() -> Random {
        match Scope::current() {
            Some(scope) => Random::OfScope(scope),
            None => Random::OfThread(Tokio::thread_rng()),
        }
    }

    fn new(threads: usize) -> Self {
        Runtime(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// Random numbers: a thread's own, or those of the scope.
pub(crate) enum Random {
    OfThread(<Tokio as AsyncRuntime>::ThreadLocalRng),
    OfScope(Scope),
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        match self {
            Random::OfThread(thread) => thread.try_next_u32(),
            Random::OfScope(scope) => Ok((scope.random() >> 32) as u32),
        }
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        match self {
            Random::OfThread(thread) => thread.try_next_u64(),
            Random::OfScope(scope) => Ok(scope.random()),
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match self {
            Random::OfThread(thread) => thread.try_fill_bytes(bytes),
            Random::OfScope(scope) => {
                for piece in bytes.chunks_mut(8) {
                    piece.copy_from_slice(&scope.random().to_le_bytes()[..piece.len()]);
                }
                Ok(())
            }
        }
    }
}
