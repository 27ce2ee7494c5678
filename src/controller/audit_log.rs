//! The audit log: a file of JSON lines, turned over by size. One thread writes; requests hand their lines over and never wait.
//!
//! What there is no room for, and what the disk does not take, is dropped, counted and said in the process' log: a cluster whose audit
//! disk is full goes on. Nothing half is left in the file: what was written of a batch that failed is cut off again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use kontiki_api::audit::Sink;

/// Lines that wait to be written, and their bytes.
const LINES: usize = 16 * 1024;
const BYTES: usize = 32 << 20;
/// So many bytes are written at once.
const BATCH: usize = 1 << 20;
/// How often it is said that lines are lost.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How long a process that ends waits for its last lines.
const FAREWELL: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug)]
pub(crate) struct AuditLogOptions {
    /// The file; `-` for standard output.
    pub path: PathBuf,
    /// Bytes after which another file is begun.
    pub max_size: u64,
    /// Old files that are kept; 0 for all.
    pub max_backups: usize,
    /// Days for which they are kept; 0 for ever.
    pub max_age_days: u64,
}

/// The log, as requests see it.
#[derive(Debug)]
pub(crate) struct AuditLog {
    sender: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes that wait.
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Tell when all before this was written.
    Flush(SyncSender<()>),
}

impl AuditLog {
    /// Opens the log and begins to write.
    pub(crate) fn open(options: AuditLogOptions) -> anyhow::Result<AuditLog> {
        let output = Output::open(options)?;
        let (sender, receiver) = mpsc::sync_channel(LINES);
        let counts = Arc::new(Counts::default());
        let writer = Writer { output, counts: counts.clone(), complained: None };
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&receiver))?;
        Ok(AuditLog { sender, counts })
    }

    /// Waits a moment until what there is was written.
    pub(crate) fn finish(&self) {
        let (told, done) = mpsc::sync_channel(1);
        let sender = self.sender.clone();
        // The queue may be full: the question waits for room on a thread of its own, since whoever ends does not wait for a disk that
        // hangs. Without one the end is now.
        let asked = std::thread::Builder::new()
            .name("audit-end".into())
            .spawn(move || sender.send(Message::Flush(told)));
        if asked.is_ok() {
            let _ = done.recv_timeout(FAREWELL);
        }
    }
}

impl Sink for AuditLog {
    fn take(&self, line: Vec<u8>) {
        let length = line.len();
        let waiting = self.counts.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length <= BYTES && self.sender.try_send(Message::Line(line)).is_ok() {
            return;
        }
        self.counts.waiting.fetch_sub(length, Ordering::Relaxed);
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> (u64, u64) {
        (self.counts.written.load(Ordering::Relaxed), self.counts.dropped.load(Ordering::Relaxed))
    }
}

/// The thread that writes.
struct Writer {
    output: Output,
    counts: Arc<Counts>,
    /// When it was said last that lines are lost, and how many were by then.
    complained: Option<(Instant, u64)>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        // It ends when nobody can send any more.
        while let Ok(first) = receiver.recv() {
            let (mut lines, mut flushed) = (0, None);
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(line) => {
                        batch.extend_from_slice(&line);
                        self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                        lines += 1;
                    }
                    Message::Flush(told) => flushed = Some(told),
                }
                next = if batch.len() < BATCH && flushed.is_none() { receiver.try_recv().ok() } else { None };
            }
            let failed = self.output.write(&batch).err();
            let count = if failed.is_none() { &self.counts.written } else { &self.counts.dropped };
            count.fetch_add(lines, Ordering::Relaxed);
            self.complain(failed.as_ref());
            batch.clear();
            if let Some(told) = flushed {
                let _ = told.send(());
            }
        }
    }

    /// Says that lines are lost, once in a while.
    fn complain(&mut self, failed: Option<&io::Error>) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let (since, told) = self.complained.map_or((None, 0), |(at, told)| (Some(at), told));
        if dropped == told || since.is_some_and(|at| at.elapsed() < COMPLAINT) {
            return;
        }
        let path = self.output.options.path.display();
        match failed {
            Some(error) => {
                tracing::error!(%path, %error, dropped, "audit events are lost: the log cannot be written")
            }
            None => tracing::error!(%path, dropped, "audit events are lost: more come than can be written"),
        }
        self.complained = Some((Instant::now(), dropped));
    }
}

/// The file that is written.
#[derive(Debug)]
struct Output {
    options: AuditLogOptions,
    /// None for standard output.
    file: Option<File>,
    length: u64,
}

impl Output {
    fn open(options: AuditLogOptions) -> anyhow::Result<Output> {
        if options.path == Path::new("-") {
            return Ok(Output { options, file: None, length: 0 });
        }
        let path = options.path.display().to_string();
        let (file, length) =
            append_to(&options.path).with_context(|| format!("cannot write the audit log {path}"))?;
        Ok(Output { options, file: Some(file), length })
    }

