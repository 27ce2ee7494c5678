//! The seats of requests that run, and who gets the next one. Pure: no clock, no waiting.
//!
//! Each priority level has its share of all seats. A part of it always stays with it, the rest others may use while it does not; who uses
//! less of his own share is served first. Within a level, queues are served by how much time of seats each has had, and each flow has
//! but a hand of them. No flow has all the seats that its level could have: requests that hang do not hold up others for ever.
//! <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/1040-priority-and-fairness>
//!
//! Simpler than there: what is lent is decided anew for each seat, not every ten seconds, and every request takes one seat.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher},
};

use kontiki_hooks::{Defect, planted};
use tokio::sync::oneshot;

use super::{
    config::{Config, Limits},
    shuffle,
};

/// Requests that wait, in all levels together.
const WAITING_LIMIT: usize = 10_000;
/// What a request is thought to take before it is known, in microseconds.
const GUESS_US: u64 = 3000;
/// The part of its level's seats that one flow may have: three of four.
const FLOW_PART: (u32, u32) = (3, 4);

/// The same in each run, as simulations need it.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// The seats of all levels.
#[derive(Debug)]
pub(super) struct Pool {
    /// Seats to be shared.
    shared: u32,
    /// Seats of requests that are exempt: not shared, but not without an end.
    exempt: u32,
    /// What the levels have together: rounded up for each, it may be a little more than is to be shared.
    seats: u32,
    slots: Vec<Slot>,
    waiting: usize,
    last_id: u64,
}

/// A level.
#[derive(Debug, Default)]
struct Slot {
    name: String,
    limits: Option<Limits>,
    /// It is no more, and keeps what it has until nobody is in it.
    gone: bool,
    nominal: u32,
    /// So many of its seats nobody else gets.
    least: u32,
    most: u32,
    in_use: u32,
    waiting: usize,
    /// Only those with requests in them.
    queues: Map<u32, Queue>,
    /// How many seats each flow has that has some.
    flows: Map<u64, u32>,
    /// The virtual time: how much the one that was served last had had.
    served_us: u64,
    served: u64,
    refused: u64,
    gave_up: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    running: u32,
    /// Time of seats that its requests have had.
    had_us: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    flow: u64,
    go: oneshot::Sender<()>,
}

/// What a level has done and has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) level: String,
    pub(super) seats: u32,
    pub(super) running: u32,
    pub(super) waiting: usize,
    pub(super) served: u64,
    pub(super) refused: u64,
    pub(super) gave_up: u64,
}

/// Where a request waits or sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: usize,
    queue: Option<u32>,
    flow: u64,
    id: u64,
}

/// What a request got.
#[derive(Debug)]
pub(super) enum Got {
    Seat(Ticket),
    /// It is told when it has a seat.
    Place(Ticket, oneshot::Receiver<()>),
    Nothing,
}

impl Pool {
    /// Seats for all but the exempt, and for these.
    pub(super) fn new(shared: usize, exempt: usize) -> Pool {
        let count = |seats: usize| u32::try_from(seats).unwrap_or(u32::MAX);
        Pool {
            shared: count(shared),
            exempt: count(exempt),
            seats: 0,
            slots: Vec::new(),
            waiting: 0,
            last_id: 0,
        }
    }

    /// Shares the seats out anew, and tells the schemas where their levels are.
    pub(super) fn configure(&mut self, config: &mut Config) {
        self.slots.iter_mut().for_each(|slot| slot.gone = true);
        let all: u64 =
            config.levels.values().filter_map(|level| level.limits).map(|l| u64::from(l.shares)).sum();
        self.seats = 0;
        for (name, level) in &config.levels {
            let at = self.slot_for(name);
            let slot = &mut self.slots[at];
            (slot.gone, slot.limits) = (false, level.limits);
            (slot.nominal, slot.least, slot.most) = match level.limits {
                None => (self.exempt, 0, self.exempt),
                Some(limits) => shares(limits, self.shared, all),
            };
            let shared = if level.limits.is_some() { slot.nominal } else { 0 };
            self.seats = self.seats.saturating_add(shared);
        }
        for schema in &mut config.schemas {
            schema.slot = self.slots.iter().position(|slot| slot.name == schema.level).unwrap_or_default();
        }
        self.serve();
    }

