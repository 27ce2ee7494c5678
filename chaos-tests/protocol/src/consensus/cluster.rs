//! A consensus-only cluster: its members by slot, started and stopped as the faults in force demand, as a supervisor would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kontiki_raft::{ChangeError, Limits, MemberInfo, OpenError, Timings};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::clients::{Handles, leader};
use super::faults::InForce;
use super::{Member, Observer, Setup};
use crate::network::SimNet;

/// A process that ended is started again after this.
const RESTART: Duration = Duration::from_millis(300);
/// A start that takes longer is given up, as a supervisor does.
const START: Duration = Duration::from_secs(20);
/// Pause of an operator who tries again.
const AGAIN: Duration = Duration::from_millis(200);

/// A place for a member.
pub struct Slot {
    /// Who has it now.
    pub member: Member,
    /// Its zone.
    pub zone: u32,
    /// It was told to forget everything and comes back as somebody else.
    pub replaced: Option<MemberInfo>,
    /// Bits of its disk were flipped since it was last known to be well.
    pub rotten: bool,
    /// Not started before.
    not_before: Instant,
}

/// The cluster.
pub struct Cluster {
    /// Its members.
    pub slots: Vec<Slot>,
    /// The network.
    pub net: SimNet,
    /// Who sees everything.
    pub observer: Observer,
    /// What runs.
    pub handles: Handles,
    ids: Arc<Mutex<BTreeMap<usize, u64>>>,
    next_id: u64,
    /// Restarts after a failure of the node itself.
    pub deaths: u64,
}

/// How nodes are set for these timings and thresholds.
pub fn setup(election_ms: u64, snapshot_entries: u64) -> Setup {
    let ms = Duration::from_millis;
    let timings = Timings {
        heartbeat: ms(election_ms / 2),
        election_min: ms(election_ms),
        election_max: ms(2 * election_ms),
    };
    let limits = Limits {
        snapshot_entries,
        kept_entries: snapshot_entries / 2,
        // Little memory, so that the log is read from the disk, too.
        tail_bytes: 8 << 10,
        ..Limits::default()
    };
    Setup { timings, limits }
}

impl Cluster {
    /// Members that do not run yet.
    pub fn new(net: &SimNet, observer: &Observer, count: u32, setup: Setup, seed: u64) -> Cluster {
        let slot = |n: u32| {
            let seed = seed.wrapping_mul(31).wrapping_add(u64::from(n));
            let member = Member::new(net, u64::from(n) + 1, n % 3, setup, seed);
            Slot { member, zone: n % 3, replaced: None, rotten: false, not_before: Instant::now() }
        };
        let slots: Vec<Slot> = (0..count).map(slot).collect();
        let handles = Arc::new(Mutex::new(vec![None; slots.len()]));
        let ids = slots.iter().map(|slot| (slot.member.machine.host, slot.member.id)).collect();
        Cluster {
            slots,
            net: net.clone(),
            observer: observer.clone(),
            handles,
            ids: Arc::new(Mutex::new(ids)),
            next_id: u64::from(count) + 1,
            deaths: 0,
        }
    }

    /// Starts all, makes the first one the cluster and the others its voters.
    pub async fn form(&mut self) -> Result<(), String> {
        for slot in 0..self.slots.len() {
            self.start(slot).await;
        }
        let first = self.handles.lock()[0].clone().map(|(_, running)| running.node);
        let first = first.ok_or("the first node does not start")?;
        self.observer.set_changing(true);
        first.initialize().await.map_err(|error| error.to_string())?;
        let mut leadership = first.leadership();
        let leads = leadership.wait_for(|now| now.leading);
        timeout(Duration::from_secs(10), leads)
            .await
            .map_err(|_| "nobody leads")?
            .map_err(|e| e.to_string())?;
        for slot in 1..self.slots.len() {
            let info = self.slots[slot].member.info();
            first.add_learner(info.clone()).await.map_err(|error| error.to_string())?;
            first.promote(info.id).await.map_err(|error| error.to_string())?;
        }
        self.count_voters();
        self.observer.set_changing(false);
        Ok(())
    }

    /// Tells the observer whose disks count.
    pub fn count_voters(&self) {
        let disk = |slot: &Slot| Some(slot.member.machine.disk.clone()).filter(|_| !slot.rotten);
        let voters = self.slots.iter().map(|slot| (slot.member.id, disk(slot)));
        self.observer.set_voters(voters.collect());
    }

