//! One client creates ConfigMaps of 1 KiB through REST, one after the other. Peer: one client puts 1 KiB into etcd. A create is more than
//! a put: it is authenticated, decoded, validated, decided on, and answered with the whole object.

use std::sync::Arc;

use super::{Asked, Doing, Method, Question, in_turns};
use crate::{
    peers::{self, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Setting},
};

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::CreateOne,
        what: "create a 1 KiB ConfigMap, 1 client, p50".into(),
        figure: Figure::P50,
        goal: Goal::TimesAtMost { goal: 1.2, aim: Some(0.8) },
    };
    let setting = Setting::begin(&method.note);
    let ours: Arc<dyn Store> = Arc::new(Kontiki::start(&method.binary).await?);
    let stores: Vec<_> = std::iter::once(ours).chain(peers::etcd(method.etcd).await?).collect();
    let (sides, physics) = in_turns(method, &stores, 1, Doing::Creating).await?;
    let limit = Limit {
        value: physics.write_ms(),
        words: "two TLS round trips (client, follower) and one fdatasync".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, sides))
}
