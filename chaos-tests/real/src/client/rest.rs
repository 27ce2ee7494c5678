//! A connection to one controller, as any Kubernetes client has it: HTTP/2 over TLS, with pings, so that a dead peer is noticed.

use std::time::Duration;

use anyhow::Context;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kontiki_pki::{Dialer, Identity};
use serde_json::Value;
use tokio::time::timeout;

/// A controller that cannot be reached in this time is passed over.
const CONNECT: Duration = Duration::from_secs(1);
/// A controller answers within 5 s, or it is in trouble.
const ANSWER: Duration = Duration::from_secs(7);
const PING: Duration = Duration::from_secs(2);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub code: u16,
    /// The body; `null` when it is not JSON.
    pub body: Value,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It was answered.
    Answered(Reply),
    /// It did not leave this client.
    Not,
    /// Nobody knows.
    Unknown,
}

/// A connection.
pub struct Rest {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Rest {
    /// Connects.
    pub async fn connect(identity: &Identity, address: &str) -> anyhow::Result<Rest> {
        let connecting = async {
            let name = identity.controller_server_name(None);
            let stream = Dialer::new(identity).tls(address, name).await?;
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .keep_alive_while_idle(true)
                .handshake(TokioIo::new(stream))
                .await?;
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(Rest { sender })
        };
        timeout(CONNECT, connecting).await.context("connecting took too long")?
    }

    /// Whether it is broken.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Opens a request whose answer is read bit by bit.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("https://kubernetes.default.svc{path}"))
            .header("content-type", media)
            .header("accept", "application/json")
            .body(Full::new(Bytes::from(bytes)))?;
        Ok(self.sender.clone().send_request(request).await?)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Sent {
        if self.is_closed() {
            return Sent::Not;
        }
        let answering = async {
            let response = self.open(method, path, body).await?;
            let code = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, anyhow::Error>(Reply { code, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
        };
        match timeout(ANSWER, answering).await {
            Ok(Ok(reply)) => Sent::Answered(reply),
            Ok(Err(_)) | Err(_) => Sent::Unknown,
        }
    }
}
