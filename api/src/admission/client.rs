//! Questions over HTTPS. Connections are kept for the next question to the same webhook; everything has an end.

use std::{collections::HashMap, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    hook::Hook,
    place::{Target, To},
};
use crate::rest::{
    SHORT,
    places::{Place, Places},
};

/// Bytes of an answer: a patch of an object as large as one may be, in base64, and some more.
const ANSWER: usize = 5 << 20;
/// Headers of an answer, and their bytes.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 << 10;
/// Connections to one webhook that wait for the next question, how long they do, and webhooks that have any.
const IDLE: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(60);
const KEPT: usize = 256;
/// Addresses that are tried for one question.
const ADDRESSES: usize = 4;

/// Sends requests on a connection.
pub(crate) type Sender = http1::SendRequest<Full<Bytes>>;

/// Asks webhooks.
#[derive(Default)]
pub(super) struct Client {
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

/// A connection to a webhook.
struct Connection {
    sender: Sender,
    to: SocketAddr,
    /// Since when it waits for a question.
    since: Instant,
}

impl Connection {
    fn lives(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE_FOR
    }
}

/// Where the memory for long answers comes from, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) places: &'a Places,
    pub(super) user: &'a str,
}

impl Client {
    /// Asks a webhook, and waits for the whole answer for as long as it may take.
    ///
    /// # Errors
    /// In words, as Kubernetes' client has them. They name no content.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        target: &Target,
        question: Vec<u8>,
        memory: Memory<'_>,
    ) -> Result<Bytes, String> {
        let url = target.url(hook.seconds);
        let asking = self.exchange(hook, target, Bytes::from(question), memory);
        match timeout(hook.timeout(), asking).await {
            Ok(answer) => answer.map_err(|why| match why {
                Failed::Way(why) => format!("Post {url:?}: {why}"),
                Failed::Answer(why) => why,
            }),
            Err(_) => Err(format!("Post {url:?}: context deadline exceeded")),
        }
    }

    async fn exchange(
        &self,
        hook: &Hook,
        target: &Target,
        question: Bytes,
        memory: Memory<'_>,
    ) -> Result<Bytes, Failed> {
        // A connection that was kept may be one that the other side has closed: the question is then asked anew. It was not answered, and
        // webhooks have no side effects that count, or they could not be asked again by anybody.
        while let Some(kept) = self.kept(hook, target) {
            match self.on(kept, hook, target, &question, memory).await {
                Err(Failed::Way(_)) => {}
                answer => return answer,
            }
        }
        let made = connect(hook, target).await.map_err(Failed::Way)?;
        self.on(made, hook, target, &question, memory).await
    }

    /// Asks on a connection, and keeps it.
    async fn on(
        &self,
        mut connection: Connection,
        hook: &Hook,
        target: &Target,
        question: &Bytes,
        memory: Memory<'_>,
    ) -> Result<Bytes, Failed> {
        let broken = |error: hyper::Error| Failed::Way(chain(&error));
        let sender = &mut connection.sender;
        sender.ready().await.map_err(broken)?;
        let request = Request::post(format!("{}?timeout={}s", target.path, hook.seconds))
            .header(header::HOST, &target.authority)
            .header(header::USER_AGENT, concat!("kontiki/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(question.clone()))
            .map_err(|error| Failed::Way(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let (bytes, _place) = read(answer.into_body(), memory).await?;
        self.keep(&hook.id, connection);
        if status.is_success() {
            return Ok(bytes);
        }
        Err(Failed::Answer(match status {
            StatusCode::NOT_FOUND => "the server could not find the requested resource".into(),
            StatusCode::TOO_MANY_REQUESTS => {
                "the server has received too many requests and has asked us to try again later".into()
            }
            status if status.is_server_error() => {
                format!("an error on the server ({status}) has prevented the request from succeeding")
            }
            status => format!("the server rejected our request ({status})"),
        }))
    }

    /// A connection that waits, to where the webhook still is.
    fn kept(&self, hook: &Hook, target: &Target) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let list = idle.get_mut(&hook.id)?;
        while let Some(connection) = list.pop() {
            let there = match &target.to {
                To::Host(..) => true,
                To::Addresses(addresses) => addresses.contains(&connection.to),
            };
            if there && connection.lives() {
                return Some(connection);
            }
        }
        idle.remove(&hook.id);
        None
    }

    fn keep(&self, id: &str, connection: Connection) {
        let mut idle = self.idle.lock();
        if !idle.contains_key(id) && idle.len() >= KEPT {
            // Most of them are of configurations that are no more.
            idle.clear();
        }
        let list = idle.entry(id.to_owned()).or_default();
        list.retain(Connection::lives);
        if list.len() < IDLE {
            list.push(Connection { since: Instant::now(), ..connection });
        }
    }
}

/// Why there is no answer.
enum Failed {
    /// It did not get there, or nothing came back.
    Way(String),
    /// What came back is none.
    Answer(String),
}

/// The whole body, and the place in memory that a long one takes.
async fn read(mut body: Incoming, memory: Memory<'_>) -> Result<(Bytes, Option<Place>), Failed> {
    let (mut bytes, mut place) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::Way(chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        if bytes.len() > ANSWER {
            return Err(Failed::Answer(format!("the answer of the webhook is longer than {ANSWER} bytes")));
        }
        if bytes.len() > SHORT && place.is_none() {
            let taken = memory.places.take(memory.user, ANSWER >> 10);
            place = Some(taken.map_err(|status| Failed::Answer(status.message))?);
        }
    }
    Ok((bytes.freeze(), place))
}

async fn connect(hook: &Hook, target: &Target) -> Result<Connection, String> {
    let (sender, to) = open(hook.tls()?, &target.server, &target.to).await?;
    Ok(Connection { sender, to, since: Instant::now() })
}

/// Opens a connection to a server of this name, over TLS, and tells which address it is at. It ends when the sender is dropped.
///
/// # Errors
/// In words, with the cause.
pub(crate) async fn open(
    tls: Arc<ClientConfig>,
    server: &str,
    to: &To,
) -> Result<(Sender, SocketAddr), String> {
    let name = ServerName::try_from(server.to_owned()).map_err(|error| error.to_string())?;
    let (stream, to) = dial(to).await?;
    stream.set_nodelay(true).ok();
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("tls: {}", chain(&error)))?;
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_buf_size(HEADER_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| chain(&e))?;
    // It ends with its sender, or when the other side closes it; how is told to whoever waits for an answer.
    tokio::spawn(async move {
        connection.await.ok();
    });
    Ok((sender, to))
}

async fn dial(to: &To) -> Result<(TcpStream, SocketAddr), String> {
    let addresses: Vec<SocketAddr> = match to {
        To::Addresses(addresses) => addresses.clone(),
        To::Host(host, port) => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let found = found.map_err(|error| format!("dial tcp: lookup {host}: {error}"))?;
            found.collect()
        }
    };
    let mut last = "dial tcp: no address".to_owned();
    for address in addresses.into_iter().take(ADDRESSES) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = format!("dial tcp {address}: {error}"),
        }
    }
    Err(last)
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
