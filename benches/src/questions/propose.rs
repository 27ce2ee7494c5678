//! Raw proposals of 1 KiB through the consensus of three nodes, 1,000 in flight: what everything above it could have at most. Peer: 1,000
//! clients put 1 KiB into etcd. The nodes live in the process that proposes, so nobody pays for clients' connections on our side: this is
//! what the consensus gives to a controller, not to a client.

use std::sync::Arc;

use super::{Asked, Doing, MANY, Method, Question, in_turns};
use crate::{
    peers::{self, Consensus, Store},
    report::{Figure, Goal, Limit, Outcome, Setting},
};

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::Propose,
        what: "raw proposals of 1 KiB, 1,000 in flight, per second".into(),
        figure: Figure::PerSecond,
        goal: Goal::TimesAtLeast { goal: 8.0, aim: None },
    };
    let setting = Setting::begin(&method.note);
    let ours: Arc<dyn Store> = Arc::new(Consensus::start().await?);
    let stores: Vec<_> = std::iter::once(ours).chain(peers::etcd(method.etcd).await?).collect();
    let (sides, physics) = in_turns(method, &stores, MANY, Doing::Creating).await?;
    let once = physics.trip_p50_ms + physics.sync_p50_ms;
    let limit = Limit {
        value: MANY as f64 / once * 1000.0,
        words: "1,000 in flight, each for a follower's TLS round trip and one fdatasync that all share; the processors end sooner".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, sides))
}
