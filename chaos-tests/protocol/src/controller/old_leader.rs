//! A leader of the past: a controller that speaks in a term that is over, as one does whose machine stood still or came back from an old
//! copy. It welcomes every worker that calls and says that there is nothing to run. A worker that has accepted a newer term hangs up;
//! whoever speaks on heeds it, which is written into the book.

use std::{sync::Arc, time::Duration};

use kontiki_chaos_plan::names;
use kontiki_proto::worker::{
    Assignments, FromWorker, HeartbeatAck, Hello, ReportAck, ToWorker, Welcome,
    from_worker::What as From,
    sessions_server::{Sessions, SessionsServer},
    to_worker::What as To,
};
use kontiki_raft::Scope;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Surroundings, address};
use crate::player::Book;

/// How often it wants to hear from a worker.
const BEATS: Duration = Duration::from_millis(200);
/// Messages that may wait for a worker.
const OUT_MAX: usize = 64;

/// Lets one listen at a controller's address, whose own process must not run. It ends with the scope.
pub fn rise(around: &Surroundings, number: u32, term: u64) -> Scope {
    let scope = Scope::new(u64::from(number) ^ (term << 16));
    let old = OldLeader {
        number,
        term,
        lease_ms: u32::try_from(around.shape.node_grace_ms).unwrap_or(u32::MAX),
        book: around.book.clone(),
        scope: scope.clone(),
    };
    let service = tonic::service::Routes::new(SessionsServer::new(old)).into_axum_router();
    around.fabric.serve(around.fabric.controller(number), &address(number), service, &scope);
    scope
}

struct OldLeader {
    number: u32,
    term: u64,
    lease_ms: u32,
    book: Arc<Book>,
    scope: Scope,
}

#[tonic::async_trait]
impl Sessions for OldLeader {
    type SessionStream = ReceiverStream<Result<ToWorker, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let Some(FromWorker { what: Some(From::Hello(hello)) }) = inbound.message().await? else {
            return Err(Status::invalid_argument("a session begins with a hello"));
        };
        let (out, outbound) = mpsc::channel(OUT_MAX);
        let talk =
            Talk { number: self.number, term: self.term, sequence: 0, hello, book: self.book.clone(), out };
        self.scope.spawn(talk.go_on(inbound, self.lease_ms));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// One session.
struct Talk {
    number: u32,
    term: u64,
    sequence: u64,
    hello: Hello,
    book: Arc<Book>,
    out: mpsc::Sender<Result<ToWorker, Status>>,
}

impl Talk {
    async fn go_on(mut self, mut inbound: Streaming<FromWorker>, lease_ms: u32) {
        let welcome = Welcome {
            leader: names::controller(self.number),
            heartbeat_ms: u32::try_from(BEATS.as_millis()).unwrap_or(u32::MAX),
            lease_ms,
            // The worker keeps the list that it has.
            controllers: Vec::new(),
            takes_node: false,
            gives_tokens: false,
        };
        let nothing = Assignments { complete: true, ..Assignments::default() };
        self.say(To::Welcome(welcome)).await;
        self.say(To::Assignments(nothing)).await;
        let mut heeded = false;
        while let Ok(Some(FromWorker { what: Some(what) })) = inbound.message().await {
            if !std::mem::replace(&mut heeded, true) {
                self.book.heeded(self.number, &self.hello.node, self.term, self.hello.accepted_term);
            }
            match what {
                From::Heartbeat(beat) => {
                    self.say(To::HeartbeatAck(HeartbeatAck { serial: beat.serial, heartbeat_ms: 0 })).await
                }
                From::Report(report) => self.say(To::ReportAck(ReportAck { serial: report.serial })).await,
                From::Hello(_) | From::Node(_) | From::Usage(_) | From::TokenAsk(_) => return,
            }
        }
    }

    async fn say(&mut self, what: To) {
        self.sequence += 1;
        let message = ToWorker { term: self.term, sequence: self.sequence, what: Some(what) };
        // A worker that has hung up hears nothing more.
        let _ = self.out.send(Ok(message)).await;
    }
}
