//! What was measured, and how it is told: as JSON that keeps every round, as a table, and as a plot. The table and the plots are made from
//! the JSON files, so that one question can be asked anew without the others.

mod machine;
mod page;
mod plot;

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use kontiki_load::Samples;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    machine::Setting,
    page::{folder, number, put_between, render, write},
};
use crate::{limits::Physics, load::Cost, questions::Question};

/// The answer to one question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Its name, by which it is asked again.
    pub(crate) question: String,
    /// What was measured, in words.
    pub(crate) what: String,
    /// Which figure of a round counts.
    pub(crate) figure: Figure,
    /// What it should be.
    pub(crate) goal: Goal,
    /// What it could be at best on this machine.
    pub(crate) limit: Limit,
    /// Ours first, then a peer if there was one.
    pub(crate) sides: Vec<Side>,
    /// When and where.
    pub(crate) setting: Setting,
}

/// Which figure of a round counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// The median time, in milliseconds.
    P50,
    /// How many per second.
    PerSecond,
}

/// What a figure should be. Beyond the goal there may be an aim.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// At most so many times the peer's.
    TimesAtMost {
        /// The goal.
        goal: f64,
        /// The aim.
        aim: Option<f64>,
    },
    /// At least so many times the peer's.
    TimesAtLeast {
        /// The goal.
        goal: f64,
        /// The aim.
        aim: Option<f64>,
    },
    /// At least so many per second.
    PerSecondAtLeast {
        /// The goal.
        goal: f64,
    },
    /// At most so many milliseconds.
    MillisecondsAtMost {
        /// The goal.
        goal: f64,
    },
}

/// What physics allows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// In the unit of the figure.
    pub(crate) value: f64,
    /// Where it comes from.
    pub(crate) words: String,
    /// What was measured for it.
    pub(crate) physics: Physics,
}

/// One of those that were asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Its name and version.
    pub(crate) name: String,
    /// What it did each time.
    pub(crate) rounds: Vec<Round>,
}

/// One turn of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Requests that were answered in the span.
    pub(crate) n: u64,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// What one of them said.
    pub(crate) last_error: Option<String>,
    /// Answered requests per second.
    pub(crate) per_second: f64,
    /// Median time of a request, those among them that were answered after the span.
    pub(crate) p50_ms: f64,
    /// The time that one in a hundred exceeds.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
    /// Processors that the generator used.
    pub(crate) generator_cores: f64,
    /// Processors that the servers used.
    pub(crate) server_cores: f64,
    /// Processors that everything else on the machine used.
    pub(crate) other_cores: f64,
}

impl Round {
    /// Sums up a span in which so many were answered. There may be more samples: of requests that were not answered in it.
    pub(crate) fn of(samples: &mut Samples, answered: u64, span: Duration, cost: Cost) -> Round {
        Round {
            n: answered,
            errors: 0,
            last_error: None,
            per_second: answered as f64 / span.as_secs_f64(),
            p50_ms: samples.at(0.5),
            p99_ms: samples.at(0.99),
            max_ms: samples.at(1.0),
            generator_cores: cost.generator,
            server_cores: cost.servers,
            other_cores: cost.others,
        }
    }
}

impl Side {
    /// One that was not asked yet.
    pub(crate) fn of(name: String) -> Side {
        Side { name, rounds: Vec::new() }
    }

    /// Tells those who wait what a round was like.
    pub(crate) fn say(&self, round: usize, rounds: usize, seen: &Round) {
        eprintln!(
            "  {}/{rounds} {:45} {:>9.1}/s  p50 {:.3} ms  p99 {:.3} ms  n {}  errors {}  cores {:.2} + {:.2} (others {:.2})",
            round + 1,
            self.name,
            seen.per_second,
            seen.p50_ms,
            seen.p99_ms,
            seen.n,
            seen.errors,
            seen.server_cores,
            seen.generator_cores,
            seen.other_cores,
        );
        if let Some(error) = &seen.last_error {
            eprintln!("      {error}");
        }
    }

    /// The figure of each round.
    pub(crate) fn figures(&self, figure: Figure) -> Vec<f64> {
        let of = |round: &Round| match figure {
            Figure::P50 => round.p50_ms,
            Figure::PerSecond => round.per_second,
        };
        self.rounds.iter().map(of).collect()
    }

    /// Over all rounds.
    pub(crate) fn spread(&self, of: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(of).collect())
    }
}

/// The middle and both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these; of none there is none.
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        let (half, last) = (values.len() / 2, values.len().saturating_sub(1));
        let low = if values.len().is_multiple_of(2) { half.saturating_sub(1) } else { half };
        Spread { median: f64::midpoint(at(low), at(half)), min: at(0), max: at(last) }
    }
}

