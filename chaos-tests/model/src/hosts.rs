//! What can become of a controller or a worker: it crashes, stands still, comes back; its connections break.

use crate::{
    net::Host,
    time::{MICRO, MS},
    world::World,
};

impl World {
    pub(crate) fn crash_controller(&mut self, at: usize) {
        if self.controllers[at].down > 0 {
            self.controllers[at].down += 1;
            return;
        }
        self.change(|world| {
            world.controllers[at].down = 1;
            world.controllers[at].late = None;
            world.faults.frozen.remove(&at);
            world.raft.sending[at] = false;
            world.raft.learning[at] = false;
            world.vanish(at);
            world.connections_break(at);
            world.watches_break(at);
        });
    }

    pub(crate) fn replace_member(&mut self, at: usize) {
        self.crash_controller(at);
        // It comes back with nothing, under another id, and learns everything from the others.
        let fresh = crate::controller::Replica::default();
        self.controllers[at].feed.reset(0);
        self.controllers[at].replica = fresh;
        self.raft.held[at] = 0;
        self.notes.reached("member-replaced");
    }

    pub(crate) fn crash_worker(&mut self, worker: usize, machine: bool) {
        let host = self.host(worker);
        if machine {
            self.all_containers_die(worker);
        }
        if self.workers[worker].down > 0 {
            self.workers[worker].down += 1;
            return;
        }
        self.change(|world| {
            world.workers[worker].down = 1;
            world.faults.frozen.remove(&host);
            world.agent_dies(worker);
        });
    }

    pub(crate) fn start(&mut self, host: Host) {
        match host.checked_sub(self.controllers.len()) {
            None => {
                self.controllers[host].down -= 1;
                if self.controllers[host].down == 0 {
                    self.controllers[host].clock.restart();
                    self.restart_replica(host);
                    self.change(|_| {});
                }
            }
            Some(worker) => {
                self.workers[worker].down -= 1;
                if self.workers[worker].down == 0 {
                    self.change(|_| {});
                    self.agent_returns(worker);
                }
            }
        }
    }

    pub(crate) fn pause(&mut self, host: Host) {
        self.change(|world| match host.checked_sub(world.controllers.len()) {
            None => world.controllers[host].paused += 1,
            Some(worker) => world.workers[worker].paused += 1,
        });
    }

    pub(crate) fn resume(&mut self, host: Host) {
        self.change(|world| match host.checked_sub(world.controllers.len()) {
            None => world.controllers[host].paused -= 1,
            Some(worker) => world.workers[worker].paused -= 1,
        });
        if self.awake(host) {
            for what in self.faults.frozen.remove(&host).unwrap_or_default() {
                self.after(10 * MICRO, what);
            }
        }
    }

    /// All connections of a host are reset.
    pub(crate) fn reset(&mut self, host: Host) {
        let of = |at: usize, worker: usize| at == host || self.host(worker) == host;
        let hit = self.sessions.values().filter(|s| of(s.at, s.worker)).map(|s| s.worker);
        for worker in hit.collect::<Vec<_>>() {
            self.hang_up(worker);
            self.dial_soon(worker, 10 * MS);
        }
        if host < self.controllers.len() {
            self.connections_break(host);
            self.watches_break(host);
        }
    }

    pub(crate) fn exit_containers(&mut self, worker: usize, count: u32) -> usize {
        let running = self.workers[worker].pods.iter().filter(|(_, pod)| pod.runs.is_some());
        let running: Vec<_> = running.map(|(uid, _)| uid.clone()).take(count as usize).collect();
        for uid in &running {
            self.container_exits(worker, uid, 1);
        }
        running.len()
    }

    pub(crate) fn runtime_goes_on(&mut self, worker: usize) {
        self.workers[worker].hanging -= 1;
        if self.workers[worker].hanging == 0 {
            for what in std::mem::take(&mut self.workers[worker].hung) {
                self.after(MS, what);
            }
        }
    }

    pub(crate) fn tell_the_truth(&mut self, worker: usize, event: usize) {
        self.faults.lying.remove(&event);
        if self.workers[worker].down == 0 {
            self.agent_dies(worker);
            self.agent_returns(worker);
        }
    }
}
