//! Batches in processes of their own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use kontiki_chaos_plan::{Layer, Verdict, check::Judgement};

use crate::{layers, outcome::Line};

/// One run may take this long: a simulation that does not end is a finding.
const ONE_RUN: Duration = Duration::from_secs(300);
/// Of what a batch that died has said, so much is kept.
const WORDS: usize = 2000;
/// How jemalloc, which RocksDB brings for the whole process, is set in a batch: that is one busy thread for a minute, so one arena, large
/// pages, and none given back.
const ALLOCATOR: &str = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always,metadata_thp:auto";

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) layer: Layer,
    pub(crate) from: u64,
    pub(crate) count: u64,
    pub(crate) first: bool,
    /// Each plan lasts an hour in which little happens.
    pub(crate) hours: bool,
    /// By its place in the table: then its plans are played, with its defect.
    pub(crate) hunt: Option<usize>,
    /// Without the defect after all.
    pub(crate) healthy: bool,
}

/// Plays a batch in a process of its own and hands on what it tells. A batch that dies is a failure of the seed that it was at; the
/// seeds after it are played in a further process.
pub(crate) fn play(job: &Job, mut hear: impl FnMut(Line)) -> anyhow::Result<()> {
    let (mut next, end) = (job.from, job.from.saturating_add(job.count));
    while next < end {
        let Some(died_at) = once(&Job { from: next, count: end - next, ..job.clone() }, &mut hear)? else {
            return Ok(());
        };
        if job.first {
            return Ok(());
        }
        next = died_at + 1;
    }
    Ok(())
}

fn once(job: &Job, hear: &mut impl FnMut(Line)) -> anyhow::Result<Option<u64>> {
    let mut child = start(job)?;
    let errors = child.stderr.take().context("its errors")?;
    let errors = thread::spawn(move || last_words(errors));
    let output = child.stdout.take().context("its output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let (mut at, mut over, mut since) = (job.from, false, Instant::now());
    let mut slow = false;
    loop {
        match lines.recv_timeout(ONE_RUN.saturating_sub(since.elapsed())) {
            Ok(line) => {
                let line: Line = serde_json::from_str(&line).with_context(|| line.clone())?;
                match &line {
                    Line::Begins { seed } => (at, since) = (*seed, Instant::now()),
                    Line::Over { .. } => over = true,
                    Line::Judged { .. } => {}
                }
                hear(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                slow = true;
                child.kill()?;
                break;
            }
        }
    }
    child.wait()?;
    if over {
        return Ok(None);
    }
    let words = errors.join().unwrap_or_default();
    let words = if slow { format!("it did not end within {} s", ONE_RUN.as_secs()) } else { words };
    let verdict = Verdict::violated("died", None, words);
    let failure = Some(Judgement { check: "the run itself".into(), verdict });
    hear(Line::Judged { seed: at, simulated_ms: 0, failure });
    Ok(Some(at))
}

fn start(job: &Job) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["batch", "--layer", layers::name(job.layer)]);
    command.args(["--from", &job.from.to_string(), "--count", &job.count.to_string()]);
    if job.first {
        command.arg("--first");
    }
    if job.hours {
        command.arg("--hours");
    }
    if job.healthy {
        command.arg("--healthy");
    }
    if let Some(hunt) = job.hunt {
        command.args(["--hunt", &hunt.to_string()]);
    }
    command.env("MALLOC_CONF", ALLOCATOR);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("a batch")
}

fn last_words(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut block = [0_u8; 4096];
    while let Ok(count @ 1..) = stream.read(&mut block) {
        bytes.extend_from_slice(&block[..count]);
        let surplus = bytes.len().saturating_sub(WORDS);
        bytes.drain(..surplus);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
