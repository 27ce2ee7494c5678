//! Priority and fairness: how many requests run at a time, of whom, and who waits, so that a storm of one client does not touch others.
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>
//!
//! ```text
//!   request -> config.rs: its flow schema, by who asks for what -> its priority level, and its flow within that
//!           -> pool.rs: a seat | a place in one of its flow's queues (shuffle.rs) | 429
//! ```
//!
//! Not for streams once they have begun: those are counted by `rest/places.rs`. Not for gRPC, so neither for consensus nor for workers'
//! sessions: these have connections of their own, and as many requests as can run here leave room in the stage's queue.

mod config;
mod pool;
pub(crate) mod shuffle;
#[cfg(test)]
mod tests;

use std::{fmt::Write, sync::Arc, time::Duration};

use config::{Config, Version};
use http::HeaderValue;
use kontiki_actors::State;
use parking_lot::{Mutex, RwLock};
use pool::{Got, Pool, Ticket};
use tokio::time::Instant;

use crate::{
    backend::{Backend, Freshness},
    rest::{Access, User},
    status::Status,
};

/// Holds requests up.
#[derive(Debug)]
pub(crate) struct Flow {
    current: RwLock<Current>,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Current {
    config: Arc<Config>,
    /// The revision up to which it is what the state says.
    checked: u64,
}

/// What became of a request that came.
#[derive(Debug)]
pub(crate) struct Entered {
    /// The uids of its flow schema and of its priority level, as far as they have one.
    pub(crate) uids: [Option<HeaderValue>; 2],
    /// Its seat, or the refusal.
    pub(crate) seat: Result<Seat, Status>,
}

/// A request's seat, held while it runs; before that, its place among those that wait.
#[derive(Debug)]
pub(crate) struct Seat {
    flow: Arc<Flow>,
    ticket: Ticket,
    since: Option<Instant>,
}

impl Flow {
    /// With so many seats to be shared by priority levels, and as many for requests that are exempt.
    pub(crate) fn new(seats: usize) -> Flow {
        let (mut config, mut pool) = (Config::of(&State::default()), Pool::new(seats, seats));
        pool.configure(&mut config);
        let current = Current { config: Arc::new(config), checked: 0 };
        Flow { current: RwLock::new(current), pool: Mutex::new(pool) }
    }

    /// A request comes in. It may wait so long for its seat.
    pub(crate) async fn enter(
        self: &Arc<Flow>,
        backend: &dyn Backend,
        user: &User,
        access: &Access<'_>,
        patience: Duration,
    ) -> Entered {
        let config = self.config(backend).await;
        let Some((schema, flow)) = config.classify(user, access) else {
            return Entered { uids: [None, None], seat: Err(too_many()) };
        };
        let level = config.levels.get(&schema.level).and_then(|level| level.uid.clone());
        let uids = [schema.uid.clone(), level];
        let got = self.pool.lock().enter(schema.slot, flow);
        let seat = |ticket, since| Seat { flow: self.clone(), ticket, since };
        let seat = match got {
            Got::Seat(ticket) => Ok(seat(ticket, Some(Instant::now()))),
            Got::Nothing => Err(too_many()),
            Got::Place(ticket, told) => {
                let mut place = seat(ticket, None);
                match tokio::time::timeout(patience, told).await {
                    Ok(Ok(())) => {
                        place.since = Some(Instant::now());
                        Ok(place)
                    }
                    _ => Err(too_many()),
                }
            }
        };
        Entered { uids, seat }
    }

    /// The flow schemas and levels of this moment, as far as this controller knows them.
    async fn config(&self, backend: &dyn Backend) -> Arc<Config> {
        let newest = backend.feed().revision();
        {
            let current = self.current.read();
            if current.checked >= newest {
                return current.config.clone();
            }
        }
        // Without a view it stays as it is: the request will be told why there is none.
        let Ok(state) = backend.view(Freshness::Any).await else { return self.current.read().config.clone() };
        let version = Version::of(&state);
        let mut current = self.current.write();
        if current.checked < state.revision() {
            current.checked = state.revision();
            if current.config.version != version {
                let mut config = Config::of(&state);
                self.pool.lock().configure(&mut config);
                current.config = Arc::new(config);
            }
        }
        current.config.clone()
    }

    /// How it stands, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let standings = self.pool.lock().standings();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&pool::Standing) -> u64| {
            let sample = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
            for standing in &standings {
                let _ =
                    writeln!(out, "{sample}{{priority_level=\"{}\"}} {}", standing.level, value(standing));
            }
        };
        let of = "requests of a priority level";
        family("kontiki_flow_seats", "gauge", &format!("{of} that may run at a time"), &|s| s.seats.into());
        family("kontiki_flow_running", "gauge", &format!("{of} that run"), &|s| s.running.into());
        family("kontiki_flow_waiting", "gauge", &format!("{of} that wait for a seat"), &|s| s.waiting as u64);
        family("kontiki_flow_served", "counter", &format!("{of} that got a seat"), &|s| s.served);
        family("kontiki_flow_refused", "counter", &format!("{of} that were refused at once"), &|s| s.refused);
        family("kontiki_flow_gave_up", "counter", &format!("{of} that waited in vain"), &|s| s.gave_up);
        out
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let took = self.since.map(|since| u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.flow.pool.lock().leave(self.ticket, took);
    }
}

/// The refusal of one request too many.
pub(crate) fn too_many() -> Status {
    Status::new(429, "TooManyRequests", "too many requests are under way, please try again later").retry(1)
}