    async fn start(&mut self, n: usize) {
        let (observer, ids) = (self.observer.clone(), self.ids.clone());
        let slot = &mut self.slots[n];
        let id = slot.member.id;
        ids.lock().insert(slot.member.machine.host, id);
        let watcher = Box::new(move |entry: &_, held: &_| observer.folded(id, entry, held));
        let ids = Arc::new(move |host| ids.lock().get(&host).copied());
        let started = timeout(START, slot.member.start(ids, watcher)).await;
        match started {
            Ok(Ok(())) => {
                self.handles.lock()[n] = slot.member.running.clone().map(|running| (id, running));
                if slot.rotten {
                    self.observer.opened(id, &slot.member.machine.disk);
                }
                self.follow(n);
            }
            Ok(Err(error)) => self.did_not_start(n, &error),
            Err(_) => {
                slot.member.crash();
                slot.not_before = Instant::now() + RESTART;
            }
        }
    }

    /// Tells the observer of each reign.
    fn follow(&self, n: usize) {
        let Some(running) = &self.slots[n].member.running else { return };
        let (id, observer) = (self.slots[n].member.id, self.observer.clone());
        let mut leadership = running.node.leadership();
        running.scope.spawn(async move {
            loop {
                let now = leadership.borrow_and_update().clone();
                // Before anything of its term is committed: that would sync the votes, too.
                if now.leader.as_ref().is_some_and(|leader| leader.id == id) {
                    observer.elected(id, now.term);
                }
                if now.leading {
                    observer.leads(id, now.term);
                }
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn did_not_start(&mut self, n: usize, error: &OpenError) {
        let slot = &mut self.slots[n];
        slot.not_before = Instant::now() + RESTART;
        let damaged = matches!(
            error,
            OpenError::Corrupt { .. }
                | OpenError::Lost { .. }
                | OpenError::NewerFormat { .. }
                | OpenError::ForeignIdentity { .. }
        );
        if !damaged {
            return;
        }
        if slot.rotten {
            // It says so and wants to be replaced, which is what the operator does.
            self.replace(n);
        } else {
            let words = format!("node {} does not open what it wrote itself: {error}", slot.member.id);
            self.observer.broken("B6", words);
            self.replace(n);
        }
    }

    /// The slot's node is gone at once.
    pub fn stop(&mut self, n: usize, power: bool) {
        self.handles.lock()[n] = None;
        let slot = &mut self.slots[n];
        if power {
            slot.member.power_cut()
        } else {
            slot.member.crash()
        }
        slot.not_before = Instant::now();
    }

    /// The slot forgets everything and comes back as a new member, which an operator then puts in the place of the old one.
    pub fn replace(&mut self, n: usize) {
        self.stop(n, false);
        let old = self.slots[n].member.info();
        let id = self.next_id;
        self.next_id += 1;
        let slot = &mut self.slots[n];
        slot.member.machine.disk.wipe();
        slot.member.id = id;
        slot.rotten = false;
        slot.replaced.get_or_insert(old);
        self.observer.set_changing(true);
    }

    /// Whether some member is being replaced.
    pub fn changing(&self) -> bool {
        self.slots.iter().any(|slot| slot.replaced.is_some())
    }

    /// What an operator does about a replaced member; to be called again until nobody is.
    pub fn operate(&mut self) -> Option<tokio::task::JoinHandle<Option<u64>>> {
        let slot = self.slots.iter().find(|slot| slot.replaced.is_some() && slot.member.running.is_some())?;
        let (old, new, handles) = (slot.replaced.clone()?, slot.member.info(), self.handles.clone());
        Some(tokio::spawn(async move {
            let (_, _, node, _) = leader(&handles)?;
            let tries = async {
                node.remove(old.id).await?;
                node.add_learner(new.clone()).await?;
                node.promote(new.id).await
            };
            match timeout(Duration::from_secs(20), tries).await {
                Ok(Ok(())) => Some(new.id),
                Ok(Err(
                    ChangeError::Refused(_)
                    | ChangeError::NotLeader { .. }
                    | ChangeError::InProgress
                    | ChangeError::Unknown(_),
                ))
                | Err(_) => {
                    sleep(AGAIN).await;
                    None
                }
            }
        }))
    }

    /// The operator is done with this member.
    pub fn operated(&mut self, id: u64) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.member.id == id) {
            slot.replaced = None;
        }
        if !self.changing() {
            self.count_voters();
            self.observer.set_changing(false);
        }
    }

    /// Starts what should run, and ends what cannot go on.
    pub async fn supervise(&mut self, force: &InForce) {
        for n in 0..self.slots.len() {
            let failed =
                self.slots[n].member.running.as_ref().and_then(|running| running.node.status().failure);
            if failed.is_some() {
                self.deaths += 1;
                self.stop(n, false);
                self.slots[n].not_before = Instant::now() + RESTART;
            }
            let slot = &self.slots[n];
            let due = slot.not_before <= Instant::now();
            if slot.member.running.is_none() && due && !force.down(n) && !force.stuck(n) {
                self.start(n).await;
                let held = force.held(n);
                self.slots[n].member.machine.hold(held);
            }
        }
    }
}
