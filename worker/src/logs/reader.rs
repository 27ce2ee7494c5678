//! Reads one log file from where the request begins, line by line.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::line::Line;

/// What is read at once, and so the size of what is sent at once.
const CHUNK: usize = 32 * 1024;
/// A longer line is passed on in pieces, so that a writer without line ends does not fill the memory.
const LINE_MAX: usize = 256 * 1024;

/// What of a log is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cut {
    pub(super) tail_lines: Option<u64>,
    pub(super) since_ms: Option<i64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) timestamps: bool,
    /// What is written from now on is wanted too.
    pub(super) growing: bool,
}

/// A place in a log file.
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    inode: u64,
    cut: Cut,
    left: u64,
    /// How much of the file is still to be read.
    unread: u64,
    pending: Vec<u8>,
    /// The last line goes on: it has its timestamp already.
    within_line: bool,
}

impl Reader {
    /// Opens a log at the place where the cut begins.
    pub(super) async fn open(path: &Path, cut: Cut) -> io::Result<Reader> {
        let mut file = File::open(path).await?;
        let metadata = file.metadata().await?;
        let (inode, end) = (metadata.ino(), metadata.len());
        let mut start = 0;
        if let Some(lines) = cut.tail_lines {
            start = tail(&mut file, lines, end).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        let left = cut.limit_bytes.unwrap_or(u64::MAX);
        let unread = if cut.growing { u64::MAX } else { end - start };
        let (path, pending) = (path.to_owned(), Vec::new());
        Ok(Reader { path, file, inode, cut, left, unread, pending, within_line: false })
    }

    /// Nothing more is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 || self.unread == 0
    }

    /// The next output; none at what is the end for now.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while out.is_empty() && !self.is_done() {
            let mut chunk = [0_u8; CHUNK];
            let room = usize::try_from(self.unread).map_or(CHUNK, |unread| unread.min(CHUNK));
            let count = self.file.read(&mut chunk[..room]).await?;
            if count > 0 {
                self.unread -= count as u64;
                self.pending.extend_from_slice(&chunk[..count]);
                self.drain(&mut out);
                continue;
            }
            let Some((file, inode)) = self.successor().await? else { return Ok(None) };
            // What was written between the last look and the rotation comes first.
            let count = self.file.read(&mut chunk[..room]).await?;
            if count == 0 {
                (self.file, self.inode) = (file, inode);
                self.pending.clear();
            } else {
                self.unread -= count as u64;
                self.pending.extend_from_slice(&chunk[..count]);
                self.drain(&mut out);
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.put(&rest[..end], out);
            rest = &rest[end + 1..];
        }
        if rest.len() > LINE_MAX {
            self.put(rest, out);
            rest = &[];
        }
        self.pending = rest.to_vec();
    }

    fn put(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = Line::parse(line) else { return };
        let before = |since_ms| line.time_ms().is_some_and(|time_ms| time_ms < since_ms);
        if self.cut.since_ms.is_some_and(before) {
            return;
        }
        let start = out.len();
        if self.cut.timestamps && !self.within_line {
            out.extend_from_slice(line.time);
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.within_line = line.partial;
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        out.truncate(start.saturating_add(room));
        self.left -= (out.len() - start) as u64;
    }

    /// The file that took this one's place, if there is one.
    async fn successor(&self) -> io::Result<Option<(File, u64)>> {
        let Ok(file) = File::open(&self.path).await else { return Ok(None) };
        let inode = file.metadata().await?.ino();
        Ok((inode != self.inode).then_some((file, inode)))
    }
}

/// Where the last `lines` lines before `end` begin, read from there in chunks.
async fn tail(file: &mut File, lines: u64, end: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(end);
    }
    let mut position = end;
    let mut found = 0;
    let mut buffer = vec![0_u8; CHUNK];
    while position > 0 {
        let start = position.saturating_sub(CHUNK as u64);
        let size = usize::try_from(position - start).unwrap_or(CHUNK);
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut buffer[..size]).await?;
        for (at, byte) in buffer[..size].iter().enumerate().rev() {
            let place = start + at as u64 + 1;
            // The very last line end closes the last line rather than beginning one.
            if *byte == b'\n' && place != end {
                found += 1;
                if found == lines {
                    return Ok(place);
                }
            }
        }
        position = start;
    }
    Ok(0)
}
