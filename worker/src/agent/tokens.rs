//! Tokens of pods' service accounts: asked of the leader on the session, one answer to each ask.
//!
//! ```text
//!   keeper of each pod ──get──> Tokens ──TokenAsk──> session ──> leader
//!                         <──────────────TokenAnswer──────────────┘
//! ```
//!
//! Nothing is remembered here: who has a token keeps it, and asks for the next one in time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kontiki_proto::worker::{TokenAnswer, TokenAsk};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// An ask is given up after this: its pod says so, and asks again later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Asks that wait for their answer at a time; further ones wait here. The leader signs each, between everything else that it does.
const ASKED_MAX: usize = 16;

/// A token, and for how long it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub text: String,
    /// Seconds from when it was asked for.
    pub lifetime_s: i64,
}

/// Whoever wants tokens meets the session here.
#[derive(Default)]
pub struct Tokens {
    desk: Mutex<Desk>,
    notify: Notify,
}

#[derive(Default)]
struct Desk {
    last: u64,
    /// Asks that no leader has heard of, oldest first.
    waiting: VecDeque<TokenAsk>,
    /// Asks that the leader of this session has.
    asked: BTreeMap<u64, TokenAsk>,
    /// Who waits for the answers to all of these. One that is not here any more has been given up.
    tellers: BTreeMap<u64, oneshot::Sender<Result<Token, String>>>,
    /// There is a session with a leader that gives no tokens.
    refused: bool,
}

impl Desk {
    fn refusal() -> String {
        "the leading controller runs a build that gives no tokens: it has to be upgraded".to_owned()
    }

    fn answer(&mut self, serial: u64, answer: Result<Token, String>) {
        self.asked.remove(&serial);
        if let Some(teller) = self.tellers.remove(&serial) {
            // Who waited may have given up at this moment.
            teller.send(answer).ok();
        }
    }
}

impl Tokens {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a token of a pod's account; says in words why there is none. Takes at most ten seconds.
    pub async fn get(&self, pod_uid: &str, audience: &str, lifetime_s: i64) -> Result<Token, String> {
        let (teller, answer) = oneshot::channel();
        let serial = {
            let mut desk = self.desk();
            if desk.refused {
                return Err(Desk::refusal());
            }
            desk.last += 1;
            let serial = desk.last;
            let (pod_uid, audience) = (pod_uid.to_owned(), audience.to_owned());
            desk.waiting.push_back(TokenAsk { serial, pod_uid, audience, lifetime_s });
            desk.tellers.insert(serial, teller);
            serial
        };
        let _given_up = GivenUp { tokens: self, serial };
        self.notify.notify_one();
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(format!("no controller has answered within {PATIENCE:?}")),
        }
    }

    /// A session has begun. What an earlier leader was asked is asked again.
    pub fn begin(&self, gives: bool) {
        let mut desk = self.desk();
        desk.refused = !gives;
        let asked = std::mem::take(&mut desk.asked);
        for ask in asked.into_values().rev() {
            desk.waiting.push_front(ask);
        }
        if !gives {
            while let Some(ask) = desk.waiting.pop_front() {
                desk.answer(ask.serial, Err(Desk::refusal()));
            }
        }
        drop(desk);
        self.notify.notify_one();
    }

    /// What the leader is to be asked next; none if it has enough to do. The caller sends it.
    pub fn next(&self) -> Option<TokenAsk> {
        let mut desk = self.desk();
        if desk.asked.len() >= ASKED_MAX {
            return None;
        }
        let ask = desk.waiting.pop_front()?;
        desk.asked.insert(ask.serial, ask.clone());
        Some(ask)
    }

    /// The leader has answered.
    pub fn answer(&self, answer: TokenAnswer) {
        let TokenAnswer { serial, token, lifetime_s, refusal } = answer;
        let answer = if token.is_empty() { Err(refusal) } else { Ok(Token { text: token, lifetime_s }) };
        self.desk().answer(serial, answer);
    }

    /// Returns when there may be something to ask for.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

