//! A running container: its process and its output.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::Launch;
use super::log::{Lines, Log, Source};

/// How much of an output is read before others get their turn.
const CHUNK: usize = 64 * 1024;
/// How often an output is read when its container has ended. What was written before takes fewer: a pipe holds at most
/// 1 MiB unless the machine says otherwise, of which a read takes a chunk, and a terminal some 64 KiB, of which it
/// takes 4.
const DRAIN_READS_MAX: usize = 64;

/// A process that was started, and the near ends of what it has.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) ends: Ends,
}

/// The near ends of a process' input and outputs.
pub(super) enum Ends {
    Pipes {
        /// Nothing, if it has no input.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal {
        input: OwnedFd,
        output: OwnedFd,
    },
}

impl Ends {
    /// Those of the near side of a terminal.
    pub(super) fn terminal(near: OwnedFd) -> Result<Self, String> {
        rustix::io::ioctl_fionbio(&near, true).map_err(|source| format!("open a terminal: {source}"))?;
        Ok(Self::Terminal { output: again(&near)?, input: near })
    }

    /// Pipes, and their far ends for a process.
    pub(super) fn pipes(with_input: bool) -> Result<(Self, Stdio), String> {
        let (stdin, far_stdin) =
            if with_input { input_pipe().map(|(near, far)| (Some(near), Some(far)))? } else { (None, None) };
        let (stdout, far_stdout) = output_pipe()?;
        let (stderr, far_stderr) = output_pipe()?;
        let stdio = Stdio { stdin: far_stdin, stdout: far_stdout, stderr: far_stderr, terminal: false };
        Ok((Self::Pipes { stdin, stdout, stderr }, stdio))
    }
}

/// What a process gets as its input, output and errors.
pub(super) struct Stdio {
    /// Nothing: an input that ends at once.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// All three are one terminal, which the process is to be controlled by.
    pub(super) terminal: bool,
}

/// One running container.
pub(super) struct Running {
    pub(super) launch: Launch,
    pub(super) pid: i32,
    pub(super) started_at_ms: i64,
    log: Log,
    outputs: Vec<Output>,
    /// Who attaches gets a copy of this.
    input: Option<Input>,
    listeners: Vec<Listener>,
}

/// What a container's input is written to.
pub(super) enum Input {
    Pipe(OwnedFd),
    Terminal(OwnedFd),
}

/// Somebody who is attached.
struct Listener {
    /// His number among those of the pod.
    id: u64,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

struct Output {
    source: Source,
    fd: OwnedFd,
    lines: Lines,
}

impl Running {
    /// A terminal's output is that of both, as its reader knows it.
    pub(super) fn new(launch: Launch, Process { pid, ends }: Process, started_at_ms: i64, log: Log) -> Self {
        let output = |source, fd| Output { source, fd, lines: Lines::default() };
        let (outputs, input) = match ends {
            Ends::Pipes { stdin, stdout, stderr } => {
                let outputs = vec![output(Source::Stdout, stdout), output(Source::Stderr, stderr)];
                (outputs, stdin.map(Input::Pipe))
            }
            Ends::Terminal { input, output: from } => {
                (vec![output(Source::Stdout, from)], Some(Input::Terminal(input)))
            }
        };
        Self { launch, pid, started_at_ms, log, outputs, input, listeners: Vec::new() }
    }

    /// A copy of what its input is written to, if there is one. An input that is meant for one is the first's.
    pub(super) fn input(&mut self) -> Result<Option<Input>, String> {
        if self.launch.spec.stdin_once && matches!(self.input, Some(Input::Pipe(_))) {
            return Ok(self.input.take());
        }
        match &self.input {
            None => Ok(None),
            Some(Input::Pipe(near)) => again(near).map(Input::Pipe).map(Some),
            Some(Input::Terminal(near)) => again(near).map(Input::Terminal).map(Some),
        }
    }

    /// From now on what it writes goes there, too.
    pub(super) fn listen(&mut self, id: u64, stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) {
        self.listeners.push(Listener { id, stdout, stderr });
    }

    /// Nobody is there any more.
    pub(super) fn forget_listener(&mut self, id: u64) {
        self.listeners.retain(|listener| listener.id != id);
    }

    /// The outputs that are still open, to wait for.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        self.outputs.iter().map(|output| (output.source, output.fd.as_fd()))
    }

