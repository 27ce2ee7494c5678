//! Whether a request wants to become a stream, and by which protocol.

use std::future::Future;

use axum::{
    body::Body,
    extract::{FromRequestParts, ws::WebSocketUpgrade},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::spdy::wire::Wire;
use crate::{rest::reply::Reply, status::Status};

/// What is spoken inside of SPDY.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// More than any client offers.
const OFFERED_MAX: usize = 16;

/// The longest message of a client's WebSocket. Those of Kubernetes send far shorter ones.
const MESSAGE_MAX: usize = 4 << 20;
/// What is read from it at a time. The reader allocates as much at once and fills it with zeros before each read, which brings one record of
/// TLS, 16 KiB, at most.
const READ: usize = 16 << 10;

/// The wish to become a stream.
pub(crate) enum Upgrade {
    /// By WebSocket.
    WebSocket(Box<WebSocketUpgrade>),
    /// By a WebSocket whose messages are pieces of a connection.
    Tunnel(TunnelUpgrade),
    /// By SPDY/3.1.
    Spdy(SpdyUpgrade),
}

/// The wish to speak something else in a WebSocket.
pub(crate) struct TunnelUpgrade {
    on: OnUpgrade,
    /// Answers the handshake, and never gets the connection.
    handshake: Box<WebSocketUpgrade>,
}

/// The wish to speak SPDY.
pub(crate) struct SpdyUpgrade {
    on: OnUpgrade,
    /// What the client could speak in it, the best first.
    offered: Vec<String>,
}

impl Upgrade {
    /// Takes it from a request, if there is one. `tunnel`: the subprotocol of a tunnel, where there may be one.
    pub(crate) async fn take(parts: &mut Parts, tunnel: Option<&'static str>) -> Option<Upgrade> {
        let wanted = parts.headers.get(header::UPGRADE)?.to_str().ok()?.to_ascii_lowercase();
        match wanted.as_str() {
            "websocket" => {
                if let Some(tunnel) = tunnel.filter(|tunnel| offers(&parts.headers, tunnel)) {
                    let on = parts.extensions.insert(no_upgrade())?;
                    let handshake = WebSocketUpgrade::from_request_parts(parts, &()).await.ok()?;
                    let handshake = Box::new(handshake.protocols([tunnel]));
                    return Some(Upgrade::Tunnel(TunnelUpgrade { on, handshake }));
                }
                let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await.ok()?;
                let upgrade =
                    upgrade.max_message_size(MESSAGE_MAX).max_frame_size(MESSAGE_MAX).read_buffer_size(READ);
                Some(Upgrade::WebSocket(Box::new(upgrade)))
            }
            "spdy/3.1" => {
                let on = parts.extensions.remove::<OnUpgrade>()?;
                let offered = parts.headers.get_all(STREAM_PROTOCOL).into_iter();
                let offered =
                    offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
                let offered = offered.map(|name| name.trim().to_owned()).take(OFFERED_MAX).collect();
                Some(Upgrade::Spdy(SpdyUpgrade { on, offered }))
            }
            _ => None,
        }
    }
}

/// Whether a WebSocket's client can speak a subprotocol.
fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let mut all = all.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    all.any(|offered| offered.trim() == protocol)
}

/// An upgrade that never comes.
fn no_upgrade() -> OnUpgrade {
    hyper::upgrade::on(Request::new(()))
}

impl TunnelUpgrade {
    /// Answers that the protocol changes, and serves the connection from then on.
    pub(super) fn serve<F>(self, serve: impl FnOnce(Wire) -> F + Send + 'static) -> Reply
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let response = self.handshake.on_upgrade(|_| async {});
        upgraded(self.on, move |connection| serve(Wire::of_websocket(connection)));
        Reply::switching(response)
    }
}

/// Serves a connection once its protocol has changed.
fn upgraded<F>(on: OnUpgrade, serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        match on.await {
            Ok(connection) => serve(TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
}

impl SpdyUpgrade {
    /// The best of these that the client can speak.
    pub(super) fn agree<'a>(&self, ours: &[&'a str]) -> Result<&'a str, Status> {
        let chosen = ours.iter().find(|name| self.offered.iter().any(|offered| offered == *name));
        chosen.copied().ok_or_else(|| {
            let (offered, ours) = (self.offered.join(", "), ours.join(", "));
            let message = format!("unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{ours}]");
            Status::new(403, "Forbidden", message)
        })
    }

    /// Answers that the protocol changes, and serves the connection from then on.
    pub(super) fn serve<F>(
        self,
        protocol: &'static str,
        serve: impl FnOnce(Wire) -> F + Send + 'static,
    ) -> Reply
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        upgraded(self.on, move |connection| serve(Wire::of_connection(connection)));
        Reply::switching(response)
    }
}

/// The refusal of a request that does not want to.
pub(crate) fn required() -> Status {
    Status::bad_request("Upgrade request required")
}