/// Whoever waits no longer is forgotten.
struct GivenUp<'a> {
    tokens: &'a Tokens,
    serial: u64,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        let mut desk = self.tokens.desk();
        if desk.tellers.remove(&self.serial).is_some() {
            desk.asked.remove(&self.serial);
            desk.waiting.retain(|ask| ask.serial != self.serial);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    fn ask(tokens: &Arc<Tokens>, pod: &'static str) -> JoinHandle<Result<String, String>> {
        let tokens = tokens.clone();
        tokio::spawn(async move { tokens.get(pod, "", 3600).await.map(|token| token.text) })
    }

    fn given(ask: &TokenAsk) -> TokenAnswer {
        let TokenAsk { serial, pod_uid, lifetime_s, .. } = ask.clone();
        TokenAnswer { serial, token: format!("token of {pod_uid}"), lifetime_s, refusal: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn each_ask_gets_its_answer_whatever_the_order() {
        let tokens = Arc::new(Tokens::default());
        tokens.begin(true);
        let (one, two) = (ask(&tokens, "one"), ask(&tokens, "two"));
        yield_now().await;
        let (first, second) = (tokens.next().unwrap(), tokens.next().unwrap());
        assert_eq!((first.pod_uid.as_str(), second.pod_uid.as_str()), ("one", "two"));
        assert!(tokens.next().is_none());
        let refused = TokenAnswer { serial: second.serial, refusal: "no".into(), ..TokenAnswer::default() };
        tokens.answer(refused);
        tokens.answer(given(&first));
        tokens.answer(given(&second));
        assert_eq!(one.await.unwrap().unwrap(), "token of one");
        assert_eq!(two.await.unwrap().unwrap_err(), "no");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_leader_is_asked_what_the_last_one_did_not_answer() {
        let tokens = Arc::new(Tokens::default());
        tokens.begin(true);
        let (one, two) = (ask(&tokens, "one"), ask(&tokens, "two"));
        yield_now().await;
        tokens.next().unwrap();
        tokens.begin(true);
        let again = [tokens.next().unwrap(), tokens.next().unwrap()];
        assert_eq!(again.each_ref().map(|ask| ask.pod_uid.as_str()), ["one", "two"]);
        again.iter().for_each(|ask| tokens.answer(given(ask)));
        assert!(one.await.unwrap().is_ok() && two.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_of_an_older_build_is_not_asked() {
        let tokens = Arc::new(Tokens::default());
        let early = ask(&tokens, "early");
        yield_now().await;
        tokens.begin(false);
        assert!(tokens.next().is_none());
        for refused in [early, ask(&tokens, "late")] {
            let why = refused.await.unwrap().unwrap_err();
            assert!(why.contains("has to be upgraded"), "{why}");
        }
        tokens.begin(true);
        let _served = ask(&tokens, "served");
        yield_now().await;
        assert_eq!(tokens.next().unwrap().pod_uid, "served");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_gives_up_and_nothing_is_left() {
        let tokens = Arc::new(Tokens::default());
        let vain = ask(&tokens, "vain");
        let why = vain.await.unwrap().unwrap_err();
        assert_eq!(why, "no controller has answered within 10s");
        let ended = ask(&tokens, "ended");
        yield_now().await;
        ended.abort();
        ended.await.unwrap_err();
        let desk = tokens.desk();
        assert!(desk.waiting.is_empty() && desk.asked.is_empty() && desk.tellers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_asked_at_a_time() {
        let tokens = Arc::new(Tokens::default());
        tokens.begin(true);
        let all: Vec<_> = (0..=ASKED_MAX).map(|_| ask(&tokens, "p")).collect();
        yield_now().await;
        let asked: Vec<TokenAsk> = std::iter::from_fn(|| tokens.next()).collect();
        assert_eq!(asked.len(), ASKED_MAX);
        tokens.answer(given(&asked[0]));
        assert!(tokens.next().is_some());
        all.iter().for_each(JoinHandle::abort);
    }
}
