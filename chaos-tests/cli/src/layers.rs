//! The layers by name: who plays, and what plans are made for them.

use anyhow::bail;
use kontiki_chaos_model::{LAYER_FAULTS, LAYER_MARKS, Model};
use kontiki_chaos_plan::{
    Layer, Play,
    plan::generate::{ALL_KINDS, Budget, Options, Profile, Situation},
};
use kontiki_chaos_protocol::{ABSENT_FAULTS, Player};
use kontiki_hooks::Mark;

/// As the command line names it.
pub(crate) fn parse(text: &str) -> Result<Layer, String> {
    match text {
        "l0" | "L0" => Ok(Layer::L0),
        "l1" | "L1" => Ok(Layer::L1),
        _ => Err("l0 or l1; plans with real processes are played by kontiki-chaos-real".into()),
    }
}

/// As the command line names it.
pub(crate) fn name(layer: Layer) -> &'static str {
    match layer {
        Layer::L0 => "l0",
        Layer::L1 => "l1",
        Layer::L3 => "l3",
    }
}

/// Who plays there.
pub(crate) fn player(layer: Layer) -> anyhow::Result<Box<dyn Play>> {
    Ok(match layer {
        Layer::L0 => Box::new(Model::default()),
        Layer::L1 => Box::new(Player),
        Layer::L3 => bail!("plans with real processes are played by kontiki-chaos-real"),
    })
}

/// The fault kinds that it can do.
pub(crate) fn faults(layer: Layer) -> Vec<&'static str> {
    match layer {
        Layer::L0 => LAYER_FAULTS.to_vec(),
        Layer::L1 => {
            ALL_KINDS.iter().map(|kind| kind.name).filter(|kind| !ABSENT_FAULTS.contains(kind)).collect()
        }
        Layer::L3 => ALL_KINDS.iter().map(|kind| kind.name).collect(),
    }
}

/// The places in the code that a campaign must come to.
pub(crate) fn marks(layer: Layer) -> Vec<&'static str> {
    match layer {
        Layer::L0 => LAYER_MARKS.to_vec(),
        Layer::L1 => Mark::ALL.iter().map(|mark| mark.name()).collect(),
        // The release binary has no marks.
        Layer::L3 => Vec::new(),
    }
}

/// An hour of which most is silence: some bugs are armed by it.
fn hour(options: Options) -> Options {
    // A rollout is hundreds of operations of its own.
    let ops_per_s = match options.profile {
        Profile::Registers | Profile::Watches => 0.2,
        Profile::Mixed => 0.05,
        Profile::Workloads => 0.01,
    };
    Options { duration_ms: 3_600_000, ops_per_s, faults_per_minute: 0.5, ..options }
}

/// The situations of every eighth seed, in turn. Others would give the same seeds other plans.
const IN_TURN: &[Situation] = Situation::ALL.split_at(8).0;

/// What the plan of a seed begins with.
fn situation(layer: Layer, seed: u64) -> Option<Situation> {
    let turn = (seed / 8 % IN_TURN.len() as u64) as usize;
    match (seed % 32, layer) {
        (19, Layer::L0) => Some(Situation::BetweenCommands),
        (27, Layer::L0) => Some(Situation::ToldTwice),
        (19 | 27, Layer::L1) => Some(Situation::ChangeCutShort),
        (11, Layer::L1) => Some(Situation::HeldUp),
        (3, Layer::L1) => Some(Situation::HandedOverToNobody),
        (13, Layer::L1) => Some(Situation::SlowFollower),
        _ => (seed % 8 == 6).then(|| IN_TURN[turn]),
    }
}

/// How the plan of a seed is made. Profiles take turns; every eighth plan breaks more than can be repaired and demands safety only, and
/// some begin with a situation. With `hours` each lasts an hour in which little happens.
pub(crate) fn options(layer: Layer, seed: u64, hours: bool) -> Options {
    let profile = Profile::ALL[(seed % Profile::ALL.len() as u64) as usize];
    let budget = if seed % 8 == 7 { Budget::Beyond } else { Budget::Within };
    let situation = situation(layer, seed);
    let options = Options { profile, budget, situation, faults: faults(layer), ..Options::default() };
    match layer {
        _ if hours => hour(options),
        // Of every 256 eight are busy minutes, one of them of a large cluster; the others are hours in which little happens.
        Layer::L0 => match seed % 256 {
            3 => Options { workers: (40, 60), duration_ms: 30_000, ..options },
            0..8 => Options { workers: (3, 30), ..options },
            _ => hour(options),
        },
        Layer::L1 | Layer::L3 => options,
    }
}
