//! How much there may be of something at a time: of all clients together, and of one user.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{audit::Record, flow::too_many, status::Status};

/// Places of one sort.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// How many one user may have.
    per_user: u32,
    users: Arc<Mutex<HashMap<String, u32>>>,
    /// `watches open`, as it is told who has too many.
    what: &'static str,
}

/// Some places, held as long as what they are for lasts.
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    places: Places,
    user: String,
    count: u32,
    record: Option<Arc<Record>>,
}

impl Places {
    /// Places among all that there are.
    pub(crate) fn new(all: &Arc<Semaphore>, per_user: usize, what: &'static str) -> Places {
        let per_user = u32::try_from(per_user).unwrap_or(u32::MAX).max(1);
        Places { all: all.clone(), per_user, users: Arc::default(), what }
    }

    /// As many places for a user, or the refusal of too many. What is more than anybody may have takes all that one may have.
    pub(crate) fn take(&self, user: &str, count: usize) -> Result<Place, Status> {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.per_user);
        let all = self.all.clone().try_acquire_many_owned(count).map_err(|_| too_many())?;
        let mut users = self.users.lock();
        let has = users.get(user).copied().unwrap_or(0);
        if has + count > self.per_user {
            let message = format!("{user:?} has too many {} already, please try again later", self.what);
            return Err(Status::new(429, "TooManyRequests", message).retry(1));
        }
        users.insert(user.to_owned(), has + count);
        drop(users);
        Ok(Place { _all: all, places: self.clone(), user: user.to_owned(), count, record: None })
    }
}

impl Place {
    /// The place with the record of the request that it is for: that is complete when the place is left.
    pub(crate) fn recorded(self, record: Option<Arc<Record>>) -> Place {
        let mut place = self;
        place.record = record;
        place
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({} of {})", self.count, self.user)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.places.users.lock();
        if let Some(has) = users.get_mut(&self.user) {
            *has = has.saturating_sub(self.count);
            if *has == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn places(all: usize, per_user: usize) -> Places {
        Places::new(&Arc::new(Semaphore::new(all)), per_user, "streams open")
    }

    #[test]
    fn a_user_has_so_many_places_and_gets_them_back() {
        let places = places(1000, 128);
        let held: Vec<Place> = (0..128).map(|_| places.take("ada", 1).unwrap()).collect();
        let refused = places.take("ada", 1).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), (429, Some(1)));
        assert_eq!(refused.message, "\"ada\" has too many streams open already, please try again later");
        let other = places.take("bob", 1).unwrap();
        drop(held);
        drop(places.take("ada", 1).unwrap());
        drop(other);
        assert!(places.users.lock().is_empty(), "users without places are not remembered");
        assert_eq!(places.all.available_permits(), 1000);
    }

    #[test]
    fn all_together_have_so_many() {
        let places = places(10, 8);
        let ada = places.take("ada", 6).unwrap();
        assert_eq!(places.take("bob", 6).unwrap_err().code, 429);
        assert_eq!(places.users.lock().len(), 1, "who got none is not remembered");
        drop(ada);
        let all_of_it = places.take("bob", 1_000_000).unwrap();
        assert_eq!((all_of_it.count, places.all.available_permits()), (8, 2));
    }
}
