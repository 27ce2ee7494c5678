//! Watches of clients: they list, then follow one controller's feed, and go on elsewhere when it breaks. The feed is the
//! product's own.

use kontiki_chaos_plan::{
    history::{WatchRecord, WatchStep},
    names,
    plan::Client,
};

use crate::{
    requests::Intent,
    time::MS,
    world::{Happening, World},
};

/// Events that are read at once.
const BATCH: usize = 256;

/// A watch of a client.
#[derive(Debug)]
pub(crate) struct Watching {
    client: Client,
    record: usize,
    server: usize,
    resume_via: usize,
    /// Everything up to this revision was delivered; none before the first list.
    after: Option<u64>,
    open: bool,
    /// It reads nothing until then.
    stalled_until: u64,
    stall: u64,
    epoch: u64,
}

impl World {
    /// A client begins to watch the registers.
    pub(crate) fn watch(&mut self, client: Client, via: u32, resume_via: u32, stall_ms: u64) {
        let record = self.notes.watches.len();
        let prefix = names::REGISTERS.to_owned();
        self.notes.watches.push(WatchRecord { client, prefix, steps: Vec::new() });
        let all = self.controllers.len();
        let watch = self.clients.watches.len();
        self.clients.watches.push(Watching {
            client,
            record,
            server: via as usize % all,
            resume_via: resume_via as usize % all,
            after: None,
            open: false,
            stalled_until: 0,
            stall: stall_ms * MS,
            epoch: 0,
        });
        self.watch_begin(watch, 0);
    }

    /// Opens it where it left off, or lists first.
    pub(crate) fn watch_begin(&mut self, watch: usize, epoch: u64) {
        let it = &self.clients.watches[watch];
        if it.epoch != epoch || it.open {
            return self.feed_watch(watch);
        }
        let (server, client) = (it.server, it.client);
        if !self.awake(server) {
            return self.watch_again(watch);
        }
        match it.after {
            None => {
                self.call_api(client, server, None, Intent::ListForWatch { watch });
            }
            Some(from) => {
                self.step(watch, WatchStep::Opened { server: server as u32, from });
                self.clients.watches[watch].open = true;
                self.feed_watch(watch);
            }
        }
    }

    /// What it listed is there.
    pub(crate) fn watch_listed(&mut self, watch: usize, server: usize) {
        let view = &self.controllers[server].replica.state;
        let (revision, items) = (view.revision(), crate::requests::registers(view));
        let it = &mut self.clients.watches[watch];
        if it.open || it.after.is_some() {
            return;
        }
        (it.server, it.after, it.open) = (server, Some(revision), true);
        it.stalled_until = self.now + std::mem::take(&mut it.stall);
        let (until, epoch) = (it.stalled_until, it.epoch);
        let server = server as u32;
        self.step(watch, WatchStep::Listed { server, revision, items });
        self.step(watch, WatchStep::Opened { server, from: revision });
        if until > self.now {
            self.agenda.enter(until, Happening::Watch { watch, epoch });
        }
    }

    /// A controller has folded something.
    pub(crate) fn feed_watches(&mut self, at: usize) {
        for watch in 0..self.clients.watches.len() {
            if self.clients.watches[watch].server == at {
                self.feed_watch(watch);
            }
        }
    }

    fn feed_watch(&mut self, watch: usize) {
        loop {
            let it = &self.clients.watches[watch];
            let Some(after) = it.after.filter(|_| it.open && it.stalled_until <= self.now) else { return };
            if self.controllers[it.server].down > 0 {
                return;
            }
            match self.controllers[it.server].feed.read(after, BATCH) {
                Err(_) => {
                    self.notes.reached("watch-expired");
                    self.step(watch, WatchStep::Closed { code: Some(410) });
                    let it = &mut self.clients.watches[watch];
                    (it.open, it.after) = (false, None);
                    return self.watch_again(watch);
                }
                Ok(batch) => {
                    if batch.revision == after {
                        return;
                    }
                    for event in &batch.events {
                        let revision = event.event.revision;
                        let key = names::text(event.event.key());
                        if !key.starts_with(names::REGISTERS) {
                            continue;
                        }
                        let step = match &event.event.new {
                            Some(object) => WatchStep::Put {
                                key,
                                value: names::value_of(&object.document.whole()),
                                revision,
                            },
                            None => WatchStep::Deleted { key, revision },
                        };
                        self.step(watch, step);
                    }
                    self.clients.watches[watch].after = Some(batch.revision);
                    if self.rng.chance(10) {
                        self.step(watch, WatchStep::Bookmark { revision: batch.revision });
                    }
                }
            }
        }
    }

    /// It is begun again after a moment, where it is to be resumed.
    pub(crate) fn watch_again(&mut self, watch: usize) {
        let all = self.controllers.len();
        let delay = 10 * MS + self.rng.below(90 * MS);
        let it = &mut self.clients.watches[watch];
        it.epoch += 1;
        let next = if it.server == it.resume_via { it.server + 1 } else { it.resume_via };
        it.server = next % all;
        let epoch = it.epoch;
        self.after(delay, Happening::Watch { watch, epoch });
    }

    /// A controller's process is gone, and the watches with it.
    pub(crate) fn watches_break(&mut self, at: usize) {
        for watch in 0..self.clients.watches.len() {
            let it = &mut self.clients.watches[watch];
            if it.server == at && it.open {
                it.open = false;
                self.notes.reached("watch-resumed");
                self.step(watch, WatchStep::Closed { code: None });
                self.watch_again(watch);
            }
        }
    }

    fn step(&mut self, watch: usize, step: WatchStep) {
        let record = self.clients.watches[watch].record;
        self.notes.watches[record].steps.push((self.now, step));
    }

    /// How many steps a client's last watch has, and what it delivered of a key.
    pub(crate) fn watched(&self, client: Client, key: &str) -> bool {
        let of = |record: &&WatchRecord| record.client == client;
        self.notes.watches.iter().rev().find(of).is_some_and(|record| {
            record.steps.iter().any(|(_, step)| match step {
                WatchStep::Put { key: put, .. } => put == key,
                WatchStep::Listed { items, .. } => items.iter().any(|(listed, ..)| listed == key),
                _ => false,
            })
        })
    }
}
