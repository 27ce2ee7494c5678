//! What agents ask of a pod, call by call.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal};
use sha2::{Digest, Sha256};

use super::super::container::{Running, Stdio, output_pipe};
use super::super::exec::{EXECS_MAX, Exec};
use super::super::log::Log;
use super::super::protocol::{Answer, BLOB_MAX, Call, Message, Request};
use super::super::state::{BLOB, replace};
use super::super::{Launch, host, linux, oom_score};
use super::Pod;
use crate::image::Hold;
use crate::runtime::{ContainerPhase, ContainerState, RuntimeClass, RuntimeError, Started};

/// Containers of one pod, at most.
const CONTAINERS_MAX: usize = 64;

impl Pod {
    pub(super) fn serve(&mut self, agent: u64, request: Request) {
        let id = request.id;
        let answer = match request.call {
            Call::Hello => {
                self.welcome(agent, id);
                return;
            }
            Call::StartContainer(launch)
            | Call::StartConfined(launch)
            | Call::StartBeside(launch)
            | Call::StartLayered(launch) => self.start(*launch),
            Call::Signal { container, signal } => self.signal(&container, signal),
            Call::Exec { container, command, timeout_ms } => {
                match self.exec(agent, id, &container, command, Duration::from_millis(timeout_ms)) {
                    Ok(()) => return, // Answered when the command ends.
                    Err(error) => Err(error),
                }
            }
            Call::Socket => {
                self.give_socket(agent, id);
                return;
            }
            Call::StoreBlob(blob) => self.store_blob(blob),
            Call::Acknowledge { container, attempt } => {
                if let Some(record) = self.state.find(&container, attempt) {
                    record.told = true;
                }
                self.save();
                Ok(Answer::Done)
            }
            Call::Shutdown => {
                self.shut_down(Some((agent, id)));
                return;
            }
            Call::Open(opening) => {
                self.open(agent, id, *opening);
                return;
            }
        };
        self.answer(agent, id, answer);
    }

    pub(super) fn answer(&mut self, agent: u64, id: u64, answer: Result<Answer, RuntimeError>) {
        if let Some(agent) = self.agents.get(agent) {
            agent.send(&Message::Answer { id, answer });
        }
    }

    fn welcome(&mut self, agent: u64, id: u64) {
        let Some(agent) = self.agents.get(agent) else { return };
        agent.subscribed = true;
        agent.send(&Message::Answer { id, answer: Ok(Answer::Welcome(Box::new(self.state.clone()))) });
        for record in self.state.containers.iter().filter(|record| !record.told) {
            if let ContainerPhase::Exited(exit) = &record.state.phase {
                let (container, attempt) = (record.state.name.clone(), record.state.attempt);
                agent.send(&Message::Exited { container, attempt, exit: exit.clone() });
            }
        }
    }

    fn start(&mut self, launch: Launch) -> Result<Answer, RuntimeError> {
        if let Some(running) = self.state.running(&launch.spec.name) {
            if running.attempt == launch.spec.attempt {
                return Ok(Answer::Started { started: running.started.clone(), warnings: Vec::new() });
            }
            return Err(RuntimeError::Invalid(format!(
                "container \"{}\" still runs as attempt {}: wait for its end",
                running.name, running.attempt
            )));
        }
        if self.shutdown.is_some() || self.running.len() >= CONTAINERS_MAX {
            return Err(RuntimeError::Invalid(format!(
                "the pod ends or has {CONTAINERS_MAX} containers already"
            )));
        }
        let beside = self.process_target(&launch)?;
        // Before its files are looked at: from here on nobody removes them.
        let hold = match launch.rootfs.is_none() {
            true => None,
            false => Some(Hold::of(&launch.rootfs).map_err(RuntimeError::CreateFailed)?),
        };
        let log = Log::open(&launch.spec.log_path, self.setup.log_bytes_max).map_err(|source| {
            RuntimeError::CreateFailed(format!("open the log {}: {source}", launch.spec.log_path.display()))
        })?;
        let cgroup = self.cgroup(&launch.spec.name);
        let score = launch.spec.oom_score_adj.unwrap_or(0);
        let result = oom_score::with(score, || match self.class() {
            RuntimeClass::Container => linux::start(&launch, &self.dir, &self.sandbox, &cgroup, beside),
            RuntimeClass::Host => host::start(&launch, &self.dir),
        });
        let (process, mut warnings) = match result {
            Ok(started) => started,
            Err(error) => {
                self.clean_up(&launch.spec.name);
                return Err(error);
            }
        };
        warnings.extend(self.sandbox.warnings.iter().cloned());
        let started_at_ms = Timestamp::now().as_millisecond();
        let container_id = self.container_id(&launch, started_at_ms);
        let (name, pid) = (launch.spec.name.clone(), process.pid);
        let (attempt, image) = (launch.spec.attempt, launch.spec.image.clone());
        let running = Running::new(launch, process, started_at_ms, log);
        let started = Started { container_id, pid, started_at_ms };
        self.state.started(ContainerState {
            name: name.clone(),
            attempt,
            image,
            started: started.clone(),
            phase: ContainerPhase::Running,
        });
        self.save();
        if let Some(hold) = hold {
            self.holds.insert(name.clone(), hold);
        }
        self.running.insert(name, running);
        Ok(Answer::Started { started, warnings })
    }

