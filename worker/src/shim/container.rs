//! A running container: its process and its output.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::Launch;
use super::log::{Lines, Log, Source};

/// How much of an output is read before others get their turn.
const CHUNK: usize = 64 * 1024;

/// A process that was started, and the near ends of its outputs.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// One running container.
pub(super) struct Running {
    pub(super) launch: Launch,
    pub(super) pid: i32,
    pub(super) started_at_ms: i64,
    log: Log,
    outputs: Vec<Output>,
}

struct Output {
    source: Source,
    fd: OwnedFd,
    lines: Lines,
}

impl Running {
    pub(super) fn new(launch: Launch, process: Process, started_at_ms: i64, log: Log) -> Self {
        let output = |source, fd| Output { source, fd, lines: Lines::default() };
        let outputs = vec![output(Source::Stdout, process.stdout), output(Source::Stderr, process.stderr)];
        Self { launch, pid: process.pid, started_at_ms, log, outputs }
    }

    /// The outputs that are still open, to wait for.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        self.outputs.iter().map(|output| (output.source, output.fd.as_fd()))
    }

    /// Moves what one output has to the log, a bounded amount of it.
    pub(super) fn read(&mut self, source: Source, buffer: &mut Vec<u8>) {
        let Some(index) = self.outputs.iter().position(|output| output.source == source) else { return };
        let output = &mut self.outputs[index];
        buffer.resize(CHUNK, 0);
        match rustix::io::read(&output.fd, &mut buffer[..]) {
            Ok(0) => {
                output.lines.finish(source, &mut self.log);
                self.outputs.remove(index);
            }
            Ok(count) => output.lines.push(source, &buffer[..count], &mut self.log),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.outputs.remove(index);
            }
        }
        self.log.flush();
    }

    /// Moves everything that was written before the end to the log. What a process outside the container still
    /// writes is not waited for.
    pub(super) fn drain(&mut self, buffer: &mut Vec<u8>) {
        for source in [Source::Stdout, Source::Stderr] {
            while let Some(output) = self.outputs.iter().find(|output| output.source == source) {
                if !readable_now(output.fd.as_fd()) {
                    break;
                }
                self.read(source, buffer);
            }
        }
        for output in &mut self.outputs {
            output.lines.finish(output.source, &mut self.log);
        }
        self.log.flush();
        self.outputs.clear();
    }
}

/// A pipe whose near end never blocks; both ends close when something else is executed.
pub(super) fn output_pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (near, far) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|source| format!("make a pipe: {source}"))?;
    rustix::io::ioctl_fionbio(&near, true).map_err(|source| format!("make a pipe: {source}"))?;
    Ok((near, far))
}

/// Whether a read would give something (data or the end) at once.
pub(super) fn readable_now(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
