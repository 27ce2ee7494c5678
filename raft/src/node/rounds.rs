//! Questions to a leader that many readers share.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use kontiki_hooks::{Defect, planted};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Who waits for an answer.
type Reader<T> = oneshot::Sender<Option<T>>;

/// One question to a leader is under way at most, and all who come meanwhile share the next: never the one under way, whose answer may
/// be older than what they must see.
pub(super) struct Rounds<T> {
    /// Who waits for the next question, by the leader that is asked now.
    waiting: Mutex<BTreeMap<u64, Vec<Reader<T>>>>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Rounds<T> {
        Rounds { waiting: Mutex::default() }
    }
}

impl<T: Copy + Send + 'static> Rounds<T> {
    /// The answer to a question that is put to this leader after this call. None: it had none, or the tasks of this node have ended.
    pub(super) async fn join<F>(
        self: &Arc<Rounds<T>>,
        leader: u64,
        ask: impl Fn() -> F + Send + 'static,
    ) -> Option<T>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let begun = {
            let mut all = self.waiting.lock();
            let begun = all.contains_key(&leader);
            all.entry(leader).or_default().push(reply);
            begun
        };
        if !begun {
            // A task of its own: who waits may go away, and the others must not.
            crate::scope::spawn(Asking { rounds: self.clone(), leader, over: false }.run(ask));
        }
        answer.await.ok().flatten()
    }

    /// Those for whom a question is put now; none ends the questions to this leader.
    fn next(&self, leader: u64) -> Option<Vec<Reader<T>>> {
        let mut all = self.waiting.lock();
        let waiting = all.get_mut(&leader).map(std::mem::take).filter(|waiting| !waiting.is_empty());
        if waiting.is_none() {
            all.remove(&leader);
        }
        waiting
    }

    /// A planted defect: those who came while the question was under way.
    fn latecomers(&self, leader: u64) -> Vec<Reader<T>> {
        self.waiting.lock().get_mut(&leader).map(std::mem::take).unwrap_or_default()
    }
}

/// The task that asks a leader. If it ends before its time, who waits gets no answer, and the next who comes begins anew.
struct Asking<T> {
    rounds: Arc<Rounds<T>>,
    leader: u64,
    over: bool,
}

impl<T: Copy + Send + 'static> Asking<T> {
    async fn run<F: Future<Output = Option<T>>>(mut self, ask: impl Fn() -> F) {
        while let Some(mut waiting) = self.rounds.next(self.leader) {
            let found = ask().await;
            if planted(Defect::ReadJoinsLate) {
                waiting.extend(self.rounds.latecomers(self.leader));
            }
            for reader in waiting {
                let _ = reader.send(found);
            }
        }
        self.over = true;
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        if !self.over {
            self.rounds.waiting.lock().remove(&self.leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;

    /// What takes longer hangs.
    const HUNG: Duration = Duration::from_secs(20);

    /// A leader whose answers count up, one for each permit.
    #[derive(Clone)]
    struct Leader {
        asked: Arc<AtomicU64>,
        may: Arc<Semaphore>,
    }

    impl Leader {
        fn new() -> Leader {
            Leader { asked: Arc::default(), may: Arc::new(Semaphore::new(0)) }
        }

        async fn answer(self) -> Option<u64> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            self.may.acquire().await.ok()?.forget();
            Some(asked)
        }

        fn read(
            &self,
            rounds: &Arc<Rounds<u64>>,
            id: u64,
        ) -> impl Future<Output = Option<u64>> + Send + use<> {
            let (leader, rounds) = (self.clone(), rounds.clone());
            async move { rounds.join(id, move || leader.clone().answer()).await }
        }

        async fn was_asked(&self, times: u64) {
            while self.asked.load(Ordering::Relaxed) < times {
                tokio::task::yield_now().await;
            }
        }
    }

    /// How many wait for the next question.
    async fn until_wait(rounds: &Rounds<u64>, leader: u64, many: usize) {
        while rounds.waiting.lock().get(&leader).map_or(0, Vec::len) < many {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_comes_while_a_question_is_under_way_shares_the_next() {
        let (rounds, leader) = (Arc::new(Rounds::default()), Leader::new());
        let first = tokio::spawn(leader.read(&rounds, 1));
        leader.was_asked(1).await;
        let mut later = JoinSet::new();
        for _ in 0..1000 {
            later.spawn(leader.read(&rounds, 1));
        }
        until_wait(&rounds, 1, 1000).await;
        leader.may.add_permits(2);
        assert_eq!(first.await.ok(), Some(Some(1)));
        let answers = later.join_all().await;
        assert!(answers.iter().all(|answer| *answer == Some(2)), "{answers:?}");
        assert_eq!(leader.asked.load(Ordering::Relaxed), 2);
        leader.may.add_permits(1);
        assert_eq!(leader.read(&rounds, 1).await, Some(3), "and so it begins again");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_others_their_answer() {
        let (rounds, leader) = (Arc::new(Rounds::default()), Leader::new());
        let first = tokio::spawn(leader.read(&rounds, 1));
        leader.was_asked(1).await;
        let second = tokio::spawn(leader.read(&rounds, 1));
        until_wait(&rounds, 1, 1).await;
        first.abort();
        leader.may.add_permits(2);
        assert_eq!(second.await.ok(), Some(Some(2)));
    }

    #[tokio::test]
    async fn a_question_that_comes_to_nothing_leaves_nobody_waiting() {
        let (rounds, leader) = (Arc::new(Rounds::default()), Leader::new());
        let asked = leader.asked.clone();
        let broken = rounds.join(1, move || {
            asked.fetch_add(1, Ordering::Relaxed);
            async { panic!("planted") }
        });
        assert_eq!(broken.await, None);
        leader.may.add_permits(1);
        let next = tokio::time::timeout(HUNG, leader.read(&rounds, 1)).await;
        assert_eq!(next.ok().flatten(), Some(2), "it waits for a task that has ended");
    }

    #[tokio::test]
    async fn a_leader_that_hangs_holds_up_no_question_to_another() {
        let (rounds, hangs, leads) = (Arc::new(Rounds::default()), Leader::new(), Leader::new());
        let hung = tokio::spawn(hangs.read(&rounds, 1));
        hangs.was_asked(1).await;
        leads.may.add_permits(1);
        assert_eq!(leads.read(&rounds, 2).await, Some(1));
        hung.abort();
    }
}
