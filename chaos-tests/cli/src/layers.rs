//! The layers by name: who plays, and what plans are made for them.

use anyhow::bail;
use kontiki_chaos_model::{LAYER_FAULTS, Model};
use kontiki_chaos_plan::{
    Layer, Play,
    plan::generate::{ALL_KINDS, Budget, Options, Profile, Situation},
};
use kontiki_chaos_protocol::Player;

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
        Layer::L1 | Layer::L3 => ALL_KINDS.iter().map(|kind| kind.name).collect(),
    }
}

/// Kinds that cannot be done where everything is one process. They are in the plans of seeds, and are skipped.
const ABSENT: [&str; 4] = ["memory-limit", "cpu-limit", "file-limit", "stranger"];

/// The fault kinds that have an effect there.
pub(crate) fn effective(layer: Layer) -> Vec<&'static str> {
    faults(layer).into_iter().filter(|kind| !ABSENT.contains(kind)).collect()
}

/// How the plan of a seed is made. Profiles take turns; every eighth plan breaks more than can be repaired and demands safety only, and
/// another eighth begins with a situation.
pub(crate) fn options(layer: Layer, seed: u64) -> Options {
    let profile = Profile::ALL[(seed % Profile::ALL.len() as u64) as usize];
    let budget = if seed % 8 == 7 { Budget::Beyond } else { Budget::Within };
    let situations = (layer == Layer::L1 && seed % 8 == 6).then_some(Situation::ALL);
    let situation = situations.map(|all| all[(seed / 8 % all.len() as u64) as usize]);
    let options = Options { profile, budget, situation, faults: faults(layer), ..Options::default() };
    match layer {
        // Of every sixteen one is long and quiet, and one is large.
        Layer::L0 if seed % 16 == 5 => {
            Options { duration_ms: 3_600_000, ops_per_s: 0.2, faults_per_minute: 0.5, ..options }
        }
        Layer::L0 if seed % 16 == 10 => Options { workers: (40, 60), duration_ms: 30_000, ..options },
        Layer::L0 => Options { workers: (3, 30), ..options },
        Layer::L1 | Layer::L3 => options,
    }
}