    /// Where a level is: where it was, or where one was that is gone, or in a new place.
    fn slot_for(&mut self, name: &str) -> usize {
        if let Some(at) = self.slots.iter().position(|slot| slot.name == name) {
            return at;
        }
        let empty = |slot: &Slot| slot.gone && slot.in_use == 0 && slot.waiting == 0;
        let new = Slot { name: name.to_owned(), ..Slot::default() };
        match self.slots.iter().position(empty) {
            Some(at) => {
                self.slots[at] = new;
                at
            }
            None => {
                self.slots.push(new);
                self.slots.len() - 1
            }
        }
    }

    /// A seat for a request, or a place where it waits for one, or none.
    pub(super) fn enter(&mut self, slot: usize, flow: u64) -> Got {
        let free = self.free(slot) && !self.full(slot, flow);
        let (id, waiting) = (self.last_id + 1, self.waiting);
        self.last_id = id;
        let Some(level) = self.slots.get_mut(slot) else { return Got::Nothing };
        let queuing = level.limits.and_then(|limits| limits.queuing);
        let queue = queuing.and_then(|queuing| {
            let busy = |at: &u32| level.queues.get(at).map_or(0, |q| q.waiting.len() + q.running as usize);
            shuffle::deal(flow, queuing.queues, queuing.hand).min_by_key(busy)
        });
        let ticket = Ticket { slot, queue, flow, id };
        if free {
            // Who waits here waits for something else: whatever could be served was served.
            level.seat(queue, flow);
            return Got::Seat(ticket);
        }
        if let Some((queuing, at)) = queuing.zip(queue).filter(|_| waiting < WAITING_LIMIT) {
            let queue = level.queue(at);
            if queue.waiting.len() < queuing.length as usize {
                let (go, told) = oneshot::channel();
                queue.waiting.push_back(Waiter { id, flow, go });
                level.waiting += 1;
                self.waiting += 1;
                return Got::Place(ticket, told);
            }
        }
        level.refused += 1;
        Got::Nothing
    }

    /// A request has ended, or waits no longer. `took_us` is how long it sat; none when it does not know of a seat.
    pub(super) fn leave(&mut self, ticket: Ticket, took_us: Option<u64>) {
        let stays = planted(Defect::FullStaysFull) && took_us.is_some() && !self.free(ticket.slot);
        let Some(level) = self.slots.get_mut(ticket.slot) else { return };
        if took_us.is_none() && level.no_longer_waits(ticket) {
            self.waiting -= 1;
            return;
        }
        if !stays {
            level.rise(ticket, took_us.unwrap_or(0));
        }
        self.serve();
    }

    /// Whether one more of a level may sit.
    fn free(&self, at: usize) -> bool {
        let Some(slot) = self.slots.get(at) else { return false };
        if slot.limits.is_none() || slot.in_use < slot.least {
            return slot.in_use < slot.nominal;
        }
        let limited = self.slots.iter().filter(|slot| slot.limits.is_some());
        let taken: u32 = limited.map(|slot| slot.in_use.max(slot.least)).sum();
        slot.in_use < slot.most && taken < self.seats
    }

    /// Whether a flow has as many seats as it may have.
    fn full(&self, at: usize, flow: u64) -> bool {
        let Some(slot) = self.slots.get(at) else { return true };
        let has = slot.flows.get(&flow).copied().unwrap_or(0);
        has > 0 && has >= self.flow_most(at)
    }

