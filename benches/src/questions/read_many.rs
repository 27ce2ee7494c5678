//! 1,000 clients read ConfigMaps of 1 KiB by name at all controllers, linearizably. Peer: as many clients get 1 KiB from etcd by key, at
//! all members, linearizably, which is its default.

use std::sync::Arc;

use super::{Asked, Doing, MANY, Method, Question, in_turns};
use crate::{
    peers::{self, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Setting},
};

/// So many values are there to be read.
const KEYS: usize = 1000;

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::ReadMany,
        what: "linearizable GET of a 1 KiB ConfigMap, 1,000 clients, per second".into(),
        figure: Figure::PerSecond,
        goal: Goal::TimesAtLeast { goal: 3.0, aim: Some(5.0) },
    };
    let setting = Setting::begin(&method.note);
    let ours: Arc<dyn Store> = Arc::new(Kontiki::start(&method.binary).await?);
    let stores: Vec<_> = std::iter::once(ours).chain(peers::etcd(method.etcd).await?).collect();
    let (sides, physics) = in_turns(method, &stores, MANY, Doing::Reading(KEYS)).await?;
    let limit = Limit {
        value: MANY as f64 / physics.trip_p50_ms * 1000.0,
        words: "1,000 in flight, each for the client's TLS round trip; the processors end sooner".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, sides))
}
