//! `pods/proxy` and `services/proxy`: requests that are handed on to a port of a pod, over the stream that port-forward has. Bodies go
//! through as they come; who does not read holds up the other side.
//!
//! Source: Kubernetes' `apimachinery/pkg/util/proxy` and `registry/core/{pod,service}`.

use std::time::Duration;

use axum::{body::Body, response::Response};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kontiki_actors::{Kind, Object, ObjectKey, State};
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    admitted,
    call::Call,
    path::Target,
    read,
    reply::{Answered, Reply},
    stream,
};
use crate::{
    admission::place::port_of,
    resource::fields::{items, text},
    selector::Selector,
    status::Status,
    streams::{FromClient, FromPod, PodStream, StreamTo},
};

/// Headers of an answer, and their bytes.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 64 << 10;
/// Bytes that wait between the stream and HTTP, each way.
const BETWEEN: usize = 64 << 10;
/// How long a port may take to be reached.
const CONNECT: Duration = Duration::from_secs(30);
/// Headers of one connection, which are not handed on.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The path and query of a request for a proxy as they are to be handed on: empty, or from the slash after `/proxy`.
pub(crate) fn handed_on(path: &str) -> &str {
    let trimmed = path.trim_start_matches('/');
    // api, v1, namespaces, its name, the resource, its name, proxy.
    trimmed.match_indices('/').nth(6).map_or("", |(at, _)| &trimmed[at..])
}

/// Answers a request for a proxy.
pub(crate) async fn answer(call: Call, target: Target) -> Answered {
    let kind = target.served.kind;
    let (Some(namespace), Some(named)) = (&target.namespace, &target.name) else {
        return Err(Status::no_resource());
    };
    let Some((scheme, name, port)) = split(named) else {
        return Err(Status::bad_request(format!("invalid {} request {named:?}", kind.info().singular)));
    };
    if scheme == "https" {
        return Err(Status::bad_request(
            "proxying to https is not supported yet: name the port without scheme",
        ));
    }
    let object = read::find(&call, &ObjectKey::new(kind, namespace, name)).await?;
    let (pod, port) = match kind {
        Kind::SERVICE => of_service(&call.own_view().await?, &object, port)?,
        _ => (object.clone(), of_pod(&object, port)?),
    };
    let options = if kind == Kind::SERVICE { "ServiceProxyOptions" } else { "PodProxyOptions" };
    let to = handed_on(call.uri.path()).to_owned();
    admitted::connect(&call, &target, options, if to.is_empty() { json!({}) } else { json!({"path": to}) })
        .await?;
    stream::hosted(&pod)?;
    let query = call.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if to.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        let mut moved = Response::new(Body::empty());
        *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = HeaderValue::from_str(&format!("{}/{query}", call.uri.path()));
        moved.headers_mut().insert(header::LOCATION, location.map_err(Status::internal)?);
        return Ok(Reply::switching(moved));
    }
    let place = call.place(&call.api.streams)?;
    let opening = call.api.backend.open_stream(pod.clone(), StreamTo::Port(port));
    let opened = match tokio::time::timeout(CONNECT, opening).await {
        Ok(opened) => opened.map_err(unreachable)?,
        Err(_) => return Err(unreachable("the connection timed out")),
    };
    let status = pod.document.status_value();
    let host = match text(&status, "podIP") {
        "" => format!("{}:{port}", pod.key.name),
        ip if ip.contains(':') => format!("[{ip}]:{port}"),
        ip => format!("{ip}:{port}"),
    };
    let prefix = call.uri.path().strip_suffix(to.as_str()).unwrap_or_default().to_owned();
    let path = if to.is_empty() { "/" } else { &to };
    let mut request = Request::new(call.take_body());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() =
        format!("{path}{query}").parse().map_err(|_| Status::bad_request("the path is invalid"))?;
    *request.headers_mut() = call.headers.clone();
    strip(request.headers_mut());
    let headers = request.headers_mut();
    // What the client is known by here is not the pod's business.
    headers.remove(header::AUTHORIZATION);
    let asked = headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(Status::internal)?);
    let set = |headers: &mut HeaderMap, name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let authority = call.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    set(headers, "x-forwarded-host", asked.or(authority));
    set(headers, "x-forwarded-proto", Some(HeaderValue::from_static("https")));
    set(headers, "x-forwarded-uri", HeaderValue::from_str(&format!("{prefix}{path}")).ok());

    let (near, far) = tokio::io::duplex(BETWEEN);
    tokio::spawn(carry(opened, far));
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_buf_size(HEADER_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(near)).await.map_err(unreachable)?;
    // It ends with the answer's body, or with either side; how is told to whoever waits for the answer.
    tokio::spawn(async move {
        connection.await.ok();
    });
    let (mut parts, body) = sender.send_request(request).await.map_err(unreachable)?.into_parts();
    strip(&mut parts.headers);
    if let Some(location) = parts.headers.get(header::LOCATION).and_then(|l| moved(l, &host, &prefix)) {
        parts.headers.insert(header::LOCATION, location);
    }
    let body = body.map_frame(move |frame| {
        // The answer holds its place among the streams until it ends.
        let _held = (&place, &sender);
        frame
    });
    Ok(Reply::switching(Response::from_parts(parts, Body::new(body))))
}

