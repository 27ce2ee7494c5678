//! The one way to accept: every controller has one port, for gRPC and for the Kubernetes API, for members and strangers.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use crate::gulp::Gulp;
use crate::{Peer, Refusal, Role, tls};

/// A stranger gets this long to finish its handshake, and this many may be at it; more wait in the kernel's queue.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 1024;
/// Together with what the kernel allows in open files, the bound on connections.
const CONNECTIONS: usize = 32 * 1024;
/// After a shutdown was asked for, requests that still run get this long.
const DRAIN: Duration = Duration::from_secs(3);
/// A peer that vanished without a word is noticed after these two; one that has too much to do is not taken for that.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const HEADER_READ: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 1000;
const MAX_HEADERS: u32 = 64 * 1024;
/// When the process is out of file descriptors, trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The protocols that [`serve`] speaks, for [`crate::Identity::server_config`]. Best first.
pub const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// By this protocol, which nobody speaks, a member of the consensus says in its handshake that it wants to be served in the lane: see
/// [`serve`].
pub(crate) const LANE: &[u8] = b"kontiki-consensus";
/// By this protocol, which nobody speaks, a worker says that its connection carries one stream of bytes, as of a forwarded port.
pub(crate) const BULK: &[u8] = b"kontiki-bulk";
/// The longest frame of such a connection, and what may be on its way to a reader who is slow. On other connections HTTP/2 finds a window
/// by measuring: near by, where nothing is on its way for long, it stays so small that both ends wait for each other in turn, and from
/// afar it may become many times as large.
pub(crate) const BULK_FRAME: u32 = 64 << 10;
pub(crate) const BULK_WINDOW: u32 = 512 << 10;
/// Members are few. A stranger who comes into the lane is held up by no more than these.
const LANE_HANDSHAKES: usize = 64;
const LANE_HANDSHAKE: Duration = Duration::from_secs(2);

/// The other end's address. [`serve`] puts it into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Serves a TLS port until `shutdown`: each request of HTTP/1.1 or HTTP/2 goes to `service` with a [`PeerAddr`] and, if
/// the client has shown a certificate of this cluster, a [`Peer`] in its extensions. A client that names no protocol in
/// the handshake is taken to speak HTTP/1.1, so `tls` should offer [`ALPN`]. Returns when the last connection has
/// ended, at most a few seconds after the shutdown.
///
/// Connections of controllers that were dialed with [`Dialer::of_lane`](crate::Dialer::of_lane) live in `lane`, a runtime of its own, from
/// their handshake on: thousands of clients may call at once, and none of their handshakes and requests goes before a heartbeat.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    cluster_id: &str,
    lane: Option<Handle>,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let port = Arc::new(Port {
        tls,
        cluster_id: cluster_id.to_owned(),
        lane,
        handshakes: Semaphore::new(HANDSHAKES),
        lane_handshakes: Semaphore::new(LANE_HANDSHAKES),
        shutdown: shutdown.clone(),
    });
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    let mut turned_away = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Either this one connection broke before it was accepted, or file descriptors have run out.
                warn!(%error, "cannot accept a connection");
                tokio::select! { () = shutdown.cancelled() => break, () = sleep(ACCEPT_PAUSE) => continue }
            }
        };
        let Ok(slot) = connections.clone().try_acquire_owned() else {
            if !turned_away {
                warn!(limit = CONNECTIONS, "too many connections, turning new ones away");
            }
            turned_away = true;
            continue;
        };
        turned_away = false;
        let (port, service) = (port.clone(), service.clone());
        tasks.spawn(async move {
            port.connection(stream, address, service).await;
            drop(slot);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// What all connections of a port share.
struct Port {
    tls: Arc<ServerConfig>,
    cluster_id: String,
    lane: Option<Handle>,
    handshakes: Semaphore,
    lane_handshakes: Semaphore,
    shutdown: CancellationToken,
}

impl Port {
    /// One connection, from its first byte to its end.
    async fn connection<S, B>(self: Arc<Self>, stream: TcpStream, address: SocketAddr, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let greeted = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return,
            greeted = self.greet(stream, address) => greeted,
        };
        match greeted {
            None => {}
            Some(Greeted::Here(stream, peer, bulk)) => {
                self.converse(stream, peer, address, bulk, service).await;
            }
            Some(Greeted::ForLane(lane, start)) => {
                let port = self.clone();
                let there = lane.spawn(async move {
                    let greeted = tokio::select! {
                        biased;
                        () = port.shutdown.cancelled() => return,
                        greeted = port.greet_in_lane(start, address) => greeted,
                    };
                    if let Some((stream, peer)) = greeted {
                        port.converse(stream, Some(peer), address, false, service).await;
                    }
                });
                // The lane's end, with the process, is the connection's.
                let _ = there.await;
            }
        }
    }

    /// Answers requests until one of the two has enough.
    async fn converse<S, B>(
        &self,
        stream: Secured,
        peer: Option<Peer>,
        address: SocketAddr,
        bulk: bool,
        service: S,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let builder = builder(&stream, bulk);
        let serve_request = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(address));
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            service.clone().oneshot(request)
        });
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), serve_request));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            debug!(%address, error = %with_causes(error.as_ref()), "connection ended");
        }
    }

    /// The handshake, and who it was with. `None` if there will be no connection; then that is logged.
    async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Option<Greeted> {
        let permit = self.handshakes.acquire().await.ok()?;
        // Small answers must not wait for the acknowledgement of the last one.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "connection broke before the handshake");
            return None;
        }
        let handshake = async {
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let hello = start.client_hello();
            let asks =
                |mark| hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == mark));
            let bulk = asks(BULK);
            match &self.lane {
                Some(lane) if asks(LANE) => Ok(Handshake::ForLane(lane.clone(), detached(start)?)),
                _ => Ok(Handshake::Done(secured(start, &self.tls).await?, bulk)),
            }
        };
        let (stream, bulk) = match finished(handshake, HANDSHAKE, address).await? {
            Handshake::Done(stream, bulk) => (stream, bulk),
            Handshake::ForLane(lane, start) => return Some(Greeted::ForLane(lane, start)),
        };
        drop(permit);
        let peer = self.peer(&stream, address).ok()?;
        // A window that is large from the beginning is not for strangers.
        let bulk = bulk && peer.as_ref().is_some_and(|peer| peer.role == Role::Worker);
        Some(Greeted::Here(stream, peer, bulk))
    }

    /// The rest of the handshake of one who asked for the lane. Nobody but a controller belongs there.
    async fn greet_in_lane(&self, start: Detached, address: SocketAddr) -> Option<(Secured, Peer)> {
        let permit = self.lane_handshakes.try_acquire().ok()?;
        let handshake = async { secured(attached(start)?, &self.tls).await };
        let stream = finished(handshake, LANE_HANDSHAKE, address).await?;
        drop(permit);
        match self.peer(&stream, address).ok()? {
            Some(peer) if peer.role == Role::Controller => Some((stream, peer)),
            peer => {
                let who = peer.map_or_else(|| "a stranger".to_owned(), |peer| peer.to_string());
                warn!(%address, who, "connection refused: the lane of the consensus is for controllers");
                None
            }
        }
    }

    /// Whom the certificate names, if one was shown. An error if that is nobody to be heeded; then that is logged.
    fn peer(&self, stream: &Secured, address: SocketAddr) -> Result<Option<Peer>, ()> {
        let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
            return Ok(None);
        };
        // Already checked in the handshake by our own settings; here it is checked whatever the settings are.
        let refusal = match Peer::from_certificate(certificate) {
            Ok(peer) if peer.cluster == self.cluster_id => return Ok(Some(peer)),
            Ok(peer) => {
                let who = peer.to_string();
                Refusal::OtherCluster { who, theirs: peer.cluster, ours: self.cluster_id.clone() }
            }
            Err(error) => Refusal::NoIdentity(error.to_string()),
        };
        warn!(%address, cause = %refusal, "connection refused");
        Err(())
    }
}

