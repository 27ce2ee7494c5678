//! One session, from the greeting to its end.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use kontiki_proto::worker::from_worker::What as Out;
use kontiki_proto::worker::sessions_client::SessionsClient;
use kontiki_proto::worker::to_worker::What as In;
use kontiki_proto::worker::{AskUsage, FromWorker, Heartbeat, NodeUsage, ToWorker, Welcome};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

use super::fence::Verdict;
use super::{Ending, Session};
use crate::agent::crew::Command;

/// Messages on their way to the leader.
const OUTGOING_MAX: usize = 16;
/// A controller that takes so many times as long to answer as one waits for a connection is not the one to wait for.
const FIRST_ANSWER: u32 = 2;
/// A leader that is silent for this many beats is gone, but not before a pause of a busy machine has passed.
const SILENT_BEATS: u32 = 3;
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// Letters of a cause that are logged.
const CAUSE_MAX: usize = 160;
/// A complete assignment lists every pod of this worker with all that they refer to.
const MESSAGE_MAX: usize = 256 << 20;

struct Live {
    out: mpsc::Sender<FromWorker>,
    sequence: u64,
    beats: Option<Interval>,
    /// The leader takes news of the node.
    takes_node: bool,
    /// The node has changed, and the leader does not know.
    node_due: bool,
    /// What the leader asks for; an older question that was not answered yet is given up.
    asked: Option<AskUsage>,
    silence: Duration,
    /// So many times as long as usual it may be silent.
    leniency: u32,
    heard: Instant,
    serial: u64,
    /// Heartbeats that were not answered, for the lease.
    sent: VecDeque<(u64, Instant)>,
}