    /// The first process of the container whose processes a new one is to see. It is this shim's child, so that its number stays its own
    /// until it is waited for.
    fn process_target(&self, launch: &Launch) -> Result<Option<i32>, RuntimeError> {
        let Some(target) = &launch.spec.process_target else { return Ok(None) };
        let running = self.running.get(target);
        let pid = running.map(|running| running.pid);
        pid.map(Some).ok_or_else(|| {
            RuntimeError::CreateFailed(format!("unable to find target container {target}: it does not run"))
        })
    }

    fn signal(&mut self, container: &str, signal: i32) -> Result<Answer, RuntimeError> {
        let named = Signal::from_named_raw(signal)
            .ok_or_else(|| RuntimeError::Invalid(format!("signal {signal} does not exist")))?;
        if let Some(pid) = self.running.get(container).and_then(|running| Pid::from_raw(running.pid)) {
            match self.class() {
                // The end of its first process ends every process of a container.
                RuntimeClass::Container => rustix::process::kill_process(pid, named).ok(),
                RuntimeClass::Host => rustix::process::kill_process_group(pid, named).ok(),
            };
        }
        Ok(Answer::Done)
    }

    fn exec(
        &mut self,
        agent: u64,
        request: u64,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        if self.execs.len() >= EXECS_MAX {
            return Err(RuntimeError::Invalid(format!(
                "{EXECS_MAX} commands run in this pod already: try later"
            )));
        }
        let running = self.running(container)?;
        let (stdout, far_stdout) = output_pipe().map_err(RuntimeError::CreateFailed)?;
        let (stderr, far_stderr) = output_pipe().map_err(RuntimeError::CreateFailed)?;
        let stdio = Stdio { stdin: None, stdout: far_stdout, stderr: far_stderr, terminal: false };
        let pid = self.spawn(running, command, stdio)?;
        self.execs.push(Exec::new(pid, [stdout, stderr], agent, request, timeout));
        Ok(())
    }

    /// The shim is in the pod's network, so a socket that it makes is of that network, whoever connects it.
    fn give_socket(&mut self, agent: u64, id: u64) {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) {
            Ok(socket) => {
                if let Some(agent) = self.agents.get(agent) {
                    agent.send_with(&Message::Answer { id, answer: Ok(Answer::Done) }, &[socket]);
                }
            }
            Err(source) => {
                let (pod_uid, cause) = (self.state.sandbox.uid.clone(), format!("make a socket: {source}"));
                self.answer(agent, id, Err(RuntimeError::Shim { pod_uid, cause }));
            }
        }
    }

    fn store_blob(&mut self, blob: Vec<u8>) -> Result<Answer, RuntimeError> {
        if blob.len() > BLOB_MAX {
            return Err(RuntimeError::Invalid(format!("the pod's blob is longer than {BLOB_MAX} bytes")));
        }
        replace(&self.dir.join(BLOB), &blob).map_err(RuntimeError::CreateFailed)?;
        self.state.sandbox.blob = blob;
        Ok(Answer::Done)
    }

    fn container_id(&self, launch: &Launch, started_at_ms: i64) -> String {
        let uid = &self.state.sandbox.uid;
        let seed = format!("{uid}/{}/{}/{started_at_ms}", launch.spec.name, launch.spec.attempt);
        let hex: String = Sha256::digest(seed).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("kontiki://{hex}")
    }
}
