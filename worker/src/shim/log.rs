//! A container's output on disk, in the format of the container runtime interface:
//! `<RFC3339Nano> stdout|stderr F|P <text>`, where `P` marks a part of a line that goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The longest text of one entry; a longer line continues in the next.
pub(super) const LINE_MAX: usize = 16 * 1024;

/// How much of a log's end is looked at for its last words.
const TAIL_READ_MAX: u64 = 64 * 1024;

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

/// A log file and the one that it replaced. Beyond twice the bound the oldest output is gone.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    bytes_max: u64,
    batch: Vec<u8>,
}

impl Log {
    pub(super) fn open(path: &Path, bytes_max: u64) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = append(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file: Some(file), written, bytes_max, batch: Vec::new() })
    }

    /// Adds one entry; `whole` says that the line ends with it. Visible after [`Self::flush`].
    pub(super) fn entry(&mut self, source: Source, text: &[u8], whole: bool) {
        let name = if source == Source::Stdout { "stdout" } else { "stderr" };
        let mark = if whole { 'F' } else { 'P' };
        // Writing to memory cannot fail.
        write!(self.batch, "{:.9} {name} {mark} ", Timestamp::now()).ok();
        self.batch.extend_from_slice(text);
        self.batch.push(b'\n');
    }

    /// Writes the entries. A disk that is full loses them: the container must not stand still for its log.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let length = self.batch.len() as u64;
        if self.written > 0 && self.written + length > self.bytes_max {
            self.rotate();
        }
        if self.file.is_none() {
            self.file = append(&self.path).ok();
        }
        if let Some(file) = &mut self.file
            && file.write_all(&self.batch).is_ok()
        {
            self.written += length;
        }
        self.batch = Vec::new();
    }

    fn rotate(&mut self) {
        self.file = None;
        std::fs::rename(&self.path, rotated(&self.path)).ok();
        self.written = 0;
    }
}

/// Where a log's older half is.
fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, source: Source, mut bytes: &[u8], log: &mut Log) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(source, &bytes[..end], log);
            log.entry(source, &self.pending, true);
            self.pending.clear();
            bytes = &bytes[end + 1..];
        }
        self.add(source, bytes, log);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
    }

    fn add(&mut self, source: Source, mut bytes: &[u8], log: &mut Log) {
        while self.pending.len() + bytes.len() > LINE_MAX {
            let (now, later) = bytes.split_at(LINE_MAX - self.pending.len());
            self.pending.extend_from_slice(now);
            log.entry(source, &self.pending, false);
            self.pending.clear();
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The stream ended: what is left is a line too.
    pub(super) fn finish(&mut self, source: Source, log: &mut Log) {
        if !self.pending.is_empty() {
            log.entry(source, &self.pending, true);
            self.pending = Vec::new();
        }
    }
}

/// The last bytes of a log's text, without the entries' heads, for a container that failed without a message.
pub(super) fn tail(path: &Path, bytes_max: usize, lines_max: usize) -> String {
    let Ok((bytes, cut)) = read_end(path) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    // Where the file was cut there may be half an entry.
    let whole = text.lines().skip(usize::from(cut));
    let lines: Vec<&str> = whole.filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let joined = lines[lines.len().saturating_sub(lines_max)..].join("\n");
    let mut start = joined.len().saturating_sub(bytes_max);
    while !joined.is_char_boundary(start) {
        start += 1;
    }
    joined[start..].to_owned()
}

/// The end of a file, and whether something is before it.
fn read_end(path: &Path) -> std::io::Result<(Vec<u8>, bool)> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_READ_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_READ_MAX).read_to_end(&mut bytes)?;
    Ok((bytes, start > 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn entries(path: &Path) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let entry = |line: &str| {
            let parts: Vec<&str> = line.splitn(4, ' ').collect();
            let time: Timestamp = parts[0].parse().unwrap();
            assert!(time > Timestamp::UNIX_EPOCH);
            assert_eq!(parts[0].len(), "2026-11-21T15:00:00.000000000Z".len());
            (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
        };
        text.lines().map(entry).collect()
    }

    #[test]
    fn lines_become_entries_and_long_ones_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/0.log");
        let mut log = Log::open(&path, 1 << 20).unwrap();
        let mut lines = Lines::default();
        lines.push(Source::Stdout, b"one\ntw", &mut log);
        lines.push(Source::Stdout, b"o\n\n", &mut log);
        lines.push(Source::Stdout, &vec![b'x'; LINE_MAX + 3], &mut log);
        lines.finish(Source::Stdout, &mut log);
        log.flush();
        let entry = |mark: &str, text: &str| ("stdout".to_owned(), mark.to_owned(), text.to_owned());
        let long = "x".repeat(LINE_MAX);
        let expected =
            vec![entry("F", "one"), entry("F", "two"), entry("F", ""), entry("P", &long), entry("F", "xxx")];
        assert_eq!(entries(&path), expected);
    }

    #[test]
    fn a_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path, 1000).unwrap();
        for number in 0..100 {
            log.entry(Source::Stderr, format!("line {number}").as_bytes(), true);
            log.flush();
        }
        assert_eq!(entries(&path).last().unwrap().2, "line 99");
        for file in [path.clone(), rotated(&path)] {
            assert!(std::fs::metadata(file).unwrap().len() <= 1000);
        }
        assert_eq!(tail(&path, 13, 80), "ne 98\nline 99");
        assert_eq!(tail(&path, 1000, 2), "line 98\nline 99");
    }
}
