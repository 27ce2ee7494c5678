//! One pod after the other, its image being there: asked for to seen Running.

use tokio::time::Instant;

use super::{super::figures::Figures, Ground};

/// The first of each are no figures: programs and images are read from the disk then.
const WARM_UP: usize = 3;

pub(super) async fn measure(grounds: &mut [Ground], n: usize) -> anyhow::Result<()> {
    let mut figures: Vec<Figures> = grounds.iter().map(|_| Figures::default()).collect();
    for round in 0..n + WARM_UP {
        for (ground, figures) in grounds.iter_mut().zip(&mut figures) {
            let (name, from) = (format!("start-{round}"), Instant::now());
            ground.create(&name, &[]).await?;
            ground.runs(&name).await?;
            if round >= WARM_UP {
                figures.add(from.elapsed());
            }
            ground.clear().await?;
        }
    }
    for (ground, figures) in grounds.iter().zip(&mut figures) {
        figures.print(&format!("POST of a pod to Running, {}", ground.name), "p50 0.150 s");
    }
    Ok(())
}
