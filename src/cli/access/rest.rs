//! Requests to the Kubernetes API, over the connection that every controller accepts.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_pki::Dialer;
use serde_json::Value;

/// No answer is larger: lists are read in pages.
const BODY_MAX: usize = 64 << 20;

/// Reads one path. A refusal becomes an error with the server's own message.
pub(crate) async fn get(
    dialer: &Dialer,
    server: &str,
    name: rustls_pki_types::ServerName<'static>,
    path: &str,
) -> anyhow::Result<Value> {
    let (code, value) = send(dialer, server, name, Method::GET, path, None).await?;
    if !(200..300).contains(&code) {
        let code = code.to_string();
        bail!("{server}{path}: {}", value["message"].as_str().unwrap_or(&code));
    }
    Ok(value)
}

/// Sends one request; a PATCH is a merge patch. Answers the code and the body.
pub(crate) async fn send(
    dialer: &Dialer,
    server: &str,
    name: rustls_pki_types::ServerName<'static>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<(u16, Value)> {
    let stream = dialer.tls(server, name).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("https://{server}{path}"))
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("kontiki/", env!("CARGO_PKG_VERSION")));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, media);
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body =
        Limited::new(body, BODY_MAX).collect().await.map_err(|e| anyhow::anyhow!("{server}{path}: {e}"))?;
    let value = serde_json::from_slice(&body.to_bytes())
        .with_context(|| format!("{server}{path}: the answer is not JSON"))?;
    Ok((head.status.as_u16(), value))
}
