//! Pulls for the pods of a worker: on threads of their own, one per image at a time however many wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use super::{ImageRef, RuntimeError};
use crate::image::{Credential, Patience, Puller, Registries, RegistryError, Store};

/// Images on their way at a time; others wait. The kubelet's default is one, which lets a slow one hold up all.
const IMAGES_AT_A_TIME: usize = 3;
/// Hashing and writing keep one busy; the other keeps the rest going meanwhile.
const THREADS: usize = 2;
/// Images unpacked at a time, and names looked up.
const BLOCKING_THREADS: usize = 4;

/// How often one is joined or begun that then ends without a result.
const TRIES: u32 = 3;

/// Why an image could not be pulled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// What was asked for is no image name: no second try will help.
    #[error("{0}")]
    InvalidName(String),
    /// It could not be had, or not be stored.
    #[error("{0}")]
    Failed(String),
}

impl From<RegistryError> for PullError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::InvalidName { .. } => Self::InvalidName(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A pull is the same as another if it is of the same name for the same users.
type Key = (String, Vec<Credential>);
pub(super) type Outcome = Result<ImageRef, PullError>;
type Flights = Arc<Mutex<HashMap<Key, watch::Sender<Option<Outcome>>>>>;

/// Who brings an image here.
#[async_trait]
pub(super) trait Fetch: Send + Sync + 'static {
    /// Makes the worker hold what a name leads to now. Whoever drops the future wants it no more.
    async fn fetch(&self, name: &str, credentials: &[Credential]) -> Outcome;
}

#[async_trait]
impl Fetch for Puller {
    async fn fetch(&self, name: &str, credentials: &[Credential]) -> Outcome {
        let pulled = self.pull(name, credentials, &()).await?;
        let (digest, size_bytes) = (pulled.image.digest, pulled.image.size_bytes);
        tracing::debug!(image = name, new = pulled.new, "pulled");
        Ok(ImageRef { name: crate::image::normalise(name), digest, size_bytes })
    }
}

/// The pulls of a worker.
pub(super) struct Pulls {
    fetch: Arc<dyn Fetch>,
    slots: Arc<Semaphore>,
    flights: Flights,
    /// Threads that nothing else waits for; made when the first image is pulled.
    runtime: OnceLock<Result<Runtime, String>>,
}

impl Pulls {
    /// By registries, into the store.
    pub(super) fn new(store: Arc<Store>, registries: Arc<Registries>) -> Self {
        Self::by(Arc::new(Puller::new(store, registries, Patience::default())))
    }

    /// By somebody else.
    pub(super) fn by(fetch: Arc<dyn Fetch>) -> Self {
        let (slots, flights) = (Arc::new(Semaphore::new(IMAGES_AT_A_TIME)), Flights::default());
        Self { fetch, slots, flights, runtime: OnceLock::new() }
    }

    /// Pulls an image, or waits for who pulls it already. A pull that nobody waits for any more ends.
    pub(super) async fn pull(&self, name: &str, credentials: &[Credential]) -> Outcome {
        let key = (crate::image::normalise(name), credentials.to_vec());
        for _ in 0..TRIES {
            let mut flight = self.board(&key, name)?;
            let landed = flight.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            if let Ok(Some(outcome)) = landed {
                return outcome;
            }
            // It ended because nobody waited, just when this one began to.
        }
        Err(PullError::Failed("the pull ended without a word: see the worker's log".to_owned()))
    }

    fn board(&self, key: &Key, name: &str) -> Result<watch::Receiver<Option<Outcome>>, PullError> {
        let runtime = self.runtime.get_or_init(make_runtime).as_ref();
        let runtime = runtime.map_err(|cause| PullError::Failed(format!("start pulling: {cause}")))?;
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return Ok(flight.subscribe());
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key.clone(), sender.clone());
        let (fetch, slots, flights) = (self.fetch.clone(), self.slots.clone(), self.flights.clone());
        let (key, name) = (key.clone(), name.to_owned());
        runtime.spawn(async move {
            // Taken away however this ends, a panic included.
            let landed = Landed { flights, key: key.clone() };
            let pull = async {
                let _slot = slots.acquire().await;
                fetch.fetch(&name, &key.1).await
            };
            tokio::select! {
                outcome = pull => {
                    // First: who asks again because of this outcome is not to be given it once more.
                    drop(landed);
                    sender.send_replace(Some(outcome));
                }
                () = sender.closed() => drop(landed),
            }
        });
        Ok(receiver)
    }
}

impl Drop for Pulls {
    fn drop(&mut self) {
        // A runtime may not be waited for among tasks; what a pull leaves is swept when the store is opened.
        if let Some(Ok(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Landed {
    flights: Flights,
    key: Key,
}

impl Drop for Landed {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn make_runtime() -> Result<Runtime, String> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("pull")
        .enable_all()
        .build()
        .map_err(|source| source.to_string())
}

/// What a worker says that has nobody to ask.
pub(super) fn not_here(name: &str) -> PullError {
    PullError::Failed(RuntimeError::ImageMissing(name.to_owned()).to_string())
}