impl Session {
    /// One session with one controller; if there is no connection after so much patience, it failed. A leader may be silent for so
    /// many times as long as usual as its leniency is.
    pub(super) async fn once(&mut self, address: &str, patience: Duration, leniency: u32) -> Ending {
        let failed = |why: String| Ending::Failed(why);
        let (out, rest) = mpsc::channel(OUTGOING_MAX);
        let Some(hello) = self.greeting().await else { return failed("the agent is ending".to_owned()) };
        if out.send(FromWorker { what: Some(Out::Hello(hello)) }).await.is_err() {
            return failed("the session is closed".to_owned());
        }
        let mut client =
            SessionsClient::new(self.dial.channel(address, patience)).max_decoding_message_size(MESSAGE_MAX);
        let begun = Instant::now();
        let mut incoming =
            match timeout(patience * FIRST_ANSWER, client.session(ReceiverStream::new(rest))).await {
                Ok(Ok(response)) => response.into_inner(),
                Ok(Err(status)) => return failed(cause(&status)),
                Err(_) => return failed("no answer".to_owned()),
            };
        let mut live = Live {
            out,
            sequence: 0,
            beats: None,
            takes_node: false,
            node_due: false,
            asked: None,
            silence: patience * FIRST_ANSWER,
            leniency,
            heard: begun,
            serial: 0,
            sent: VecDeque::from([(0, begun)]),
        };
        loop {
            let welcomed = live.beats.is_some();
            let lost = |why: String| if welcomed { Ending::Lost(why) } else { Ending::Failed(why) };
            tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        if let Some(ending) = self.take(message, &mut live, address).await {
                            return ending;
                        }
                    }
                    Ok(None) => return lost("it closed the session".to_owned()),
                    Err(status) => return lost(cause(&status)),
                },
                () = beat(&mut live.beats) => live.beat(),
                () = self.agent.outbox.changed(), if welcomed => {}
                () = self.agent.tokens.changed(), if welcomed => {}
                // Nobody watches the node any more: the worker ends, or never did.
                Ok(()) = self.agent.node.changed(), if live.takes_node => live.node_due = true,
                () = sleep_until(live.heard + live.silence) => {
                    let why = format!("silent for {:?}", live.silence);
                    return if welcomed { Ending::Silent(why) } else { Ending::Failed(why) };
                }
            }
            if live.beats.is_some() {
                self.send_node(&mut live);
                self.send_usage(&mut live);
                self.send_asks(&live);
                self.send_reports(&live);
            }
        }
    }

    async fn greeting(&mut self) -> Option<kontiki_proto::worker::Hello> {
        let (answer, digests) = oneshot::channel();
        self.agent.crew.send(Command::Digests(answer)).await.ok()?;
        let mut hello = self.hello.clone();
        hello.pods = digests.await.ok()?;
        hello.info = Some(self.agent.node.borrow_and_update().clone());
        hello.accepted_term = self.fence.term();
        hello.lost_leader = self.lost.clone().unwrap_or_default();
        Some(hello)
    }

    async fn take(&mut self, message: ToWorker, live: &mut Live, address: &str) -> Option<Ending> {
        let ToWorker { term, sequence, what } = message;
        if let Some(In::Redirect(redirect)) = what {
            // This commands nothing, so its term does not matter.
            self.roster.learn(&redirect.controllers, None);
            return Some(Ending::Redirected(
                Some(redirect.leader_address).filter(|leader| !leader.is_empty()),
            ));
        }
        match self.fence.judge(term) {
            Ok(Verdict::Accepted) => {}
            Ok(Verdict::Older) => {
                let accepted = self.fence.term();
                warn!(%address, term, accepted, "a leader of an older term is refused");
                return Some(Ending::Failed(format!("its term {term} is older than {accepted}")));
            }
            Err(error) => {
                return Some(Ending::Failed(format!("the term {term} cannot be remembered: {error}")));
            }
        }
        live.sequence += 1;
        if sequence != live.sequence {
            let why = format!("message {} is missing: {sequence} came", live.sequence);
            warn!(%address, %why, "the session is begun anew");
            return Some(Ending::Lost(why));
        }
        live.heard = Instant::now();
        match what {
            Some(In::Welcome(welcome)) => self.welcome(welcome, live, address),
            _ if live.beats.is_none() => {
                return Some(Ending::Failed("it does not begin with a welcome".to_owned()));
            }
            Some(In::Assignments(assignments)) => {
                if self.agent.crew.send(Command::Assign(assignments)).await.is_err() {
                    return Some(Ending::Failed("the agent is ending".to_owned()));
                }
            }
            Some(In::OpenStream(open)) => self.agent.streams.open(open),
            Some(In::AskUsage(ask)) => live.asked = Some(ask),
            Some(In::Token(answer)) => self.agent.tokens.answer(answer),
            Some(In::HeartbeatAck(ack)) => {
                while live.sent.front().is_some_and(|(serial, _)| *serial < ack.serial) {
                    live.sent.pop_front();
                }
                if let Some((_, sent)) = live.sent.pop_front_if(|(serial, _)| *serial == ack.serial) {
                    self.lease.renew(sent);
                }
                if ack.heartbeat_ms != 0 {
                    live.beat_every(ack.heartbeat_ms);
                }
            }
            Some(In::ReportAck(ack)) => self.agent.outbox.acknowledge(ack.serial),
            // A newer leader may say what this worker does not understand.
            Some(In::Redirect(_)) | None => {}
        }
        None
    }

    fn welcome(&mut self, welcome: Welcome, live: &mut Live, address: &str) {
        info!(leader = %welcome.leader, %address, term = self.fence.term(), "the session is up");
        self.lost = None;
        live.beat_every(welcome.heartbeat_ms);
        live.takes_node = welcome.takes_node;
        self.lease.grant(Duration::from_millis(welcome.lease_ms.into()));
        if let Some((_, greeted)) = live.sent.pop_front_if(|(serial, _)| *serial == 0) {
            self.lease.renew(greeted);
        }
        self.roster.learn(&welcome.controllers, Some(welcome.lease_ms));
        self.agent.outbox.rewind();
        self.agent.tokens.begin(welcome.gives_tokens);
        // Pods verify its name: the certificate holds the address that it advertises, which need not be the one that was dialed.
        let leader = welcome.controllers.iter().find(|controller| controller.name == welcome.leader);
        self.agent.api.found(leader.map_or(address, |leader| &leader.address));
    }

    /// Says how the node is, if that has changed since it was said last.
    fn send_node(&mut self, live: &mut Live) {
        if let (true, Ok(room)) = (live.node_due, live.out.try_reserve()) {
            let node = self.agent.node.borrow_and_update().clone();
            room.send(FromWorker { what: Some(Out::Node(node)) });
            live.node_due = false;
        }
    }

    /// Answers what the node uses.
    fn send_usage(&self, live: &mut Live) {
        if let Some(AskUsage { serial, pods }) = live.asked
            && let Ok(room) = live.out.try_reserve()
        {
            let usage = NodeUsage { serial, node: self.hello.node.clone(), ..self.agent.meter.usage(pods) };
            room.send(FromWorker { what: Some(Out::Usage(usage)) });
            live.asked = None;
        }
    }

    /// Asks for tokens that pods wait for, as far as there is room.
    fn send_asks(&self, live: &Live) {
        while let Ok(room) = live.out.try_reserve() {
            let Some(ask) = self.agent.tokens.next() else { return };
            room.send(FromWorker { what: Some(Out::TokenAsk(ask)) });
        }
    }

    /// Sends what there is room for; the next beat or acknowledgement comes back here.
    fn send_reports(&self, live: &Live) {
        while let Ok(room) = live.out.try_reserve() {
            let Some(report) = self.agent.outbox.next() else { return };
            room.send(FromWorker { what: Some(Out::Report(report)) });
        }
    }
}