    /// Moves what one output has to the log and to those who listen, a bounded amount of it. Answers who of them did not
    /// read what came before: they are cut off.
    #[must_use]
    pub(super) fn read(&mut self, source: Source, buffer: &mut Vec<u8>) -> Vec<u64> {
        let Some(index) = self.outputs.iter().position(|output| output.source == source) else {
            return Vec::new();
        };
        let mut slow = Vec::new();
        let output = &mut self.outputs[index];
        buffer.resize(CHUNK, 0);
        match rustix::io::read(&output.fd, &mut buffer[..]) {
            Ok(0) => {
                output.lines.finish(source, &mut self.log);
                self.outputs.remove(index);
            }
            Ok(count) => {
                output.lines.push(source, &buffer[..count], &mut self.log);
                // Who hears of it finds it in the log.
                self.log.flush();
                slow = tell(&mut self.listeners, source, &buffer[..count]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Of a terminal: nobody holds its other side any more.
            Err(_) => {
                output.lines.finish(source, &mut self.log);
                self.outputs.remove(index);
            }
        }
        self.log.flush();
        slow
    }

    /// Moves everything that was written before the end to the log. What a process outside the container still
    /// writes is not waited for, however fast it writes.
    pub(super) fn drain(&mut self, buffer: &mut Vec<u8>) -> Vec<u64> {
        let mut slow = Vec::new();
        for source in [Source::Stdout, Source::Stderr] {
            for _ in 0..DRAIN_READS_MAX {
                let output = self.outputs.iter().find(|output| output.source == source);
                if !output.is_some_and(|output| readable_now(output.fd.as_fd())) {
                    break;
                }
                slow.extend(self.read(source, buffer));
            }
        }
        for output in &mut self.outputs {
            output.lines.finish(output.source, &mut self.log);
        }
        self.log.flush();
        self.outputs.clear();
        slow
    }
}

/// Writes to all who listen, and drops those who have no room for it. Answers which of them are still there.
fn tell(listeners: &mut Vec<Listener>, source: Source, bytes: &[u8]) -> Vec<u64> {
    let mut slow = Vec::new();
    listeners.retain(|listener| {
        let fd = match source {
            Source::Stdout => &listener.stdout,
            Source::Stderr => &listener.stderr,
        };
        let Some(fd) = fd else { return true };
        match rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes)) {
            Ok(count) if count == bytes.len() => true,
            Ok(_) | Err(Errno::AGAIN) => {
                slow.push(listener.id);
                false
            }
            Err(_) => false,
        }
    });
    slow
}

fn again(fd: &OwnedFd) -> Result<OwnedFd, String> {
    fd.try_clone().map_err(|source| format!("copy a descriptor: {source}"))
}

/// A pipe whose near end never blocks; both ends close when something else is executed.
pub(super) fn output_pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (near, far) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|source| format!("make a pipe: {source}"))?;
    rustix::io::ioctl_fionbio(&near, true).map_err(|source| format!("make a pipe: {source}"))?;
    Ok((near, far))
}

/// What a listener may be behind, where the kernel allows it.
const LISTENER_BYTES: usize = 1 << 20;

/// A pipe to somebody who listens: writing to its far end never blocks.
pub(super) fn listener_pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (near, far) = output_pipe()?;
    rustix::io::ioctl_fionbio(&far, true).map_err(|source| format!("make a pipe: {source}"))?;
    rustix::pipe::fcntl_setpipe_size(&far, LISTENER_BYTES).ok();
    Ok((near, far))
}

/// The same in the other direction: the near end is written to.
pub(super) fn input_pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (far, near) =
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::runtime::ContainerSpec;

    /// A container with this output, whose log is in the directory.
    fn running(stdout: OwnedFd, dir: &std::path::Path) -> Running {
        let launch = Launch {
            spec: ContainerSpec::default(),
            rootfs: crate::image::Root::Flat("".into()),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: "/".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        };
        let (stderr, _) = output_pipe().unwrap();
        let ends = Ends::Pipes { stdin: None, stdout, stderr };
        let log = Log::open(&dir.join("0.log"), 1 << 30).unwrap();
        Running::new(launch, Process { pid: 1, ends }, 0, log)
    }

    #[test]
    fn what_was_written_before_the_end_is_in_the_log_though_somebody_holds_the_pipe() {
        const LINE: &[u8] = b"abc\n";
        let dir = tempfile::tempdir().unwrap();
        let (near, far) = output_pipe().unwrap();
        // As large as a container may make it.
        rustix::pipe::fcntl_setpipe_size(&far, 1 << 20).ok();
        rustix::io::ioctl_fionbio(&far, true).unwrap();
        let mut written = 0;
        while let Ok(count) = rustix::io::write(&far, &LINE.repeat(1024)) {
            written += count;
        }
        running(near, dir.path()).drain(&mut Vec::new());
        let log = std::fs::read_to_string(dir.path().join("0.log")).unwrap();
        assert_eq!(log.lines().count(), written / LINE.len());
        drop(far);
    }

    #[test]
    fn who_never_stops_writing_does_not_hold_up_the_end() {
        let dir = tempfile::tempdir().unwrap();
        // There is always more to read.
        let zero = rustix::fs::open("/dev/zero", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut running = running(zero, dir.path());
        running.drain(&mut Vec::new());
        assert_eq!(running.outputs().count(), 0);
        assert!(std::fs::metadata(dir.path().join("0.log")).unwrap().len() > 1 << 20);
    }
}