/// `[scheme:]name[:port]`.
fn split(named: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = named.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        ["" | "http" | "https", name, port] => (parts[0], *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some((scheme, name, port))
}

fn of_pod(pod: &Object, port: &str) -> Result<u16, Status> {
    if !port.is_empty() {
        return number(port).ok_or_else(|| Status::bad_request(format!("{port:?} is no port of a pod")));
    }
    let spec = pod.document.spec_value();
    let mut ports = items(&spec, "containers").flat_map(|(_, container)| items(container, "ports"));
    let first = ports.next().and_then(|(_, port)| port["containerPort"].as_u64());
    Ok(first.and_then(|port| u16::try_from(port).ok()).unwrap_or(80))
}

fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port > 0)
}

/// A ready pod that a Service selects, and the port there.
fn of_service(state: &State, service: &Object, port: &str) -> Result<(Arc<Object>, u16), Status> {
    let (name, spec) = (&service.key.name, service.document.spec_value());
    let ports: Vec<&Value> = items(&spec, "ports").map(|(_, port)| port).collect();
    let wanted = number(port).map(u64::from);
    let found = match (port, ports.as_slice()) {
        ("", [only]) => Some(*only),
        _ => ports
            .iter()
            .copied()
            .find(|told| text(told, "name") == port || told["port"].as_u64() == wanted && wanted.is_some()),
    };
    let unavailable = |message| Status::new(503, "ServiceUnavailable", message);
    let found =
        found.ok_or_else(|| unavailable(format!("no service port {port:?} found for service {name:?}")))?;
    let nobody = || unavailable(format!("no endpoints available for service {name:?}"));
    if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(nobody());
    }
    let selector = Selector::from_labels(Some(&spec["selector"])).map_err(|_| nobody())?;
    let pods = state.list(Kind::POD, Some(&service.key.namespace));
    let ready = pods.filter(|pod| {
        let status = pod.document.status_value();
        let mut conditions = items(&status, "conditions").map(|(_, condition)| condition);
        !pod.meta.deleting()
            && selector.matches(&pod.meta.labels)
            && conditions.any(|told| text(told, "type") == "Ready" && text(told, "status") == "True")
    });
    let mut there: Vec<_> =
        ready.filter_map(|pod| Some((pod.clone(), port_of(found, &pod.document.spec_value())?))).collect();
    if there.is_empty() {
        return Err(nobody());
    }
    Ok(there.swap_remove(rand::rng().random_range(0..there.len())))
}

fn unreachable(cause: impl std::fmt::Display) -> Status {
    Status::new(503, "ServiceUnavailable", format!("error trying to reach service: {cause}"))
}

/// Takes away what is of one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Where a redirect of the pod to itself leads through the proxy; none for others.
fn moved(location: &HeaderValue, host: &str, prefix: &str) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.strip_prefix(host).filter(|path| path.is_empty() || path.starts_with('/'))?,
        None if text.starts_with('/') && !text.starts_with("//") => text,
        None => return None,
    };
    HeaderValue::from_str(&format!("{prefix}{path}")).ok()
}

/// Carries bytes until one side is done.
async fn carry(PodStream { input, mut output }: PodStream, io: DuplexStream) {
    let (mut read, mut write) = tokio::io::split(io);
    let up = async {
        let mut buffer = bytes::BytesMut::with_capacity(BETWEEN);
        while let Ok(1..) = read.read_buf(&mut buffer).await {
            if input.send(FromClient::Data(buffer.split().freeze())).await.is_err() {
                return;
            }
            buffer.reserve(BETWEEN);
        }
    };
    let down = async {
        while let Some(FromPod::Stdout(bytes) | FromPod::Stderr(bytes)) = output.next().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_may_have_a_scheme_and_a_port() {
        assert_eq!(split("web"), Some(("", "web", "")));
        assert_eq!(split("web:80"), Some(("", "web", "80")));
        assert_eq!(split("https:web:"), Some(("https", "web", "")));
        assert_eq!((split("ftp:web:1"), split(":1"), split("a:b:c:d")), (None, None, None));
    }

    #[test]
    fn what_follows_proxy_is_handed_on_as_it_is_written() {
        let base = "/api/v1/namespaces/default/pods/web:80/proxy";
        for rest in ["", "/", "/a%2Fb//c/"] {
            assert_eq!(handed_on(&format!("{base}{rest}")), rest);
        }
    }

    #[test]
    fn redirects_of_the_pod_lead_through_the_proxy() {
        let moved = |text: &'static str| moved(&HeaderValue::from_static(text), "10.0.0.1:80", "/p");
        assert_eq!(moved("/x?y").unwrap(), "/p/x?y");
        assert_eq!(moved("http://10.0.0.1:80/x").unwrap(), "/p/x");
        assert_eq!((moved("http://other/x"), moved("//other/x"), moved("x")), (None, None, None));
    }
}
