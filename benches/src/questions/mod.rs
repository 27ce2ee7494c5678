//! The questions, a file each: what is asked, what the goal is, what physics allows, and who else is asked the same in the same run.

mod create_many;
mod create_one;
mod deploy;
mod place_one;
mod propose;
mod read_many;
mod schedule;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{ValueEnum, builder::PossibleValue};
use kontiki_load::{Ask, Shape};

use crate::{
    limits::{Look, Physics},
    load::closed,
    peers::Store,
    report::{Figure, Goal, Limit, Outcome, Setting, Side},
};

pub(crate) use self::schedule::Workload;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// One client creates ConfigMaps of 1 KiB, beside etcd's put.
    CreateOne,
    /// The same with 1,000 clients.
    CreateMany,
    /// 1,000 clients read linearizably, beside etcd's range.
    ReadMany,
    /// One pod to its committed placement, beside etcd's put.
    PlaceOne,
    /// A Deployment of 1,000 replicas until all are placed.
    Deploy,
    /// Raw proposals of 1 KiB, 1,000 in flight, beside etcd's put.
    Propose,
    /// One of kube-scheduler's own workloads.
    Schedule(Workload),
}

impl ValueEnum for Question {
    fn value_variants<'a>() -> &'a [Question] {
        use Question::Schedule;
        &[
            Question::CreateOne,
            Question::CreateMany,
            Question::ReadMany,
            Question::PlaceOne,
            Question::Deploy,
            Question::Propose,
            Schedule(Workload::Basic),
            Schedule(Workload::TopologySpreading),
            Schedule(Workload::PreferredTopologySpreading),
            Schedule(Workload::NodeAffinity),
            Schedule(Workload::PodAffinity),
            Schedule(Workload::PodAntiAffinity),
            Schedule(Workload::PreferredPodAffinity),
            Schedule(Workload::PreferredPodAntiAffinity),
            Schedule(Workload::MixedChurn),
            Schedule(Workload::Unschedulable),
            Schedule(Workload::Preemption),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let of = |name: &'static str, help: &'static str| Some(PossibleValue::new(name).help(help));
        match self {
            Question::CreateOne => {
                of("create-one", "One client creates ConfigMaps of 1 KiB, beside etcd's put")
            }
            Question::CreateMany => of("create-many", "The same with 1,000 clients"),
            Question::ReadMany => of("read-many", "1,000 clients read linearizably, beside etcd's range"),
            Question::PlaceOne => of("place-one", "One pod to its committed placement, beside etcd's put"),
            Question::Deploy => of("deploy", "A Deployment of 1,000 replicas until all are placed"),
            Question::Propose => of("propose", "Raw proposals of 1 KiB, 1,000 in flight, beside etcd's put"),
            Question::Schedule(workload) => of(workload.name(), workload.shape().title),
        }
    }
}

/// How it is measured.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    /// The built binary.
    pub(crate) binary: PathBuf,
    /// How long a question takes, about, without starting and stopping what is asked.
    pub(crate) seconds: u64,
    /// So often each side is asked, in turns.
    pub(crate) rounds: usize,
    /// Simulated workers, if others than the question has by itself.
    pub(crate) nodes: Option<usize>,
    /// Whether etcd is asked, too.
    pub(crate) etcd: bool,
    /// What the reader should know of the machine.
    pub(crate) note: String,
}

/// Of each round, so much passes before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// Simulated workers where they are only there to take what is placed.
const NODES: usize = 100;
/// "Many" clients.
const MANY: usize = 1000;

impl Question {
    /// Its name on the command line and in files.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Where the one with this name stands among all; one that is no more stands last.
    pub(crate) fn place(name: &str) -> usize {
        let all = Question::value_variants();
        all.iter().position(|question| question.name() == name).unwrap_or(all.len())
    }

    /// Measures it.
    pub(crate) async fn answer(self, method: &Method) -> anyhow::Result<Outcome> {
        match self {
            Question::CreateOne => create_one::answer(method).await,
            Question::CreateMany => create_many::answer(method).await,
            Question::ReadMany => read_many::answer(method).await,
            Question::PlaceOne => place_one::answer(method).await,
            Question::Deploy => deploy::answer(method).await,
            Question::Propose => propose::answer(method).await,
            Question::Schedule(workload) => schedule::answer(workload, method).await,
        }
    }
}

/// What a question asks, before it is answered.
struct Asked {
    question: Question,
    what: String,
    figure: Figure,
    goal: Goal,
}

impl Asked {
    fn outcome(self, setting: Setting, limit: Limit, sides: Vec<Side>) -> Outcome {
        Outcome {
            question: self.question.name(),
            what: self.what,
            figure: self.figure,
            goal: self.goal,
            limit,
            sides,
            setting: setting.end(),
        }
    }
}

impl Method {
    /// The span of a round in which things are measured, with so many sides taking turns.
    fn span(&self, sides: usize) -> Duration {
        let rounds = (self.rounds * sides).max(1) as u32;
        let round = Duration::from_secs(self.seconds) / rounds;
        round.saturating_sub(WARM_UP).max(Duration::from_millis(500))
    }

    fn shape(&self, sides: usize, clients: usize) -> Shape {
        Shape { clients, warm_up: WARM_UP, span: self.span(sides) }
    }
}

/// What clients of a store do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Each creates a value with a new name.
    Creating,
    /// Each reads one of these many values.
    Reading(usize),
}

fn readable(n: usize) -> String {
    format!("read-{n}")
}

/// The requests of a round of this store.
fn ask(store: &Arc<dyn Store>, doing: Doing, round: usize) -> Ask {
    let store = store.clone();
    match doing {
        Doing::Creating => {
            Arc::new(move |client, n| store.create(client, format!("round-{round}-client-{client}-{n}")))
        }
        // Not all at the same place of the keys at once.
        Doing::Reading(keys) => {
            Arc::new(move |client, n| store.read(client, readable((client * 31 + n as usize) % keys)))
        }
    }
}

/// Stores take turns under the same load.
async fn in_turns(
    method: &Method,
    stores: &[Arc<dyn Store>],
    clients: usize,
    doing: Doing,
) -> anyhow::Result<(Vec<Side>, Physics)> {
    if let Doing::Reading(keys) = doing {
        for store in stores {
            for n in 0..keys {
                store.create(n, readable(n)).await?;
            }
        }
    }
    let mut sides: Vec<Side> = stores.iter().map(|store| Side::of(store.name())).collect();
    let mut look = Look::default();
    for round in 0..method.rounds {
        look.again().await?;
        for (store, side) in stores.iter().zip(&mut sides) {
            let shape = method.shape(stores.len(), clients);
            let seen = closed(shape, store.servers(), ask(store, doing, round)).await?;
            side.say(round, method.rounds, &seen);
            side.rounds.push(seen);
        }
    }
    Ok((sides, look.physics()))
}
