//! One life of a pod after another, each with a kill at another step, and what is left of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use super::agent::{Assigned, HOME, Home, MARK, Word};
use super::filter;
use super::pods::{self, Kind, Seat};
use super::pulls;
use super::runtime_support::{PATIENCE, Worker};
use super::supervisor::{News, Order, Plan, Supervisor, Target};
use super::world::{World, descriptors, look};

/// What is on its way out is gone by then.
const SETTLES: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is tried to take away what is left.
const CLEARS: u32 = 100;
/// So many are told of.
const LONGEST: usize = 20;
/// How many walks there were, so that no two pods are called alike.
static WALKS: AtomicU32 = AtomicU32::new(0);

enum Message {
    Said(u32, Value),
    Ended(u32),
    News(News),
}

/// A life of the agent.
struct Life {
    number: u32,
    child: Child,
    input: ChildStdin,
}

impl Life {
    fn tell(&mut self, word: &Word) {
        // It may be dead already; then its successor is told.
        writeln!(self.input, "{}", serde_json::to_string(word).unwrap()).ok();
    }
}

/// Where in a pod's life what is wanted of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Runs,
    Deleted,
    Removed,
    /// Its volume that outlives it is to go, too.
    Released,
}

/// What is to be done in one life of a pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    /// Kills one after the other, each counted from the one before.
    pub plans: [Option<Plan>; 2],
    /// Kills whom when the pod has come to rest.
    pub at_rest: Option<Target>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Who was killed before which step.
    pub kills: Vec<(Target, String)>,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// How many steps there were after the last kill, or at all.
    pub steps: u32,
    pub seconds: u64,
    /// For people.
    pub story: Vec<String>,
}

/// A worker whose pods are walked through.
pub struct Walk {
    worker: Worker,
    memory: TempDir,
    home: Home,
    log: NamedTempFile,
    supervisor: Supervisor,
    name: String,
    sender: Sender<Message>,
    messages: Receiver<Message>,
    lives: u32,
    pods: u32,
    /// What an agent has open when there is no pod; and one that has pulled, which keeps what it pulls by.
    open: [World; 2],
}

impl Default for Walk {
    fn default() -> Self {
        let (sender, messages) = channel();
        let news = sender.clone();
        let supervisor = Supervisor::start(move |it| drop(news.send(Message::News(it))));
        let (worker, memory, home) = ground();
        let log = NamedTempFile::new().unwrap();
        Self {
            worker,
            memory,
            home,
            log,
            supervisor,
            name: format!("pod-{}-{}", std::process::id(), WALKS.fetch_add(1, Ordering::Relaxed)),
            sender,
            messages,
            lives: 0,
            pods: 0,
            open: [World::new(), World::new()],
        }
    }
}

fn ground() -> (Worker, TempDir, Home) {
    let worker = Worker::default();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let home = Home {
        data: worker.dir.path().to_owned(),
        memory: memory.path().to_owned(),
        cgroup_parent: worker.config().cgroup_parent,
        shim: worker.shim(),
    };
    // What is made with the first pod and stays.
    let folders = ["pods", "logs", "local-path", "agent/pods", "agent/links", "images/blobs"]
        .map(|folder| home.data.join(folder));
    for folder in folders.into_iter().chain(["pods", "volumes"].map(|folder| home.memory.join(folder))) {
        std::fs::create_dir_all(folder).unwrap();
    }
    (worker, memory, home)
}

impl Walk {
    /// Lets a pod live and die. Its steps are counted, and kills are done as told.
    pub fn live(&mut self, kind: &Kind, deeds: Deeds) -> Outcome {
        self.pods += 1;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let seat = Seat { uid: format!("{}-{}", self.name, self.pods), port };
        let mut outcome = Outcome::default();
        let begun = Instant::now();
        let mut life = self.begin();
        let before =
            match self.until(|message| matches!(message, Message::Said(_, said) if said["up"] == true)) {
                Some(()) => look(&self.home, &seat.uid, Some(life.child.id()), port),
                None => {
                    outcome.wrong.push(format!("no agent comes up: {}", self.log()));
                    return self.over(life, &seat, outcome);
                }
            };
        if let Err(wrong) = self.walk(kind, &seat, deeds, &mut life, &mut outcome) {
            outcome.wrong.push(wrong);
            outcome.wrong.extend(look(&self.home, &seat.uid, Some(life.child.id()), port));
            return self.over(life, &seat, outcome);
        }
        if kind.pulls
            && let Err(wrong) = self.clear_image()
        {
            outcome.wrong.push(wrong);
        }
        let known = usize::from(kind.pulls);
        let first = deeds.plans[0].is_none() && deeds.at_rest.is_none() && self.open[known].is_empty();
        let end = Instant::now() + SETTLES;
        loop {
            let agent = life.child.id();
            let now = look(&self.home, &seat.uid, Some(agent), port);
            let mut left: Vec<String> = now.difference(&before).cloned().collect();
            let open = descriptors(agent);
            if first {
                self.open[known] = open;
            } else if !self.open[known].is_empty() {
                // A walk that has led no such life without a kill has nothing to compare with.
                left.extend(open.difference(&self.open[known]).cloned());
            }
            left.extend(
                before.difference(&now).filter(|it| it.starts_with("file")).map(|it| format!("missing {it}")),
            );
            if left.is_empty() {
                break;
            }
            if Instant::now() > end {
                outcome.wrong.extend(left.into_iter().map(|it| format!("left: {it}")));
                break;
            }
            std::thread::sleep(PAUSE);
        }
        outcome.seconds = begun.elapsed().as_secs();
        self.over(life, &seat, outcome)
    }

