//! A load beside what it costs the processors.

mod cpu;

use kontiki_load::{Ask, Shape};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::cpu::{Cost, Meter};
use crate::report::Round;

/// Runs a load on these servers. An error of single requests is counted; if all fail, that is an error.
pub(crate) async fn closed(shape: Shape, servers: &[i32], ask: Ask) -> anyhow::Result<Round> {
    let from = Instant::now() + shape.warm_up;
    let cost = async {
        sleep_until(from).await;
        let meter = Meter::start(servers)?;
        sleep_until(from + shape.span).await;
        meter.stop()
    };
    let (mut seen, cost) = tokio::try_join!(kontiki_load::closed(shape, ask), cost)?;
    let round = Round::of(&mut seen.samples, seen.answered, shape.span, cost);
    let last_error = seen.last_error.map(|error| format!("{error:#}"));
    Ok(Round { errors: seen.errors, last_error, ..round })
}
