//! A GET to the Kubernetes API, over the connection that every controller accepts.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_pki::Dialer;

/// No answer is larger: lists are read in pages.
const BODY_MAX: usize = 64 << 20;

/// Reads one path. A refusal becomes an error with the server's own message.
pub(crate) async fn get(
    dialer: &Dialer,
    server: &str,
    name: rustls_pki_types::ServerName<'static>,
    path: &str,
) -> anyhow::Result<serde_json::Value> {
    let stream = dialer.tls(server, name).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{server}{path}"))
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, concat!("kontiki/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body =
        Limited::new(body, BODY_MAX).collect().await.map_err(|e| anyhow::anyhow!("{server}{path}: {e}"))?;
    let value: serde_json::Value = serde_json::from_slice(&body.to_bytes())
        .with_context(|| format!("{server}{path}: the answer is not JSON"))?;
    if !head.status.is_success() {
        bail!("{server}{path}: {}", value["message"].as_str().unwrap_or_else(|| head.status.as_str()));
    }
    Ok(value)
}
