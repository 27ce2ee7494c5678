//! A LIST of all pods, in one answer.

use std::time::Instant;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;

use super::{
    idle::{forget_peak, peak_mib, resident_mib},
    rows::Row,
    stage::Stage,
};

/// So often; the median counts.
const TIMES: usize = 5;
/// A pod as JSON is larger.
const POD_MIN: usize = 500;

/// The time to the last byte, and what memory it takes at most.
pub(super) async fn measure(stage: &Stage, pods: usize) -> anyhow::Result<Vec<(Row, f64)>> {
    let controllers = stage.controllers()?;
    let leader = controllers.first().filter(|first| first.leads).context("no leader")?;
    let rest = stage.rest(&leader.address).await?;
    let (mut times, mut grown) = (Vec::new(), 0.0_f64);
    for _ in 0..TIMES {
        forget_peak(leader.pid)?;
        let (before, began) = (resident_mib(leader.pid)?, Instant::now());
        let mut body = rest.open(Method::GET, "/api/v1/pods", Bytes::new()).await?.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        times.push(began.elapsed().as_secs_f64());
        grown = grown.max(peak_mib(leader.pid)? - before);
        if bytes < pods * POD_MIN {
            bail!("{pods} pods in {bytes} bytes");
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(TIMES / 2).copied().unwrap_or(f64::NAN);
    Ok(vec![(Row::List, median), (Row::ListMemory, grown)])
}
