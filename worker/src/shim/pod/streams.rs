//! Streams of processes: their descriptors go to the agent that asked, so that nothing that is read or written comes by here.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};

use super::super::container::{Input, Running, Stdio, input_pipe, listener_pipe, output_pipe};
use super::super::protocol::{Answer, Message, Opened, Opening};
use super::super::{host, linux, oom_score, terminal};
use super::Pod;
use crate::runtime::{RuntimeClass, RuntimeError, StdStreams};

/// Commands with streams that may run at a time in one pod. Those whose agent has gone do not count: without their streams
/// they are processes of their container like any other.
const STREAMS_MAX: usize = 32;

/// A command with streams, or somebody who is attached to a container.
pub(super) struct Stream {
    id: u64,
    /// Of a command.
    pub(super) pid: Option<i32>,
    container: String,
    /// Who asked, and under which number.
    pub(super) agent: u64,
    pub(super) request: u64,
}

/// The command that was started, if one was, and which descriptors the agent gets, in order.
type Begun = (Option<i32>, Opened, Vec<OwnedFd>);
/// What the process gets, which descriptors the agent gets, and these, in order.
type Given = (Stdio, Opened, Vec<OwnedFd>);

impl Pod {
    pub(super) fn open(&mut self, agent: u64, request: u64, opening: Opening) {
        let Opening { container, command, streams } = opening;
        let id = self.next_stream;
        self.next_stream += 1;
        let opened = match command {
            Some(command) => self.run_streamed(&container, command, streams),
            None => self.attach(id, &container, streams),
        };
        match opened {
            Ok((pid, opened, fds)) => {
                self.streams.push(Stream { id, pid, container, agent, request });
                if let Some(agent) = self.agents.get(agent) {
                    let answer = Ok(Answer::Opened(opened));
                    agent.send_with(&Message::Answer { id: request, answer }, &fds);
                }
            }
            Err(error) => self.answer(agent, request, Err(error)),
        }
    }

    fn run_streamed(
        &self,
        container: &str,
        command: Vec<String>,
        streams: StdStreams,
    ) -> Result<Begun, RuntimeError> {
        self.has_room()?;
        let running = self.running(container)?;
        let ends = if streams.tty { self.in_terminal(running) } else { with_pipes(streams) };
        let (stdio, opened, fds) = ends
            .map_err(|cause| RuntimeError::CreateFailed(format!("failed to exec in container: {cause}")))?;
        Ok((Some(self.spawn(running, command, stdio)?), opened, fds))
    }

    fn has_room(&self) -> Result<(), RuntimeError> {
        match self.streams.len() < STREAMS_MAX {
            true => Ok(()),
            false => Err(RuntimeError::Invalid(format!(
                "{STREAMS_MAX} streams of this pod are open already: try later"
            ))),
        }
    }

    fn attach(&mut self, id: u64, container: &str, streams: StdStreams) -> Result<Begun, RuntimeError> {
        self.has_room()?;
        let failed = |cause: String| RuntimeError::CreateFailed(format!("failed to attach: {cause}"));
        let unknown = self.unknown(container);
        let running = self.running.get_mut(container).ok_or(unknown)?;
        if streams.tty != running.launch.spec.tty {
            return Err(RuntimeError::Invalid("the container's terminal is its own or none".to_owned()));
        }
        let (mut opened, mut fds) = (Opened::default(), Vec::new());
        let wants_input = streams.stdin || streams.tty;
        match wants_input.then(|| running.input()).transpose().map_err(failed)?.flatten() {
            Some(Input::Pipe(near)) => {
                opened.stdin = true;
                fds.push(near);
            }
            Some(Input::Terminal(near)) => {
                opened.terminal = true;
                fds.push(near);
            }
            None => {}
        }
        let output = |wanted: bool| match wanted {
            true => listener_pipe().map(|(near, far)| (Some(near), Some(far))),
            false => Ok((None, None)),
        };
        let (near_stdout, far_stdout) = output(streams.stdout).map_err(failed)?;
        let (near_stderr, far_stderr) = output(streams.stderr && !streams.tty).map_err(failed)?;
        (opened.stdout, opened.stderr) = (near_stdout.is_some(), near_stderr.is_some());
        // The terminal goes last.
        let at = fds.len() - usize::from(opened.terminal);
        fds.splice(at..at, [near_stdout, near_stderr].into_iter().flatten());
        running.listen(id, far_stdout, far_stderr);
        Ok((None, opened, fds))
    }

