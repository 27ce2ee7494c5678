//! `pods/proxy` and `services/proxy`: requests that are handed on to a port of a pod, over the stream that port-forward has.
//!
//! ```text
//!   destination.rs  which port of which pod       stream.rs  a stream as a connection
//!   headers.rs      what of the headers goes on   links.rs   links of the pod to itself, in pages and redirects
//! ```
//!
//! Each request has a connection of its own. Bodies go through as they come, both ways, and who does not read holds up the other side and
//! nobody else. What goes wrong before a pod has answered is told as a Status. Source: Kubernetes' `apimachinery/pkg/util/proxy`; other than
//! there, paths go on as they are written, and a pod that does not want to change the protocol is heard.

mod destination;
mod headers;
mod links;
mod stream;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kontiki_actors::{Kind, Object};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, pki_types::ServerName},
};

use super::{
    admitted,
    call::{Call, method_not_allowed},
    path::{self, Target},
    places::Place,
    reply::{Answered, Reply},
};
use crate::{
    admission::chain,
    resource::fields::text,
    status::Status,
    streams::{PodStream, StreamError, StreamTo},
};
use destination::{Asked, unavailable};
use headers::Forwarded;
use links::Links;
use stream::Connection;

/// What is handed on, as in Kubernetes.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
/// Headers of an answer, and their bytes.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 << 10;
/// How long a port may take to be reached, TLS included.
const CONNECT: Duration = Duration::from_secs(30);
/// How long somebody waits whose worker opens as many streams as it may: a page asks for much at once.
const BUSY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// How long a pod may be silent before it answers, and while it takes a request's body. Kubernetes waits for as long as the client does;
/// some of those are gone and do not say so.
const ANSWER: Duration = Duration::from_secs(5 * 60);

/// How long the end of a connection whose protocol changed may take to be told its client.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection to a port.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// HTTP on a connection: whatever it waits for, that is over when this is dropped.
struct Exchange {
    task: AbortHandle,
    /// As long as there is one, the other side may go on.
    _sender: http1::SendRequest<Body>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers a request for a proxy.
pub(crate) async fn answer(mut call: Call, target: Target) -> Answered {
    let kind = target.served.kind;
    if !METHODS.contains(&call.method) {
        return Err(method_not_allowed(&call.method, kind.info().kind));
    }
    let (Some(namespace), Some(named)) = (&target.namespace, &target.name) else {
        return Err(Status::no_resource());
    };
    let invalid = || Status::bad_request(format!("invalid {} request {named:?}", kind.info().singular));
    let asked = Asked::read(named).ok_or_else(invalid)?;
    let state = call.view().await?;
    let (pod, port) = asked.find(&state, kind, namespace)?;
    drop(state);
    let uri = call.uri.clone();
    let (prefix, below) = path::at_proxy(uri.path()).ok_or_else(Status::no_resource)?;
    let options = if kind == Kind::SERVICE { "ServiceProxyOptions" } else { "PodProxyOptions" };
    let told = if below.is_empty() { json!({}) } else { json!({"path": below}) };
    admitted::connect(&call, &target, options, told).await?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if below.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        // Or what a page names relative to itself would be looked for beside the proxy.
        return redirected(&format!("{prefix}/{query}"));
    }
    let upgrade = headers::upgrade(&call.headers).zip(call.connection.take());
    let place = call.place(&call.api.streams)?;
    let names = Names::of(&pod, port, asked.tls);
    let wire = timeout(CONNECT, connect(&call, &pod, port, asked.tls.then_some(&names))).await;
    let wire = wire.unwrap_or_else(|_| Err(unreachable(format!("no connection within {CONNECT:?}"))))?;

    let below = if below.is_empty() { "/" } else { below };
    let host = host_of(&call);
    let links = Links { prefix: prefix.to_owned(), asked: host.clone(), pod: names.hosts };
    let there = format!("{below}{query}");
    let told = Forwarded {
        host: &host,
        client: call.address.map(|peer| peer.0.ip()),
        uri: &format!("{prefix}{below}"),
    };
    let mut told = headers::to_pod(&call.headers, &told);
    let connection = upgrade.map(|(protocol, connection)| {
        told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        told.insert(header::UPGRADE, protocol);
        connection
    });
    let (response, exchange) = send(&call, &there, told, wire).await?;
    match (response.status() == StatusCode::SWITCHING_PROTOCOLS, connection) {
        (true, Some(client)) => Ok(switched(response, client, (place, exchange))),
        (true, None) => Err(unreachable("it changed the protocol unasked")),
        _ => Ok(answered(&call.method, response, links, (place, exchange))),
    }
}

/// How a pod is called, and as whom TLS looks for it.
struct Names {
    hosts: Vec<String>,
    server: ServerName<'static>,
}

impl Names {
    fn of(pod: &Object, port: u16, tls: bool) -> Names {
        let status = pod.document.status_value();
        let address: Option<IpAddr> = text(&status, "podIP").parse().ok();
        let host = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(address)) => address.to_string(),
            None => pod.key.name.to_string(),
        };
        let mut hosts = vec![format!("{host}:{port}")];
        if port == if tls { 443 } else { 80 } {
            hosts.push(host);
        }
        // An address is not sent to the server.
        let server = ServerName::from(address.unwrap_or(IpAddr::from([127, 0, 0, 1])));
        Names { hosts, server }
    }
}

fn redirected(to: &str) -> Answered {
    let mut moved = Response::new(Body::empty());
    *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
    moved.headers_mut().insert(header::LOCATION, HeaderValue::from_str(to).map_err(Status::internal)?);
    Ok(Reply::switching(moved))
}

