//! Commands that run in a container beside its own process, until they end or their time is over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::container::readable_now;
use crate::runtime::ExecOutput;

/// Commands that may run at a time in one pod.
pub(super) const EXECS_MAX: usize = 32;
/// What is kept of each output; the rest is read and dropped, so that the command does not stand still.
const OUTPUT_MAX: usize = 256 * 1024;

/// A command that runs.
pub(super) struct Exec {
    pub(super) pid: i32,
    /// Who asked, and under which number.
    pub(super) agent: u64,
    pub(super) request: u64,
    pub(super) deadline: Instant,
    outputs: [Option<OwnedFd>; 2],
    output: ExecOutput,
}

impl Exec {
    pub(super) fn new(pid: i32, outputs: [OwnedFd; 2], agent: u64, request: u64, timeout: Duration) -> Self {
        let deadline = Instant::now() + timeout;
        let outputs = outputs.map(Some);
        Self { pid, agent, request, deadline, outputs, output: ExecOutput::default() }
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.outputs.iter().enumerate().filter_map(|(index, fd)| fd.as_ref().map(|fd| (index, fd.as_fd())))
    }

    pub(super) fn read(&mut self, index: usize, buffer: &mut Vec<u8>) {
        let Some(fd) = self.outputs.get(index).and_then(Option::as_ref) else { return };
        buffer.resize(OUTPUT_MAX / 4, 0);
        match rustix::io::read(fd, &mut buffer[..]) {
            Ok(0) => self.outputs[index] = None,
            Ok(count) => {
                let kept = if index == 0 { &mut self.output.stdout } else { &mut self.output.stderr };
                let room = OUTPUT_MAX.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.outputs[index] = None,
        }
    }

    /// Its time is over: the caller kills it.
    pub(super) fn time_out(&mut self) {
        self.output.timed_out = true;
    }

    pub(super) fn timed_out(&self) -> bool {
        self.output.timed_out
    }

    /// The command ended. A child that it left behind may hold its outputs open and is not waited for.
    pub(super) fn finish(mut self, code: i32, buffer: &mut Vec<u8>) -> ExecOutput {
        for index in 0..self.outputs.len() {
            while let Some(fd) = self.outputs[index].as_ref().filter(|fd| readable_now(fd.as_fd())) {
                let _ = fd;
                self.read(index, buffer);
                if self.output.stdout.len() >= OUTPUT_MAX || self.output.stderr.len() >= OUTPUT_MAX {
                    break;
                }
            }
        }
        self.output.code = code;
        self.output
    }
}
