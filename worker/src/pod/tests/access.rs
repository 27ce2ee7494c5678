//! Tokens of pods' accounts, from the first ask to their renewal: the whole agent, in virtual time.

use std::time::Duration;

use kontiki_proto::worker::{TokenAnswer, TokenAsk};
use serde_json::{Value, json};

use super::life::{EPOCH_MS, Worker, pod, ready};
use crate::agent::layout::Layout;
use crate::runtime::Simulation;

const VOLUME: &str = "kube-api-access-x";

/// As every pod is.
fn with_token() -> Value {
    let mut pod = pod(json!({}));
    pod["spec"]["volumes"] = json!([{"name": VOLUME, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}}]);
    pod
}

async fn worker() -> Worker {
    Worker::with(Simulation { shows_volumes: true, ..Simulation::default() }).await
}

impl Worker {
    /// What the leader is asked next, and when.
    async fn asked(&self) -> (TokenAsk, i64) {
        let ask = tokio::time::timeout(Duration::from_secs(2 * 3600), async {
            loop {
                match self.tokens.next() {
                    Some(ask) => return ask,
                    None => self.tokens.changed().await,
                }
            }
        });
        let ask = ask.await.unwrap();
        (ask, self.config.clock.now_ms() - EPOCH_MS)
    }

    fn give(&self, ask: &TokenAsk, token: &str) {
        let (serial, lifetime_s) = (ask.serial, ask.lifetime_s);
        self.tokens.answer(TokenAnswer { serial, token: token.into(), lifetime_s, refusal: String::new() });
    }

    fn refuse(&self, ask: &TokenAsk) {
        let (serial, refusal) = (ask.serial, "serviceaccounts \"default\" not found".into());
        self.tokens.answer(TokenAnswer { serial, refusal, ..TokenAnswer::default() });
    }

    fn file(&self, name: &str) -> Option<String> {
        let places = Layout::with_memory(&self.config.data_dir, None).places("uid-1");
        std::fs::read_to_string(places.disk.join(VOLUME).join(name)).ok()
    }

    /// All that can be done by now is done.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_token_and_says_why() {
    let mut worker = worker().await;
    worker.put(1, with_token(), &[]).await;
    let (ask, _) = worker.asked().await;
    assert_eq!((ask.pod_uid.as_str(), ask.audience.as_str(), ask.lifetime_s), ("uid-1", "", 3607));
    worker.rest().await;
    assert_eq!(worker.file("namespace"), None);
    worker.refuse(&ask);
    // Asked again after a pause, of which nothing is left when the answer comes.
    let (ask, _) = worker.asked().await;
    worker.give(&ask, "first");
    worker.until("ready", ready).await;
    assert_eq!(worker.file("token").as_deref(), Some("first"));
    assert_eq!(worker.file("namespace").as_deref(), Some("shop"));
    assert_eq!(worker.reasons(), ["FailedMount", "Pulled", "Created", "Started"]);
    assert_eq!(
        worker.events[0].message,
        "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to fetch token: serviceaccounts \"default\" not \
         found"
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_while_the_pod_runs_and_it_keeps_the_old_one_meanwhile() {
    let mut worker = worker().await;
    worker.put(1, with_token(), &[]).await;
    let (ask, given_ms) = worker.asked().await;
    worker.give(&ask, "first");
    worker.until("ready", ready).await;
    let (ask, again_ms) = worker.asked().await;
    let after_ms = again_ms - given_ms;
    assert!((2_875_600..=2_885_600).contains(&after_ms), "80% of 3607 s, or a little less: {after_ms} ms");
    worker.refuse(&ask);
    worker.rest().await;
    assert_eq!(worker.file("token").as_deref(), Some("first"), "it is good for a while");
    let (ask, _) = worker.asked().await;
    worker.give(&ask, "second");
    worker.rest().await;
    assert_eq!(worker.file("token").as_deref(), Some("second"));
    assert_eq!(worker.reasons(), ["Pulled", "Created", "Started"], "the pod has not noticed");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_again_asks_for_all_tokens_anew() {
    let mut worker = worker().await;
    worker.put(1, with_token(), &[]).await;
    let (ask, _) = worker.asked().await;
    worker.give(&ask, "first");
    worker.until("ready", ready).await;
    worker.restart().await;
    let (ask, _) = worker.asked().await;
    assert_eq!(worker.file("token").as_deref(), Some("first"));
    worker.give(&ask, "second");
    worker.rest().await;
    assert_eq!(worker.file("token").as_deref(), Some("second"));
    worker.rest().await;
    assert!(!worker.reasons().contains(&"Killing"), "{:?}", worker.reasons());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_where_no_container_sees_its_volumes() {
    let mut worker = Worker::new().await;
    worker.put(1, with_token(), &[]).await;
    worker.until("ready", ready).await;
    let mut shown = self::worker().await;
    let mut process = with_token();
    process["spec"]["runtimeClassName"] = "host".into();
    shown.put(1, process, &[]).await;
    shown.until("ready", ready).await;
    for worker in [&worker, &shown] {
        assert!(worker.tokens.next().is_none());
        assert_eq!(worker.file("namespace"), None, "it need not be there");
    }
}