    /// Writes whole lines, or nothing.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            return io::stdout().lock().write_all(lines);
        }
        if self.length > 0 && self.length + lines.len() as u64 > self.options.max_size {
            self.turn_over()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            file.set_len(self.length)?;
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Puts the file away under the time and begins another one.
    fn turn_over(&mut self) -> io::Result<()> {
        match fs::rename(&self.options.path, self.backup_path()) {
            // Somebody else put it away, or another one could not be begun the last time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let (file, length) = append_to(&self.options.path)?;
        (self.file, self.length) = (Some(file), length);
        if let Err(error) = self.remove_old() {
            tracing::warn!(path = %self.options.path.display(), %error, "old audit logs cannot be removed");
        }
        Ok(())
    }

    /// `audit-2026-11-29T10-11-12.123.log`, as the kube-apiserver names it; with a number where there is one already.
    fn backup_path(&self) -> PathBuf {
        let (stem, end) = self.name_parts();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        let path = |more: &str| self.options.path.with_file_name(format!("{stem}-{now}{more}{end}"));
        let numbered = (1..).map(|n| path(&format!("-{n}")));
        std::iter::once(path("")).chain(numbered).find(|path| !path.exists()).unwrap_or_else(|| path(""))
    }

    /// `audit` and `.log`.
    fn name_parts(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let end = part(self.options.path.extension());
        let end = if end.is_empty() { end } else { format!(".{end}") };
        (part(self.options.path.file_stem()), end)
    }

    fn remove_old(&self) -> io::Result<()> {
        let (stem, end) = self.name_parts();
        let is_backup = |name: &str| {
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|name| name.strip_suffix(&end));
            time.is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T'))
        };
        let folder = self.options.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut backups = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_backup) {
                backups.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        // The newest first.
        backups.sort_by(|a, b| b.cmp(a));
        let (most, days) = (self.options.max_backups, self.options.max_age_days);
        let oldest =
            SystemTime::now().checked_sub(DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
        for (at, (modified, path)) in backups.iter().enumerate() {
            let too_old = days > 0 && oldest.is_some_and(|oldest| *modified < oldest);
            if (most > 0 && at >= most) || too_old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(folder: &Path) -> AuditLogOptions {
        AuditLogOptions { path: folder.join("audit.log"), max_size: 100, max_backups: 2, max_age_days: 0 }
    }

    fn line(n: usize) -> Vec<u8> {
        format!("{{\"n\":{n},\"more\":\"{}\"}}\n", "x".repeat(20)).into_bytes()
    }

    /// The files of a log, the oldest first, each with its lines.
    fn files(folder: &Path) -> Vec<Vec<String>> {
        let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        // The one without a time is the newest.
        all.sort_by_key(|path| {
            (path.ends_with("audit.log"), fs::metadata(path).unwrap().modified().unwrap(), path.clone())
        });
        let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        all.iter().map(lines).collect()
    }

    #[test]
    fn lines_are_written_in_order_and_files_turned_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(options(folder.path())).unwrap();
        for n in 0..11 {
            output.write(&line(n)).unwrap();
        }
        let all = files(folder.path());
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1], "the oldest are removed");
        let first: serde_json::Value = serde_json::from_str(&all[0][0]).unwrap();
        assert_eq!(first["n"], 6);
        // Another process goes on where it stopped.
        let mut again = Output::open(options(folder.path())).unwrap();
        again.write(&line(11)).unwrap();
        assert_eq!(files(folder.path()).last().unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_somebody_took_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(options(folder.path())).unwrap();
        (0..2).for_each(|n| output.write(&line(n)).unwrap());
        fs::remove_file(folder.path().join("audit.log")).unwrap();
        output.write(&line(2)).unwrap();
        assert_eq!(files(folder.path()), [vec![String::from_utf8(line(2)).unwrap().trim_end().to_owned()]]);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["audit-notes.log", "audit.log.gz", "other-2026-11-29T10-11-12.123.log"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut output = Output::open(options(folder.path())).unwrap();
        (0..20).for_each(|n| output.write(&line(n)).unwrap());
        assert_eq!(files(folder.path()).len(), 3 + 3);
    }

    #[test]
    fn what_was_handed_over_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(AuditLogOptions { max_size: 1 << 20, ..options(folder.path()) }).unwrap();
        (0..1000).for_each(|n| log.take(line(n)));
        log.finish();
        assert_eq!((files(folder.path())[0].len(), log.counts()), (1000, (1000, 0)));
    }

    /// A process that ends while its disk is behind: the queue is full, and so there is no room for the question when it is empty.
    #[test]
    fn what_waits_in_a_full_queue_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("audit.log");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        // Who opens both ends waits for nobody.
        let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let log = AuditLog::open(AuditLogOptions { max_size: u64::MAX, ..options(folder.path()) }).unwrap();
        let mut taken = 0;
        while log.counts().1 == 0 {
            log.take(vec![b'x'; 1 << 10]);
            taken += 1;
        }
        std::thread::spawn(move || io::copy(&mut &reader, &mut io::sink()));
        log.finish();
        assert_eq!(log.counts(), (taken - 1, 1));
    }

    /// A device that takes nothing: nobody waits, and all is counted.
    #[test]
    fn a_full_disk_costs_events_and_nothing_else() {
        let options =
            AuditLogOptions { path: "/dev/full".into(), max_size: u64::MAX, max_backups: 0, max_age_days: 0 };
        let log = AuditLog::open(options).unwrap();
        (0..100_000).for_each(|n| log.take(line(n)));
        log.finish();
        assert_eq!(log.counts(), (0, 100_000));
    }
}
