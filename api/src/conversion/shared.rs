//! What many watches are shown at the same time is converted once.

use std::{collections::VecDeque, sync::Arc};

use kontiki_actors::{Object, Uid};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::status::Status;

/// Objects that are kept for the next watch: all watches of a kind wake with the same event.
const KEPT: usize = 32;

/// An object at a revision, in a version.
pub(super) type Key = (Uid, u64, String);

type Made = Result<Arc<Object>, Status>;

/// Objects that were converted for watches last, or are just being.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<VecDeque<(Key, Arc<OnceCell<Made>>)>>);

impl Shared {
    /// An object that another watch is shown, or else what comes of converting it. Whoever waits for another's question shares its failure,
    /// and whoever comes later asks anew.
    pub(super) async fn get_or(&self, key: Key, convert: impl Future<Output = Made>) -> Made {
        let cell = self.cell(&key);
        // If the watch that asks goes, one that waits asks.
        let made = cell.get_or_init(|| convert).await.clone();
        if made.is_err() {
            self.0.lock().retain(|(known, _)| *known != key);
        }
        made
    }

    fn cell(&self, key: &Key) -> Arc<OnceCell<Made>> {
        let mut kept = self.0.lock();
        if let Some((_, cell)) = kept.iter().find(|(known, _)| known == key) {
            return cell.clone();
        }
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        let cell = Arc::<OnceCell<Made>>::default();
        kept.push_back((key.clone(), cell.clone()));
        cell
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kontiki_actors::{Document, Kind, ObjectKey};

    use super::*;

    #[tokio::test]
    async fn one_asks_for_all_who_want_the_same_and_nobody_for_who_comes_after_a_failure() {
        let (shared, asked) = (Shared::default(), AtomicUsize::new(0));
        let key = |revision| -> Key { ("u".into(), revision, "v2".into()) };
        let object = Arc::new(Object::new(ObjectKey::new(Kind::POD, "n", "a"), 1, Document::default()));
        let get = |revision, made: Made| {
            let asked = &asked;
            shared.get_or(key(revision), async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                made
            })
        };
        let both = futures_util::join!(get(1, Ok(object.clone())), get(1, Ok(object.clone())));
        assert!(both.0.is_ok() && both.1.is_ok());
        get(1, Ok(object.clone())).await.unwrap();
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
        let failed = || Err(Status::internal("no"));
        let both = futures_util::join!(get(2, failed()), get(2, failed()));
        assert!(both.0.is_err() && both.1.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        get(2, Ok(object.clone())).await.unwrap();
        assert_eq!(asked.swap(0, Ordering::Relaxed), 2, "a failure is not kept");
        for revision in 10..10 + KEPT as u64 {
            get(revision, Ok(object.clone())).await.unwrap();
        }
        assert_eq!(shared.0.lock().len(), KEPT);
        get(1, Ok(object.clone())).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), KEPT + 1, "nor is what is old");
    }
}