/// Whom the client asked for.
fn host_of(call: &Call) -> String {
    let authority = call.uri.authority().map(|authority| authority.as_str());
    let told = call.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.or(told).unwrap_or(&call.api.options.advertised).to_owned()
}

async fn connect(
    call: &Call,
    pod: &Arc<Object>,
    port: u16,
    tls: Option<&Names>,
) -> Result<Box<dyn Wire>, Status> {
    let connection = Connection::new(open(call, pod, port).await?);
    let Some(names) = tls else { return Ok(Box::new(connection)) };
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> =
        LazyLock::new(kontiki_pki::unverified_client_config);
    let config = CONFIG.as_ref().map_err(Status::internal)?;
    let connected = TlsConnector::from(config.clone()).connect(names.server.clone(), connection).await;
    Ok(Box::new(connected.map_err(|error| unreachable(format!("tls: {}", chain(&error))))?))
}

async fn open(call: &Call, pod: &Arc<Object>, port: u16) -> Result<PodStream, Status> {
    super::stream::hosted(pod).map_err(|status| unreachable(status.message))?;
    let until = Instant::now() + BUSY;
    loop {
        match call.api.backend.open_stream(pod.clone(), StreamTo::Port(port)).await {
            Ok(stream) => return Ok(stream),
            Err(StreamError::Busy(_)) if Instant::now() < until => sleep(AGAIN).await,
            Err(error @ StreamError::Busy(_)) => return Err(error.into()),
            Err(error) => return Err(unreachable(error)),
        }
    }
}

/// Sends the request on, and waits for the head of the answer.
async fn send(
    call: &Call,
    there: &str,
    headers: HeaderMap,
    wire: Box<dyn Wire>,
) -> Result<(Response<Incoming>, Exchange), Status> {
    let goes_on = Arc::new(Notify::new());
    let taken = goes_on.clone();
    let body = call.take_body().map_frame(move |frame| {
        taken.notify_one();
        frame
    });
    let mut request = Request::new(Body::new(body));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = there.parse().map_err(|_| Status::bad_request("the path cannot be handed on"))?;
    *request.headers_mut() = headers;
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_buf_size(HEADER_BYTES);
    let broken = |error: hyper::Error| unreachable(chain(&error));
    let (mut sender, connection) = builder.handshake(TokioIo::new(wire)).await.map_err(broken)?;
    // How it ends is told to whoever waits for the answer, or reads it.
    let task = tokio::spawn(connection.with_upgrades()).abort_handle();
    let mut sending = std::pin::pin!(sender.send_request(request));
    let exchange = Exchange { task, _sender: sender };
    loop {
        let until = Instant::now() + ANSWER;
        let response = tokio::select! {
            response = timeout_at(until, &mut sending) => response,
            () = goes_on.notified() => continue,
        };
        let silent = |_| {
            let message = format!("the pod did not begin to answer within {ANSWER:?}");
            Status::new(504, "Timeout", message)
        };
        let response = response.map_err(silent)?.map_err(broken)?;
        return Ok((response, exchange));
    }
}

/// The answer of a pod. What it holds is held until it is sent or its client is gone.
fn answered(method: &Method, response: Response<Incoming>, links: Links, held: (Place, Exchange)) -> Reply {
    let (mut parts, body) = response.into_parts();
    headers::to_client(&mut parts.headers);
    let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    if let Some(through) = location.and_then(|link| links.through(link))
        && let Ok(through) = HeaderValue::from_str(&through)
    {
        parts.headers.insert(header::LOCATION, through);
    }
    let body = body.map_frame(move |frame| {
        let _held = &held;
        frame
    });
    let whole = parts.status != StatusCode::PARTIAL_CONTENT && !parts.headers.contains_key(header::LOCATION);
    let page = whole && headers::is_page(&parts.headers);
    if page {
        // It gets longer.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let body = if page && *method != Method::HEAD {
        links.in_page(body.into_data_stream())
    } else {
        Body::new(body)
    };
    let mut answer = Response::new(body);
    (*answer.status_mut(), *answer.headers_mut()) = (parts.status, parts.headers);
    Reply::switching(answer)
}

/// The answer by which the protocol changes; from then on all bytes go through, until one side is done.
fn switched(mut response: Response<Incoming>, client: OnUpgrade, held: (Place, Exchange)) -> Reply {
    let pod = hyper::upgrade::on(&mut response);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let mut told = std::mem::take(response.headers_mut());
    headers::to_client(&mut told);
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    told.extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
    *answer.headers_mut() = told;
    tokio::spawn(async move {
        let _held = held;
        if let Err(error) = carry(client, pod).await {
            tracing::debug!(%error, "a connection through a proxy broke");
        }
    });
    Reply::switching(answer)
}

async fn carry(client: OnUpgrade, pod: OnUpgrade) -> io::Result<()> {
    let (client, pod) = tokio::try_join!(client, pod).map_err(io::Error::other)?;
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_pod, mut to_pod) = tokio::io::split(TokioIo::new(pod));
    let carried = tokio::select! {
        carried = tokio::io::copy(&mut from_client, &mut to_pod) => carried,
        carried = tokio::io::copy(&mut from_pod, &mut to_client) => carried,
    };
    timeout(GOODBYE, to_client.shutdown()).await.ok();
    carried.map(drop)
}

fn unreachable(cause: impl std::fmt::Display) -> Status {
    unavailable(format!("error trying to reach service: {cause}"))
}
