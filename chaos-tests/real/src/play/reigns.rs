//! Who leads, as each controller itself says in its log.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kontiki_chaos_plan::history::Reign;
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    host::{Host, Role},
};

const LEADS: &str = "this controller leads term=";
const LEADS_NO_MORE: &str = "this controller leads no more";
/// Reigns begin and end so much later in the book than in truth, at most.
const LOOK: Duration = Duration::from_millis(10);

/// Reads the controllers' logs as they grow.
pub struct Reigns {
    book: Mutex<Vec<Reign>>,
    ended: AtomicBool,
}

struct Reader {
    number: u32,
    host: Arc<Host>,
    path: PathBuf,
    at: u64,
    pid: Option<u32>,
}

impl Reigns {
    /// Begins to read.
    pub fn follow(hosts: &[Arc<Host>], clock: Clock) -> anyhow::Result<Arc<Reigns>> {
        let reigns = Arc::new(Reigns { book: Mutex::default(), ended: AtomicBool::new(false) });
        let reader = |host: &Arc<Host>| match host.role {
            Role::Controller(number) => Some(Reader {
                number,
                host: host.clone(),
                path: host.log_file().to_owned(),
                at: 0,
                pid: host.pid(),
            }),
            Role::Worker(_) => None,
        };
        let mut readers: Vec<Reader> = hosts.iter().filter_map(reader).collect();
        let all = reigns.clone();
        std::thread::Builder::new().name("reigns".into()).spawn(move || {
            while !all.ended.load(Ordering::Relaxed) {
                for reader in &mut readers {
                    all.read(reader, clock.now_ns());
                }
                std::thread::sleep(LOOK);
            }
        })?;
        Ok(reigns)
    }

    fn read(&self, reader: &mut Reader, now: u64) {
        // Before what it says: a process that is gone says nothing more.
        let pid = reader.host.pid();
        let text = reader.read().unwrap_or_default();
        let mut book = self.book.lock();
        for line in text.lines() {
            let term = line.split_once(LEADS).and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            if let Some(term) = term {
                book.push(Reign { controller: reader.number, term, from_ns: now, until_ns: None });
            } else if line.contains(LEADS_NO_MORE) {
                close(&mut book, reader.number, now);
            }
        }
        if pid != reader.pid {
            close(&mut book, reader.number, now);
            reader.pid = pid;
        }
    }

    /// The controller that leads in the newest term, by number.
    pub fn leader(&self) -> Option<u32> {
        let book = self.book.lock();
        let newest = book.iter().filter(|reign| reign.until_ns.is_none()).max_by_key(|reign| reign.term);
        newest.map(|reign| reign.controller)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Reign> {
        self.book.lock().clone()
    }

    /// Reads no more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn close(book: &mut [Reign], controller: u32, now: u64) {
    for reign in book.iter_mut().filter(|reign| reign.controller == controller && reign.until_ns.is_none()) {
        reign.until_ns = Some(now);
    }
}

impl Reader {
    /// Whole lines that are new.
    fn read(&mut self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.at += whole as u64;
        Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
    }
}

/// Which controller led in which term, for people.
pub(super) fn in_words(reigns: &[Reign]) -> String {
    let mut terms: BTreeMap<u64, u32> = BTreeMap::new();
    for reign in reigns {
        terms.insert(reign.term, reign.controller);
    }
    terms.iter().map(|(term, controller)| format!("{term}:c{controller}")).collect::<Vec<_>>().join(" ")
}
