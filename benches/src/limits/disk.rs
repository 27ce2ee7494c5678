//! How long the disk takes to keep 1 KiB.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::BYTES;
use kontiki_load::Samples;

/// The file is written once beforehand, so that no fdatasync has to keep a new size or place.
const BLOCKS: usize = 4096;
/// tmpfs, where fdatasync is nothing.
const TMPFS: u64 = 0x0102_1994;

/// Writes and syncs one after the other. Gives the times, and how long all took.
pub(super) fn syncs(folder: &Path, span: Duration) -> anyhow::Result<(Samples, Duration)> {
    let kind = rustix::fs::statfs(folder)?.f_type;
    ensure!(
        u64::try_from(kind).ok() != Some(TMPFS),
        "{} is in memory, where nothing is kept: name a folder on a disk by TMPDIR",
        folder.display()
    );
    let mut file: File = tempfile::tempfile_in(folder)?;
    let block = [b'x'; BYTES];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let (mut samples, began) = (Samples::default(), Instant::now());
    while began.elapsed() < span {
        if samples.count().is_multiple_of(BLOCKS) {
            file.seek(SeekFrom::Start(0))?;
        }
        let from = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.add(from.elapsed());
    }
    Ok((samples, began.elapsed()))
}