    /// Takes away what the pod has pulled, once nobody uses it.
    fn clear_image(&self) -> Result<(), String> {
        let end = Instant::now() + SETTLES;
        loop {
            match pulls::clear(&self.worker.store) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(format!("the image stays: {error}")),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// From the first word of the pod to the last.
    fn walk(
        &mut self,
        kind: &Kind,
        seat: &Seat,
        deeds: Deeds,
        life: &mut Life,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let mut pod = kind.pod(seat);
        let (mut stage, mut revision) = (Stage::Runs, 1);
        let mut update = kind.update;
        let mut at_rest = deeds.at_rest;
        let mut plans = deeds.plans.into_iter().flatten();
        // The container that must have been replaced since its shim was killed.
        let mut stale = Value::Null;
        let mut last = Value::Null;
        self.plan(kind, seat, plans.next());
        life.tell(&word(kind, stage, seat, &pod, revision, true));
        let end = Instant::now() + PATIENCE;
        let begun = Instant::now();
        let mut forgotten = false;
        let mut ended = false;
        while !ended {
            let message = self.messages.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(message) = message else {
                return Err(format!("not there after {PATIENCE:?}: {stage:?}, last {last}"));
            };
            let at = begun.elapsed().as_millis();
            match message {
                Message::Said(number, said) if number == life.number => {
                    outcome.story.push(format!("{at} ms: {said}"));
                    if said["up"] == true {
                        life.tell(&word(kind, stage, seat, &pod, revision, true));
                    } else if said["forgotten"] == seat.uid.as_str() && stage == Stage::Removed {
                        stage = Stage::Released;
                        life.tell(&word(kind, stage, seat, &pod, revision, false));
                        if !kind.claims {
                            forgotten = true;
                            self.supervisor.order(Order::End);
                        }
                    } else if said["uid"] == seat.lasting().as_str() && !forgotten {
                        forgotten = true;
                        self.supervisor.order(Order::End);
                    } else if said["uid"] == seat.uid.as_str() {
                        last = said["status"].clone();
                        let again = !kind.restarts || last["containerStatuses"][0]["containerID"] != stale;
                        if said["gone"] == true {
                            if stage == Stage::Runs {
                                return Err("it is gone, and nobody has deleted it".to_owned());
                            }
                            stage = Stage::Removed;
                            life.tell(&word(kind, stage, seat, &pod, revision, false));
                        } else if stage == Stage::Runs {
                            if kind.deleted_early {
                                stage = Stage::Deleted;
                            } else if let Some(change) = update.take_if(|_| last["phase"] == "Running") {
                                change(&mut pod["spec"], seat);
                            } else if !((kind.ready)(&last) && again) {
                                continue;
                            } else if let Some(target) = at_rest.take() {
                                self.supervisor.order(Order::Kill(target));
                                continue;
                            } else {
                                stage = Stage::Deleted;
                            }
                            if stage == Stage::Deleted {
                                pod = pods::deleted(pod);
                            }
                            revision += 1;
                            outcome.story.push(format!("{at} ms: {stage:?} revision {revision}"));
                            life.tell(&word(kind, stage, seat, &pod, revision, false));
                        }
                    }
                }
                Message::News(News::Killed { target, agent, step, before }) => {
                    outcome.story.push(format!("{at} ms: killed {target:?} before {step}"));
                    outcome.story.extend(before.into_iter().map(|step| format!("    {step}")));
                    outcome.kills.push((target, step));
                    if target != Target::Agent && kind.restarts {
                        stale = last["containerStatuses"][0]["containerID"].clone();
                        // None was told of, so any will do.
                        if stale.is_null() {
                            stale = Value::from("");
                        }
                    }
                    if let Some(plan) = plans.next().filter(|_| !forgotten) {
                        self.plan(kind, seat, Some(plan));
                    }
                    if agent.is_some() {
                        life.child.wait().ok();
                        *life = self.begin();
                    }
                }
                Message::News(News::Twice(what)) => outcome.wrong.push(format!("two at a time: {what}")),
                Message::News(News::Steps(steps)) => {
                    outcome.steps = steps;
                    ended = true;
                }
                // That it was killed is told soon.
                Message::Ended(number) if number == life.number => {
                    let status = life.child.wait().unwrap();
                    if status.signal() != Some(9) {
                        return Err(format!("the agent ended ({status}): {}", self.log()));
                    }
                }
                Message::Said(..) | Message::Ended(_) => {}
            }
        }
        Ok(())
    }

    fn plan(&self, kind: &Kind, seat: &Seat, plan: Option<Plan>) {
        let (uid, cgroup_parent) = (seat.uid.clone(), self.home.cgroup_parent.clone());
        self.supervisor.order(Order::Begin { uid, cgroup_parent, plain: kind.plain, plan });
    }

    /// Starts an agent.
    fn begin(&mut self) -> Life {
        self.lives += 1;
        let number = self.lives;
        let log = self.log.reopen().unwrap();
        log.set_len(0).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_agent", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(HOME, serde_json::to_string(&self.home).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            move |line: String| -> Option<Value> { serde_json::from_str(line.split_once(MARK)?.1).ok() };
        let listener = loop {
            let line = lines.next().expect("the agent says where it can be heard").unwrap();
            if let Some(said) = said(line) {
                break i32::try_from(said["listener"].as_i64().unwrap()).unwrap();
            }
        };
        let pid = child.id();
        let listener = filter::take(i32::try_from(pid).unwrap(), listener).unwrap();
        self.supervisor.order(Order::Listen(listener, pid));
        writeln!(input).unwrap();
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(said) = said(line) {
                    sender.send(Message::Said(number, said)).ok();
                }
            }
            sender.send(Message::Ended(number)).ok();
        });
        Life { number, child, input }
    }

    fn until(&self, wanted: impl Fn(&Message) -> bool) -> Option<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.messages.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if wanted(&message) {
                return Some(());
            }
        }
    }

    /// Ends the agent. Where something is wrong, all is taken away, so that it is not found again.
    fn over(&mut self, mut life: Life, seat: &Seat, outcome: Outcome) -> Outcome {
        if !outcome.wrong.is_empty() {
            self.supervisor.order(Order::End);
            self.until(|message| matches!(message, Message::News(News::Steps(_))));
        }
        life.child.kill().unwrap();
        life.child.wait().unwrap();
        if !outcome.wrong.is_empty() {
            for _ in 0..CLEARS {
                let left = look(&self.home, &seat.uid, None, seat.port);
                let pid = |it: &String| it.strip_prefix("process ")?.split(' ').next()?.parse().ok();
                let pids = left.iter().filter_map(pid).filter_map(Pid::from_raw);
                let mut killed = 0;
                for pid in pids {
                    // It may be gone by itself.
                    let _ = kill_process(pid, Signal::KILL);
                    killed += 1;
                }
                let cgroups: Vec<&str> = left.iter().filter_map(|it| it.strip_prefix("cgroup ")).collect();
                cgroups.iter().rev().for_each(|dir| drop(std::fs::remove_dir(dir)));
                if killed == 0 && cgroups.is_empty() {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            (self.worker, self.memory, self.home) = ground();
        }
        while self.messages.try_recv().is_ok() {}
        outcome
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

fn word(kind: &Kind, stage: Stage, seat: &Seat, pod: &Value, revision: u64, complete: bool) -> Word {
    let (uid, pod) = (seat.uid.clone(), pod.clone());
    let nothing = Word { complete, ..Word::default() };
    match stage {
        Stage::Released if kind.claims => Word { remove_volumes: vec![seat.lasting()], ..nothing },
        Stage::Released => nothing,
        Stage::Removed => Word { remove: vec![uid], ..nothing },
        Stage::Runs | Stage::Deleted => {
            Word { put: Some(Assigned { uid, revision, pod, objects: seat.objects() }), ..nothing }
        }
    }
}

/// Numbers that look random and are the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// For the life of this number.
    pub fn of(seed: u64, life: u32) -> Self {
        let mut dice = Self(seed ^ (u64::from(life) << 32));
        dice.below(1);
        dice
    }

    /// Splitmix64.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(bound.max(1))).unwrap()
    }
}

/// What a walk came to.
#[derive(Default)]
pub struct Sum {
    pub kills: BTreeMap<(Target, String), u32>,
    pub wrong: Vec<String>,
    /// What the lives took.
    seconds: Vec<u64>,
}

impl Sum {
    pub fn add(&mut self, what: &str, outcome: &Outcome) {
        for kill in &outcome.kills {
            *self.kills.entry(kill.clone()).or_default() += 1;
        }
        self.seconds.push(outcome.seconds);
        if outcome.wrong.is_empty() {
            return;
        }
        self.wrong.push(what.to_owned());
        println!("WRONG: {what}");
        outcome.wrong.iter().for_each(|wrong| println!("  {wrong}"));
        outcome.story.iter().for_each(|story| println!("    {story}"));
    }

    /// Every step before which somebody was killed, and lives that took long.
    pub fn tell(&self) {
        for ((target, step), count) in &self.kills {
            println!("{count:4} {target:?} before {step}");
        }
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable();
        println!(
            "seconds of the longest lives: {:?}",
            seconds.iter().rev().take(LONGEST).collect::<Vec<_>>()
        );
    }

    pub fn count(&self) -> u32 {
        self.kills.values().sum()
    }
}
