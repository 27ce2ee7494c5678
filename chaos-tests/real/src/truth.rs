//! What runs in truth, told by the containers themselves and the kernel, and not by the system under test.
//!
//! The process of every container connects to a socket of this harness, says who it is, and stays connected until it dies. The kernel
//! closes the connection when the process is gone, however it went; so nothing that ran can be missed, however briefly. One
//! thread hears all of them and looks for ends before beginnings: an end and a beginning that one caused by the other are never seen
//! in the wrong order. Times are those at which the thread saw it, some milliseconds late on a busy machine.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use kontiki_chaos_plan::history::InstanceEvent;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// The variable that tells a container where the socket is.
pub const SOCKET: &str = "CHAOS_SOCKET";

/// The variable that tells a container to end well after so many seconds.
pub const RUNS_S: &str = "CHAOS_RUNS_S";

/// Who a container is: it says so in one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its node.
    pub node: String,
    /// Its pod's uid.
    pub uid: String,
    /// Its pod's `namespace/name`.
    pub pod: String,
    /// Its name.
    pub container: String,
}

/// A container that is connected.
struct Heard {
    stream: UnixStream,
    line: Vec<u8>,
    event: Option<InstanceEvent>,
    pid: i32,
}

/// Hears containers as long as it lives.
pub struct Truth {
    shared: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    events: Vec<InstanceEvent>,
    running: BTreeMap<i32, InstanceEvent>,
    ended: bool,
}

impl Truth {
    /// Listens.
    pub fn listen(path: &Path, clock: Clock) -> anyhow::Result<Truth> {
        let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
        listener.set_nonblocking(true)?;
        let truth = Truth { shared: Arc::default() };
        let shared = truth.shared.clone();
        std::thread::Builder::new().name("truth".into()).spawn(move || hear(&listener, clock, &shared))?;
        Ok(truth)
    }

    /// All that was heard.
    pub fn events(&self) -> Vec<InstanceEvent> {
        self.shared.lock().events.clone()
    }

    /// What runs now, by process.
    pub fn running(&self) -> BTreeMap<i32, InstanceEvent> {
        self.shared.lock().running.clone()
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
    }
}

fn hear(listener: &UnixListener, clock: Clock, shared: &Mutex<Known>) {
    let mut heard: Vec<Heard> = Vec::new();
    let mut attempts: BTreeMap<(String, String), u32> = BTreeMap::new();
    while !shared.lock().ended {
        let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
        fds.extend(heard.iter().map(|heard| PollFd::new(&heard.stream, PollFlags::IN)));
        let idle = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let _ = poll(&mut fds, Some(&idle));
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        // Ends first.
        let mut hellos = Vec::new();
        let mut index = 0;
        heard.retain_mut(|heard| {
            index += 1;
            if !ready[index] {
                return true;
            }
            let lives = heard.read();
            if !lives {
                heard.over(&clock, &mut attempts, &mut shared.lock());
            }
            lives
        });
        for heard in heard.iter_mut().filter(|heard| heard.event.is_none()) {
            hellos.extend(heard.hello(&clock, &mut attempts).map(|event| (heard.pid, event)));
        }
        while let Ok((stream, _)) = listener.accept() {
            let _ = stream.set_nonblocking(true);
            let pid = rustix::net::sockopt::socket_peercred(&stream)
                .map_or(0, |who| who.pid.as_raw_nonzero().get());
            let mut new = Heard { stream, line: Vec::new(), event: None, pid };
            if new.read() {
                hellos.extend(new.hello(&clock, &mut attempts).map(|event| (pid, event)));
                heard.push(new);
            } else {
                new.over(&clock, &mut attempts, &mut shared.lock());
            }
        }
        let mut known = shared.lock();
        for (pid, event) in hellos {
            known.running.insert(pid, event.clone());
            known.events.push(event);
        }
    }
}

