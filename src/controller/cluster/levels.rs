//! The cluster's level (see `kontiki_actors::level`): the leader asks all members which one their builds know, and raises the cluster to
//! what all of them know. One that does not answer holds it up: what cannot be asked may be of an older build.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use futures_util::future::join_all;
use kontiki_actors::{Document, Input, ObjectKey, Request, level::FIRST};
use kontiki_proto::cluster::Empty;
use kontiki_raft::{MemberInfo, Node};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::forward::{self, Links};
use crate::controller::{
    peers::Dial,
    replica::Replica,
    stage::{Stage, Submit},
};

/// Who does not answer within this time is away.
const DEADLINE: Duration = Duration::from_millis(500);
/// The members are asked so often while the cluster is lower than this build.
const PAUSE: Duration = Duration::from_secs(1);
/// An entry is committed within this time, or the raise is tried again.
const COMMIT: Duration = Duration::from_secs(5);
/// What the members said is good for so long when a write is refused: a client that tries again and again costs them nothing.
const FRESH: Duration = Duration::from_secs(1);

/// A member that holds the level down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Older {
    pub(super) name: String,
    pub(super) address: String,
    /// Whether it answers; if it does, its build is older.
    pub(super) answers: bool,
}

/// What this controller knows of levels.
pub(crate) struct Levels {
    own: u32,
    node: Node,
    replica: Arc<Replica>,
    links: Links,
    /// Held while the cluster is raised and while a member is added: nobody comes in between question and raise.
    gate: Arc<tokio::sync::Mutex<()>>,
    raising: Raising,
    /// Who held the level down when the leader asked last.
    held: Mutex<Vec<Older>>,
    /// The same as a refusal told it, and when.
    told: Mutex<Option<(Instant, Vec<Older>)>>,
}