impl Outcome {
    /// Ours over the peer's, for each pair of turns that followed one another.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        let [ours, theirs, ..] = self.sides.as_slice() else { return None };
        let (ours, theirs) = (ours.figures(self.figure), theirs.figures(self.figure));
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }

    /// What the goal asks of our figure, in its unit, given what the peer did.
    pub(crate) fn wanted(&self) -> Option<f64> {
        let peer = || Some(Spread::of(self.sides.get(1)?.figures(self.figure)).median);
        match self.goal {
            Goal::TimesAtMost { goal, .. } | Goal::TimesAtLeast { goal, .. } => Some(goal * peer()?),
            Goal::MillisecondsAtMost { goal } | Goal::PerSecondAtLeast { goal } => Some(goal),
        }
    }

    /// Whether the median reaches the goal; nobody knows without the peer that it is about.
    pub(crate) fn met(&self) -> Option<bool> {
        let ours = || Some(Spread::of(self.sides.first()?.figures(self.figure)).median);
        match self.goal {
            Goal::TimesAtMost { goal, .. } => Some(self.ratio()?.median <= goal),
            Goal::TimesAtLeast { goal, .. } => Some(self.ratio()?.median >= goal),
            Goal::PerSecondAtLeast { goal } => Some(ours()? >= goal),
            Goal::MillisecondsAtMost { goal } => Some(ours()? <= goal),
        }
    }

    /// Keeps it, with all its rounds.
    pub(crate) fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}.json", self.question));
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// All that were kept in this folder, in the order of the questions.
    pub(crate) fn kept(folder: &Path) -> anyhow::Result<Vec<Outcome>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let outcome = serde_json::from_slice(&fs::read(&path)?);
                all.push(outcome.with_context(|| format!("reading {}", path.display()))?);
            }
        }
        all.sort_by_key(|outcome: &Outcome| Question::place(&outcome.question));
        Ok(all)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An outcome with these figures.
    pub(crate) fn outcome(figure: Figure, goal: Goal, ours: &[f64], theirs: Option<&[f64]>) -> Outcome {
        let round = |value: &f64| Round {
            n: 100,
            errors: 0,
            last_error: None,
            per_second: *value,
            p50_ms: *value,
            p99_ms: 2.0 * value,
            max_ms: 3.0 * value,
            generator_cores: 0.25,
            server_cores: 1.5,
            other_cores: 0.125,
        };
        let side = |name: &str, values: &[f64]| Side {
            name: name.into(),
            rounds: values.iter().map(round).collect(),
        };
        let mut sides = vec![side("Kontiki 1", ours)];
        sides.extend(theirs.map(|values| side("etcd 3", values)));
        Outcome {
            question: "create-one".into(),
            what: "create a thing".into(),
            figure,
            goal,
            limit: Limit { value: 0.5, words: "a round trip".into(), physics: Physics::default() },
            sides,
            setting: Setting::begin("beside a build"),
        }
    }

    #[test]
    fn ratios_are_of_turns_that_followed_one_another() {
        let goal = Goal::TimesAtMost { goal: 1.2, aim: Some(0.8) };
        // The machine was slow in the second round, for both.
        let seen = outcome(Figure::P50, goal, &[1.0, 10.0, 3.0], Some(&[1.0, 20.0, 2.0]));
        assert_eq!(seen.ratio(), Some(Spread { median: 1.0, min: 0.5, max: 1.5 }));
        assert_eq!((seen.met(), seen.wanted()), (Some(true), Some(2.4)));
        let alone = outcome(Figure::P50, goal, &[1.0], None);
        assert_eq!((alone.met(), alone.ratio(), alone.wanted()), (None, None, None));
    }

    #[test]
    fn a_goal_is_missed_on_its_own_side() {
        let met = |goal, ours: f64| outcome(Figure::PerSecond, goal, &[ours], Some(&[10.0])).met();
        let least = Goal::TimesAtLeast { goal: 2.0, aim: None };
        assert_eq!((met(least, 20.0), met(least, 19.9)), (Some(true), Some(false)));
        let most = Goal::TimesAtMost { goal: 2.0, aim: None };
        assert_eq!((met(most, 20.0), met(most, 20.1)), (Some(true), Some(false)));
        let absolute = Goal::MillisecondsAtMost { goal: 500.0 };
        assert_eq!((met(absolute, 500.0), met(absolute, 501.0)), (Some(true), Some(false)));
        let rate = Goal::PerSecondAtLeast { goal: 500.0 };
        assert_eq!((met(rate, 500.0), met(rate, 499.0)), (Some(true), Some(false)));
    }

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(vec![7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let goal = Goal::TimesAtLeast { goal: 2.0, aim: Some(3.0) };
        let seen = outcome(Figure::PerSecond, goal, &[20.0, 30.0], Some(&[10.0, 10.0]));
        seen.keep(folder.path()).unwrap();
        fs::write(folder.path().join("create-one.svg"), "<svg/>").unwrap();
        let kept = Outcome::kept(folder.path()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].ratio(), seen.ratio());
        assert_eq!(kept[0].goal, goal);
    }
}