/// How far a handshake came.
enum Handshake {
    /// Whether it was said that it is for bulk.
    Done(Secured, bool),
    ForLane(Handle, Detached),
}

/// Who is to be served where.
enum Greeted {
    Here(Secured, Option<Peer>, bool),
    ForLane(Handle, Detached),
}

/// A connection after its handshake.
type Secured = TlsStream<Gulp<TcpStream>>;

/// The rest of a handshake.
async fn secured(start: StartHandshake<TcpStream>, tls: &Arc<ServerConfig>) -> io::Result<Secured> {
    let StartHandshake { accepted, io, .. } = start;
    StartHandshake::from_parts(accepted, Gulp::new(io)).into_stream(tls.clone()).await
}

/// A handshake that has begun, and whose socket belongs to no runtime.
type Detached = (Accepted, std::net::TcpStream);

fn detached(start: StartHandshake<TcpStream>) -> io::Result<Detached> {
    Ok((start.accepted, start.io.into_std()?))
}

/// To be called in the runtime that it is to belong to.
fn attached((accepted, stream): Detached) -> io::Result<StartHandshake<TcpStream>> {
    Ok(StartHandshake::from_parts(accepted, TcpStream::from_std(stream)?))
}

/// The handshake's result. `None` if there is none; then that is logged.
async fn finished<T>(
    handshake: impl Future<Output = io::Result<T>>,
    within: Duration,
    address: SocketAddr,
) -> Option<T> {
    match timeout(within, handshake).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            log_refused(address, &error);
            None
        }
        Err(_) => {
            debug!(%address, "handshake not finished within {within:?}");
            None
        }
    }
}

/// What the two agreed on in the handshake decides the protocol. Without an agreement it would have to be guessed from
/// the first bytes, for which a silent client could let us wait for ever.
fn builder(stream: &Secured, bulk: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .adaptive_window(true)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS);
    if bulk {
        // These leave the measuring off.
        builder
            .http2()
            .initial_stream_window_size(BULK_WINDOW)
            .initial_connection_window_size(BULK_WINDOW)
            .max_frame_size(BULK_FRAME);
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .max_buf_size(MAX_HEADERS as usize);
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        _ => builder.http1_only(),
    }
}

fn log_refused(address: SocketAddr, error: &io::Error) {
    if let Some(refusal) = tls::refusal_in(error) {
        warn!(%address, cause = %refusal, "connection refused");
    } else if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
        // The client may not trust us, or speaks no TLS 1.3.
        warn!(%address, cause = %error, "handshake failed");
    } else {
        // A port scan or a load balancer's probe: connected, and went away.
        debug!(%address, cause = %error, "handshake broken off");
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
