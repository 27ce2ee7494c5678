//! Several threads that do the same work.

use std::thread;

use anyhow::bail;

/// Does the work in so many threads at once (none said: one per processor), and ends with all of them. The first error is given.
pub(crate) fn all(count: Option<usize>, work: impl Fn() -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let count = count.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count.max(1)).map(|_| scope.spawn(&work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|_| bail!("a thread of the harness failed"))?;
        }
        Ok(())
    })
}