impl Live {
    /// The leader says how often, and it may change its mind. The first beat is due at once, later ones a period after the last.
    fn beat_every(&mut self, milliseconds: u32) {
        let period = Duration::from_millis(u64::from(milliseconds.clamp(10, 60_000)));
        let first = match &self.beats {
            Some(beats) if beats.period() == period => return,
            Some(_) => Instant::now() + period,
            None => Instant::now(),
        };
        let mut beats = interval_at(first, period);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.beats = Some(beats);
        self.silence = (period * SILENT_BEATS).max(SILENCE_MIN) * self.leniency;
    }

    fn beat(&mut self) {
        // A full channel means that nothing gets through: the silence will end the session.
        let serial = self.serial + 1;
        if self.out.try_send(FromWorker { what: Some(Out::Heartbeat(Heartbeat { serial })) }).is_ok() {
            self.serial = serial;
            self.sent.push_back((serial, Instant::now()));
            if self.sent.len() > OUTGOING_MAX {
                self.sent.pop_front();
            }
        }
    }
}

/// What happened, in a few words: tonic wraps its causes several times over.
fn cause(status: &Status) -> String {
    let mut cause: &dyn Error = status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let words = if cause.is::<Status>() { status.message().to_owned() } else { cause.to_string() };
    let first = words.split(": http").next().unwrap_or_default().trim();
    if first.is_empty() { format!("{:?}", status.code()) } else { first.chars().take(CAUSE_MAX).collect() }
}

async fn beat(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_beats_as_often_as_the_leader_says_last() {
        let (out, _rest) = mpsc::channel(1);
        let begun = Instant::now();
        let mut live = Live {
            out,
            sequence: 0,
            beats: None,
            silence: SILENCE_MIN,
            leniency: 1,
            heard: begun,
            serial: 0,
            sent: VecDeque::new(),
            takes_node: false,
            node_due: false,
            asked: None,
        };
        live.beat_every(500);
        beat(&mut live.beats).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "the first at once");
        beat(&mut live.beats).await;
        assert_eq!(begun.elapsed().as_millis(), 500);
        live.beat_every(1200);
        assert_eq!(live.silence, Duration::from_millis(3600));
        tokio::time::advance(Duration::from_millis(700)).await;
        // Each answer says it again, and none may put the next beat off.
        live.beat_every(1200);
        beat(&mut live.beats).await;
        assert_eq!(begun.elapsed().as_millis(), 1700);
    }
}