impl Heard {
    /// Reads what is there. Answers whether the process lives.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 512];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.line.extend_from_slice(&bytes[..length]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Its process is gone. It may have been so brief that nobody has read who it was.
    fn over(&mut self, clock: &Clock, attempts: &mut BTreeMap<(String, String), u32>, known: &mut Known) {
        if self.event.is_none() {
            known.events.extend(self.hello(clock, attempts));
        }
        let Some(event) = self.event.clone() else { return };
        known.running.remove(&self.pid);
        known.events.push(InstanceEvent {
            at_ns: clock.now_ns(),
            running: false,
            exit: self.exit(),
            ..event
        });
    }

    /// Its second line: the code with which it ends, if it ends by itself.
    fn exit(&self) -> Option<i32> {
        let line = self.line.split(|byte| *byte == b'\n').nth(1)?;
        std::str::from_utf8(line).ok()?.parse().ok()
    }

    /// Its first line, once.
    fn hello(
        &mut self,
        clock: &Clock,
        attempts: &mut BTreeMap<(String, String), u32>,
    ) -> Option<InstanceEvent> {
        let end = self.line.iter().position(|byte| *byte == b'\n')?;
        let hello: Hello = serde_json::from_slice(&self.line[..end]).ok()?;
        let count = attempts.entry((hello.uid.clone(), hello.container.clone())).or_default();
        let attempt = *count;
        *count += 1;
        let Hello { node, uid: pod_uid, pod, container } = hello;
        let event = InstanceEvent {
            at_ns: clock.now_ns(),
            node,
            pod_uid,
            pod,
            container,
            attempt,
            running: true,
            exit: None,
        };
        self.event = Some(event.clone());
        Some(event)
    }
}

/// What the process of a container does: says who it is and waits for its end.
pub fn tell() -> anyhow::Result<()> {
    let of = |name: &str| std::env::var(name).with_context(|| format!("no {name}"));
    let mut stream = UnixStream::connect(of(SOCKET)?)?;
    let hello = Hello {
        node: of("NODE")?,
        uid: of("POD_UID")?,
        pod: format!("{}/{}", of("POD_NAMESPACE")?, of("POD_NAME")?),
        container: "main".into(),
    };
    stream.write_all(format!("{}\n", serde_json::to_string(&hello)?).as_bytes())?;
    let Ok(seconds) = of(RUNS_S) else {
        // Until it is killed, or until nobody listens any more.
        let _ = stream.read(&mut [0]);
        return Ok(());
    };
    std::thread::sleep(Duration::from_secs(seconds.parse()?));
    stream.write_all(b"0\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(path: &Path, uid: &str) -> UnixStream {
        let mut stream = UnixStream::connect(path).unwrap();
        let hello = Hello { node: "n".into(), uid: uid.into(), pod: "d/p".into(), container: "main".into() };
        writeln!(stream, "{}", serde_json::to_string(&hello).unwrap()).unwrap();
        stream
    }

    fn until(truth: &Truth, count: usize) -> Vec<InstanceEvent> {
        kontiki_chaos_tests::eventually("events", || {
            let events = truth.events();
            if events.len() >= count { Ok(events) } else { Err(format!("{events:?}")) }
        })
    }

    #[test]
    fn it_hears_beginnings_ends_and_attempts_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let truth = Truth::listen(&path, Clock::start()).unwrap();
        let first = connect(&path, "u1");
        until(&truth, 1);
        drop(first);
        until(&truth, 2);
        let second = connect(&path, "u1");
        let events = until(&truth, 3);
        let seen: Vec<_> = events.iter().map(|e| (e.running, e.attempt)).collect();
        assert_eq!(seen, [(true, 0), (false, 0), (true, 1)]);
        assert_eq!(truth.running().len(), 1);
        drop(second);
        // So brief that it is gone before it is heard.
        let mut brief = connect(&path, "u2");
        writeln!(brief, "0").unwrap();
        drop(brief);
        let events = until(&truth, 6);
        let brief = events.iter().filter(|e| e.pod_uid == "u2");
        assert_eq!(brief.map(|e| (e.running, e.exit)).collect::<Vec<_>>(), [(true, None), (false, Some(0))]);
    }
}