    /// Tells those who did not read fast enough that they are not told any more.
    pub(super) fn cut_off(&mut self, slow: &[u64]) {
        while let Some(index) = self.streams.iter().position(|stream| slow.contains(&stream.id)) {
            let stream = self.streams.swap_remove(index);
            let cause = "output came faster than it was read, and the container does not wait: see its log"
                .to_owned();
            self.answer(stream.agent, stream.request, Err(RuntimeError::Invalid(cause)));
        }
    }

    /// The container that they are attached to has ended.
    pub(super) fn end_attached(&mut self, container: &str, code: i32) {
        let of_it = |stream: &Stream| stream.pid.is_none() && stream.container == container;
        while let Some(index) = self.streams.iter().position(of_it) {
            let stream = self.streams.swap_remove(index);
            self.answer(stream.agent, stream.request, Ok(Answer::Ended { code }));
        }
    }

    pub(super) fn running(&self, container: &str) -> Result<&Running, RuntimeError> {
        self.running.get(container).ok_or_else(|| self.unknown(container))
    }

    fn unknown(&self, container: &str) -> RuntimeError {
        let (pod_uid, container) = (self.state.sandbox.uid.clone(), container.to_owned());
        RuntimeError::ContainerUnknown { pod_uid, container }
    }

    /// Starts a command beside a container's process.
    pub(super) fn spawn(
        &self,
        running: &Running,
        command: Vec<String>,
        stdio: Stdio,
    ) -> Result<i32, RuntimeError> {
        let score = running.launch.spec.oom_score_adj.unwrap_or(0);
        oom_score::with(score, || match self.class() {
            RuntimeClass::Container => linux::exec(&running.launch, &self.dir, command, stdio),
            RuntimeClass::Host => host::exec(&running.launch, &self.dir, &command, stdio),
        })
    }

    fn in_terminal(&self, running: &Running) -> Result<Given, String> {
        let terminal = match self.class() {
            RuntimeClass::Container => terminal::of_process(running.pid, running.launch.uid)?,
            RuntimeClass::Host => terminal::of_machine()?,
        };
        Ok((terminal.stdio()?, Opened { terminal: true, ..Opened::default() }, vec![terminal.near]))
    }

    /// Of those who have gone: their commands find their streams closed, and run on as they like.
    pub(super) fn forget_streams_of_the_gone(&mut self) {
        let (agents, running) = (&self.agents, &mut self.running);
        self.streams.retain(|stream| {
            let there = agents.is_connected(stream.agent);
            if let Some(running) = running.get_mut(&stream.container).filter(|_| !there) {
                running.forget_listener(stream.id);
            }
            there
        });
    }

    /// The container ended. Where no kernel ends the commands in it, this does.
    pub(super) fn end_streams_in(&self, container: &str) {
        let class = self.class();
        let of_it = self.streams.iter().filter(|stream| stream.container == container);
        for pid in
            of_it.filter(|_| class == RuntimeClass::Host).filter_map(|stream| Pid::from_raw(stream.pid?))
        {
            rustix::process::kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

fn with_pipes(streams: StdStreams) -> Result<Given, String> {
    let StdStreams { stdin, stdout, stderr, .. } = streams;
    let mut fds = Vec::new();
    let input = match stdin {
        true => {
            let (near, far) = input_pipe()?;
            fds.push(near);
            Some(far)
        }
        false => None,
    };
    let mut output = |wanted: bool| match wanted {
        true => output_pipe().map(|(near, far)| {
            fds.push(near);
            far
        }),
        false => nowhere(),
    };
    let stdio = Stdio { stdin: input, stdout: output(stdout)?, stderr: output(stderr)?, terminal: false };
    Ok((stdio, Opened { stdin, stdout, stderr, terminal: false }, fds))
}

fn nowhere() -> Result<OwnedFd, String> {
    rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| format!("open /dev/null: {source}"))
}
