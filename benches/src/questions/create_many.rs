//! 1,000 clients create ConfigMaps of 1 KiB through REST at all controllers. Peer: as many clients put 1 KiB into etcd, at all members.

use std::sync::Arc;

use super::{Asked, Doing, MANY, Method, Question, in_turns};
use crate::{
    peers::{self, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Setting},
};

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::CreateMany,
        what: "create a 1 KiB ConfigMap, 1,000 clients, per second".into(),
        figure: Figure::PerSecond,
        goal: Goal::TimesAtLeast { goal: 2.0, aim: Some(3.0) },
    };
    let setting = Setting::begin(&method.note);
    let ours: Arc<dyn Store> = Arc::new(Kontiki::start(&method.binary).await?);
    let stores: Vec<_> = std::iter::once(ours).chain(peers::etcd(method.etcd).await?).collect();
    let (sides, physics) = in_turns(method, &stores, MANY, Doing::Creating).await?;
    let limit = Limit {
        value: MANY as f64 / physics.write_ms() * 1000.0,
        words: "1,000 in flight, each for two TLS round trips and one fdatasync that all share; the processors end sooner".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, sides))
}