    fn flow_most(&self, at: usize) -> u32 {
        let others =
            self.slots.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, slot)| slot.least);
        let could_have = self.seats.saturating_sub(others.sum()).min(self.slots[at].most);
        could_have * FLOW_PART.0 / FLOW_PART.1
    }

    /// Gives seats to those who wait, until there is none or nobody who may sit.
    fn serve(&mut self) {
        while self.waiting > 0 {
            let waiting = (0..self.slots.len()).filter(|at| self.slots[*at].waiting > 0 && self.free(*at));
            let next = waiting.filter_map(|at| Some((at, self.next_queue(at)?)));
            let part = |slot: &Slot| u64::from(slot.in_use) * 1000 / u64::from(slot.nominal.max(1));
            let Some((at, (queue, place))) = next.min_by_key(|(at, _)| part(&self.slots[*at])) else {
                return;
            };
            let level = &mut self.slots[at];
            let Some(waiter) = level.queue(queue).waiting.remove(place) else { return };
            level.waiting -= 1;
            self.waiting -= 1;
            level.seat(Some(queue), waiter.flow);
            // One that has gone in this moment gives its seat back itself.
            let _ = waiter.go.send(());
        }
    }

    /// The queue of a level that had least of those in which somebody may sit, and who that is.
    fn next_queue(&self, at: usize) -> Option<(u32, usize)> {
        let queues = self.slots[at].queues.iter().filter_map(|(number, queue)| {
            let place = queue.waiting.iter().position(|waiter| !self.full(at, waiter.flow))?;
            Some(((queue.had_us, *number), place))
        });
        queues.min().map(|((_, number), place)| (number, place))
    }

    /// How the levels stand.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let all = self.slots.iter().filter(|slot| !slot.gone);
        let of = |slot: &Slot| Standing {
            level: slot.name.clone(),
            seats: slot.nominal,
            running: slot.in_use,
            waiting: slot.waiting,
            served: slot.served,
            refused: slot.refused,
            gave_up: slot.gave_up,
        };
        all.map(of).collect()
    }
}

/// The seats of a level: its share, what of it stays with it, and what it may have at most.
fn shares(limits: Limits, shared: u32, all: u64) -> (u32, u32, u32) {
    let count = |seats: u64| u32::try_from(seats).unwrap_or(u32::MAX);
    let nominal = count((u64::from(shared) * u64::from(limits.shares)).div_ceil(all.max(1)));
    let percent = |part: u32| count((u64::from(nominal) * u64::from(part) + 50) / 100);
    let borrows = limits.borrowing.map_or(shared, percent);
    (nominal, nominal.saturating_sub(percent(limits.lendable)), nominal.saturating_add(borrows))
}

impl Slot {
    /// A queue, begun if nobody is in it: it has had as much as the one that was served last, or it would be owed all the time before.
    fn queue(&mut self, at: u32) -> &mut Queue {
        let had_us = self.served_us;
        self.queues.entry(at).or_insert_with(|| Queue { had_us, ..Queue::default() })
    }

    fn seat(&mut self, queue: Option<u32>, flow: u64) {
        self.in_use += 1;
        self.served += 1;
        let Some(at) = queue else { return };
        *self.flows.entry(flow).or_default() += 1;
        let queue = self.queue(at);
        queue.running += 1;
        let had = queue.had_us;
        queue.had_us += GUESS_US;
        self.served_us = self.served_us.max(had);
    }

    fn rise(&mut self, ticket: Ticket, took_us: u64) {
        self.in_use = self.in_use.saturating_sub(1);
        let Some(at) = ticket.queue else { return };
        if let Some(has) = self.flows.get_mut(&ticket.flow) {
            *has -= 1;
            if *has == 0 {
                self.flows.remove(&ticket.flow);
            }
        }
        let queue = self.queue(at);
        queue.running = queue.running.saturating_sub(1);
        queue.had_us = (queue.had_us + took_us).saturating_sub(GUESS_US);
        self.forget_empty(at);
    }

    fn no_longer_waits(&mut self, ticket: Ticket) -> bool {
        let Some(at) = ticket.queue else { return false };
        let queue = self.queue(at);
        let place = queue.waiting.iter().position(|waiter| waiter.id == ticket.id);
        if let Some(place) = place {
            queue.waiting.remove(place);
            self.waiting -= 1;
            self.gave_up += 1;
        }
        self.forget_empty(at);
        place.is_some()
    }

    fn forget_empty(&mut self, at: u32) {
        if self.queues.get(&at).is_some_and(|queue| queue.waiting.is_empty() && queue.running == 0) {
            self.queues.remove(&at);
        }
    }
}