impl Levels {
    /// Of a controller whose build knows this level.
    pub(in crate::controller) fn new(
        own: u32,
        node: Node,
        replica: Arc<Replica>,
        dial: Arc<dyn Dial>,
    ) -> Arc<Levels> {
        let links = Links::new(dial);
        Arc::new(Levels {
            own,
            node,
            replica,
            links,
            gate: Arc::default(),
            raising: Raising::default(),
            held: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// What this build knows.
    pub(in crate::controller) fn own(&self) -> u32 {
        self.own
    }

    /// Where the cluster is, as this controller has folded it.
    pub(super) fn cluster(&self) -> u32 {
        self.replica.view().level()
    }

    /// Connections to the other controllers.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// How many members held the level down when this leader asked last.
    pub(in crate::controller) fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Raises the cluster, in this term, as far as all members allow; ends when it is as high as this build.
    pub(in crate::controller) async fn raise(
        self: Arc<Self>,
        term: u64,
        stage: Addr<Stage>,
        objects: Vec<(ObjectKey, Document)>,
    ) {
        while self.cluster() < self.own {
            let older = self.attempt(term, &stage, &objects).await;
            let news = {
                let mut held = self.held.lock();
                let news = *held != older && !older.is_empty();
                *held = older;
                news.then(|| held.clone())
            };
            if let Some(older) = news {
                tracing::warn!("{}", waits(self.cluster(), self.own, &older));
            }
            if self.cluster() < self.own {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.held.lock().clear();
    }

    /// Asks once and raises if it can. Tells who holds the level down.
    async fn attempt(&self, term: u64, stage: &Addr<Stage>, objects: &[(ObjectKey, Document)]) -> Vec<Older> {
        let _nobody_comes = self.gate.lock().await;
        let levels = self.ask_all().await;
        let common = levels.iter().map(|(_, level)| level.unwrap_or(FIRST)).fold(self.own, u32::min);
        if common > self.cluster() {
            self.raising.begins(common);
            let (reply, answer) = oneshot::channel();
            let input = Input::Raise { level: common, objects: objects.to_vec() };
            let submit = Submit { input, request: None, term: Some(term), trace: None, reply: Some(reply) };
            if stage.try_send(submit).is_ok() && matches!(timeout(COMMIT, answer).await, Ok(Ok(Ok(_)))) {
                tracing::info!(
                    level = common,
                    "all controllers know it: the cluster is raised to this level"
                );
            }
        }
        older(self.own, levels)
    }

    /// All members with what their builds know; none: no answer.
    async fn ask_all(&self) -> Vec<(MemberInfo, Option<u32>)> {
        let own = self.node.status();
        self.links.retain(&own.members.iter().map(|member| member.info.id).collect::<Vec<_>>());
        join_all(own.members.into_iter().map(|member| async {
            let own = member.info.id == own.id;
            let level = if own { Some(self.own) } else { self.ask(&member.info).await };
            (member.info, level)
        }))
        .await
    }

    async fn ask(&self, member: &MemberInfo) -> Option<u32> {
        let mut client = self.links.client(member);
        let reply =
            timeout(DEADLINE, client.status(forward::marked(Empty {}))).await.ok()?.ok()?.into_inner();
        let its = reply.controllers.into_iter().find(|controller| controller.id == member.id)?;
        Some(known(its.level))
    }

    /// Whether a write can be logged where the cluster is now; if not, why in words.
    pub(in crate::controller) async fn refusal(&self, request: &Request, at: u32) -> Option<String> {
        let needs = request.level();
        if needs <= at {
            return None;
        }
        let fresh = self.told.lock().clone().filter(|(when, _)| when.elapsed() < FRESH);
        let older = match fresh {
            Some((_, older)) => older,
            None => {
                let older = older(needs, self.ask_all().await);
                *self.told.lock() = Some((Instant::now(), older.clone()));
                older
            }
        };
        Some(format!("{}: {}", request.key(), waits(at, needs, &older)))
    }

    /// Refuses a newcomer whose build is older than the cluster. One that cannot be asked is taken: it stops by itself, and has no vote.
    pub(super) async fn admit(&self, newcomer: &MemberInfo, said: u32) -> Result<Admitted, String> {
        let gate = self.gate.clone().lock_owned().await;
        let at = self.raising.highest(self.cluster());
        let level = match said {
            0 if at > FIRST => self.ask(newcomer).await,
            said => Some(known(said)),
        };
        match level.and_then(|level| too_old(&newcomer.name, level, at)) {
            Some(refused) => Err(refused),
            None => Ok(Admitted(gate)),
        }
    }
}

/// While it lives, the cluster is not raised.
pub(super) struct Admitted(#[allow(dead_code, reason = "held")] tokio::sync::OwnedMutexGuard<()>);

/// The highest level that this process began to raise the cluster to: a raise that is not committed in time may be committed yet. It
/// never falls, and need not: all members knew that level.
#[derive(Default)]
struct Raising(AtomicU32);

impl Raising {
    fn begins(&self, level: u32) {
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// Where the cluster is, or may be soon.
    fn highest(&self, cluster: u32) -> u32 {
        self.0.load(Ordering::Relaxed).max(cluster)
    }
}

/// What a build knows that says this; older ones say nothing.
pub(super) fn known(said: u32) -> u32 {
    said.max(FIRST)
}

/// Why a controller of this level cannot join, if it cannot.
pub(super) fn too_old(name: &str, level: u32, cluster: u32) -> Option<String> {
    (level < cluster).then(|| {
        format!(
            "the cluster is at level {cluster}, and the build of controller {name} knows level {level}: install the build that the \
             others run, or a newer one"
        )
    })
}

fn older(than: u32, levels: Vec<(MemberInfo, Option<u32>)>) -> Vec<Older> {
    let lower = levels.into_iter().filter(|(_, level)| level.is_none_or(|level| level < than));
    lower
        .map(|(MemberInfo { name, address, .. }, level)| Older { name, address, answers: level.is_some() })
        .collect()
}

/// What a cluster waits for, in words.
pub(super) fn waits(at: u32, needs: u32, older: &[Older]) -> String {
    if older.is_empty() {
        return format!("the cluster is at level {at} and is just being raised to level {needs}: try again");
    }
    let each: Vec<String> = older
        .iter()
        .map(|Older { name, address, answers }| {
            let trouble = if *answers { "runs an older one" } else { "does not answer" };
            format!("controller {name} ({address}) {trouble}")
        })
        .collect();
    format!(
        "the cluster is at level {at} until all controllers run a build that knows level {needs}: {}; upgrade, start or remove {}",
        each.join(", "),
        if older.len() == 1 { "it" } else { "them" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_level_down_is_named() {
        let member = |id: u64, name: &str| MemberInfo {
            id,
            name: name.into(),
            address: format!("10.0.0.{id}:6443"),
            ..MemberInfo::default()
        };
        let levels = vec![(member(1, "c1"), Some(3)), (member(2, "c2"), Some(2)), (member(3, "c3"), None)];
        let words = waits(1, 3, &older(3, levels));
        assert_eq!(
            words,
            "the cluster is at level 1 until all controllers run a build that knows level 3: controller c2 (10.0.0.2:6443) runs an \
             older one, controller c3 (10.0.0.3:6443) does not answer; upgrade, start or remove them"
        );
        assert!(waits(1, 2, &[]).contains("try again"));
    }

    #[test]
    fn a_raise_that_may_be_committed_yet_counts_for_newcomers() {
        let raising = Raising::default();
        assert_eq!(raising.highest(1), 1);
        raising.begins(3);
        raising.begins(2);
        assert_eq!(raising.highest(1), 3);
        assert!(too_old("c4", known(0), raising.highest(1)).is_some());
        assert_eq!(raising.highest(4), 4);
    }

    #[test]
    fn a_build_that_says_nothing_is_of_the_first_level() {
        assert_eq!((known(0), known(1), known(2)), (1, 1, 2));
        assert_eq!(too_old("c4", 2, 2), None);
        assert_eq!(
            too_old("c4", known(0), 2).unwrap_or_default(),
            "the cluster is at level 2, and the build of controller c4 knows level 1: install the build that the others run, or a \
             newer one"
        );
    }
}
